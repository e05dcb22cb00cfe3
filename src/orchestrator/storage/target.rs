//! `--storage DIR` or `--storage s3://BUCKET/PREFIX`.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageTarget {
    Folder(PathBuf),
    S3 {
        bucket: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place for results: expected a folder or `s3://BUCKET/PREFIX`")]
pub struct InvalidStorage(String);

impl From<Infallible> for InvalidStorage {
    fn from(never: Infallible) -> InvalidStorage {
        match never {}
    }
}

impl FromStr for StorageTarget {
    type Err = InvalidStorage;

    fn from_str(text: &str) -> Result<StorageTarget, InvalidStorage> {
        let Some(place) = text.strip_prefix("s3://") else {
            // `gs://…` would otherwise become a folder named `gs:`.
            return match text.is_empty() || text.contains("://") {
                true => Err(InvalidStorage(text.to_owned())),
                false => Ok(StorageTarget::Folder(text.parse()?)),
            };
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(InvalidStorage(text.to_owned()));
        }
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(StorageTarget::S3 { bucket: bucket.to_owned(), prefix })
    }
}

impl fmt::Display for StorageTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageTarget::Folder(folder) => folder.display().fmt(f),
            StorageTarget::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_buckets_are_told_apart() {
        assert_eq!("a/b".parse(), Ok(StorageTarget::Folder("a/b".into())));
        let s3 = StorageTarget::S3 { bucket: "b".into(), prefix: "p/q".into() };
        assert_eq!("s3://b/p/q/".parse(), Ok(s3));
        for bad in ["", "s3://", "gs://b"] {
            assert!(bad.parse::<StorageTarget>().is_err(), "{bad}");
        }
    }
}

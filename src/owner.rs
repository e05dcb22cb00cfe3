//! Who resources belong to: an id made once per user, carried by everything that is made in a cloud. The
//! sweep deletes nothing that carries another one.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::master::home::create_private_dir;

/// Gives the owner where there is no state folder to keep one, as in CI: the next job then can clean up
/// after a lost one.
pub const VARIABLE: &str = "BENCH_OWNER";

/// Fits every cloud's tag values and, with `meta-` before it, a run id.
const MAX_LENGTH: usize = 32;

/// 1 to 32 characters from `[a-z0-9-]`, with no dash at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerId(String);

#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error(
        "`{value}` is not an owner: 1 to {MAX_LENGTH} characters from a-z, 0-9 and `-`, with no dash at either end"
    )]
    Invalid { value: String },
    #[error("`{}` does not hold an owner; restore it, or name the owner by --owner or {VARIABLE}", .path.display())]
    File { path: PathBuf, source: Box<OwnerError> },
    #[error("there is no folder to keep the owner in: set HOME, or name the owner by --owner or {VARIABLE}")]
    NoFolder,
    #[error("could not keep the owner in `{}`", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OwnerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The owner of this process: `given`, else [`VARIABLE`], else the user's own, which is made and kept
    /// where there is none yet.
    pub fn resolve(given: Option<OwnerId>) -> Result<OwnerId, OwnerError> {
        if let Some(owner) = given {
            return Ok(owner);
        }
        match std::env::var(VARIABLE).ok().filter(|value| !value.is_empty()) {
            Some(value) => value.parse(),
            None => OwnerId::kept_in(&folder()?),
        }
    }

    /// The owner kept in `folder/owner`. Of several processes that make it at once one wins, for all.
    fn kept_in(folder: &Path) -> Result<OwnerId, OwnerError> {
        let path = folder.join("owner");
        let failed = |source| OwnerError::Io { path: path.clone(), source };
        if !path.exists() {
            create_private_dir(folder).map_err(failed)?;
            make(&path).map_err(failed)?;
        }
        let text = fs_err::read_to_string(&path).map_err(failed)?;
        let invalid = |source| OwnerError::File { path: path.clone(), source: Box::new(source) };
        text.trim().parse().map_err(invalid)
    }
}

/// Writes a new id as a whole; one that stands there already stays.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // tempfile makes its files with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", random())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => return Err(error.error),
        _ => {}
    }
    fs_err::File::open(folder)?.sync_all()
}

/// Twelve characters, 60 random bits.
fn random() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits: u64 = rand::random();
    (0..12).map(|i| ALPHABET[(bits >> (5 * i)) as usize & 31] as char).collect()
}

/// <https://specifications.freedesktop.org/basedir-spec>: a relative path is to be ignored.
fn folder() -> Result<PathBuf, OwnerError> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
    Ok(state.filter(|path| path.is_absolute()).ok_or(OwnerError::NoFolder)?.join("bench"))
}

impl TryFrom<String> for OwnerId {
    type Error = OwnerError;
    fn try_from(value: String) -> Result<Self, OwnerError> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=MAX_LENGTH).contains(&value.len())
            && value.chars().all(known)
            && !value.starts_with('-')
            && !value.ends_with('-');
        if fits { Ok(OwnerId(value)) } else { Err(OwnerError::Invalid { value }) }
    }
}

impl FromStr for OwnerId {
    type Err = OwnerError;
    fn from_str(text: &str) -> Result<Self, OwnerError> {
        Self::try_from(text.to_owned())
    }
}

impl From<OwnerId> for String {
    fn from(owner: OwnerId) -> String {
        owner.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RunId;

    #[test]
    fn an_owner_is_made_once_and_read_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/bench");
        let owners: Vec<OwnerId> = std::thread::scope(|scope| {
            let make = || scope.spawn(|| OwnerId::kept_in(&path).unwrap());
            let threads: Vec<_> = (0..8).map(|_| make()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
        assert_eq!(OwnerId::kept_in(&path).unwrap(), owners[0]);
        assert_eq!(fs_err::read_dir(&path).unwrap().count(), 1);
        assert!(format!("meta-{}", owners[0]).parse::<RunId>().is_ok());
    }

    #[test]
    fn a_kept_file_that_holds_something_else_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "Not an owner"] {
            fs_err::write(folder.path().join("owner"), text).unwrap();
            let error = OwnerId::kept_in(folder.path()).unwrap_err();
            assert!(error.to_string().contains("/owner` does not hold an owner"), "{error}");
            assert_eq!(fs_err::read_to_string(folder.path().join("owner")).unwrap(), text);
        }
    }

    #[test]
    fn the_longest_owner_still_makes_a_run_id_of_its_meta_stack() {
        let longest = "a".repeat(MAX_LENGTH);
        assert!(longest.parse::<OwnerId>().is_ok());
        assert!(format!("meta-{longest}").parse::<RunId>().is_ok());
        for bad in ["", "-a", "a-", "A", "a b", &"a".repeat(MAX_LENGTH + 1)] {
            assert!(bad.parse::<OwnerId>().is_err(), "{bad:?} was accepted");
        }
    }
}

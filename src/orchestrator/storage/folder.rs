//! Archives in a folder: written beside their place, checked, synced, then renamed into it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Archive, StorageError};
use crate::orchestrator::store::Durability;

/// A block of the usual file systems.
const PROBE_BYTES: usize = 4096;

#[derive(Clone)]
pub struct FolderStorage {
    root: PathBuf,
    durability: Durability,
}

/// An archive that has arrived but has no place yet; dropped, it is gone.
pub struct Staged {
    root: PathBuf,
    durability: Durability,
    file: NamedTempFile,
}

impl FolderStorage {
    pub fn open(root: &Path, durability: Durability) -> Result<FolderStorage, StorageError> {
        fs_err::create_dir_all(root)?;
        Ok(FolderStorage { root: root.to_owned(), durability })
    }

    /// A place for an archive that is about to arrive, on the same file system as its later one.
    pub fn stage(&self) -> Result<Staged, StorageError> {
        let file = tempfile::Builder::new().prefix(".incoming-").tempfile_in(&self.root)?;
        Ok(Staged { root: self.root.clone(), durability: self.durability, file })
    }

    /// Whether a small file can be written in the folder: on a full disk one can be made, but stays empty.
    pub(super) fn ping(&self) -> Result<(), StorageError> {
        let mut probe = self.stage()?.file;
        Ok(probe.write_all(&[0; PROBE_BYTES])?)
    }

    pub(super) fn read(&self, key: &str) -> Result<Archive, StorageError> {
        match fs_err::File::open(self.root.join(key)) {
            Ok(file) => Ok(Box::new(io::BufReader::with_capacity(64 << 10, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::Missing(key.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Staged {
    /// Puts the archive, checked by now, into its place. When it returns it survives what the store's changes
    /// survive; blocks.
    pub fn keep(self, key: &str) -> Result<(), StorageError> {
        let target = self.root.join(key);
        let folder = target.parent().unwrap_or(&self.root);
        fs_err::create_dir_all(folder)?;
        let synced = self.durability == Durability::Synced;
        if synced {
            self.file.as_file().sync_all()?;
        }
        self.file.persist(&target).map_err(|refused| refused.error)?;
        if synced {
            fs_err::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Another handle of the file, at its start.
    pub fn reopen(&self) -> io::Result<std::fs::File> {
        self.file.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_was_kept_is_read_back_and_what_was_dropped_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FolderStorage::open(folder.path(), Durability::Synced).unwrap();
        let staged = storage.stage().unwrap();
        staged.reopen().unwrap().write_all(b"bytes").unwrap();
        staged.keep("runs/r/1/1-1.tar.gz").unwrap();
        drop(storage.stage().unwrap());

        let mut text = String::new();
        storage.read("runs/r/1/1-1.tar.gz").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
        assert!(matches!(storage.read("runs/x"), Err(StorageError::Missing(_))));
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "only `runs` is left");
    }
}

//! The runner's folder for files of tasks: private, locked while in use, removed at the end. A runner that
//! was killed leaves its folder behind; the next one on the machine removes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::sysfs;

const PREFIX: &str = "bench-runner-";
const LOCK: &str = "lock";
/// A folder without a lock may be one that is just being made.
const YOUNG: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Scratch {
    folder: tempfile::TempDir,
    /// Closed on exec, so that no workload keeps it.
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes a folder below `parent`, after removing those that nobody uses any more.
    ///
    /// # Errors
    /// When the folder or its lock cannot be made.
    pub(super) fn create(parent: &Path) -> io::Result<Scratch> {
        remove_abandoned(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let file = fs_err::File::create(folder.path().join(LOCK))?.into_parts().0;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
        Ok(Scratch { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned(parent: &Path) {
    let names = sysfs::entries(parent).into_iter().filter(|name| name.starts_with(PREFIX));
    for folder in names.map(|name| parent.join(name)).filter(is_abandoned) {
        tracing::info!(folder = %folder.display(), "removing what a killed runner left");
        if let Err(error) = fs_err::remove_dir_all(folder) {
            tracing::warn!(%error, "could not remove a killed runner's folder");
        }
    }
}

/// Own, a real folder, and its lock free (or, without a lock, old).
fn is_abandoned(folder: &PathBuf) -> bool {
    let Ok(metadata) = fs_err::symlink_metadata(folder) else { return false };
    if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return false;
    }
    match std::fs::File::open(folder.join(LOCK)) {
        Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok(),
        Err(_) => {
            let age = metadata.modified().map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.is_ok_and(|age| age > YOUNG)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_folders_go_and_those_in_use_stay() {
        let parent = tempfile::tempdir().unwrap();
        let used = Scratch::create(parent.path()).unwrap();
        let abandoned = parent.path().join("bench-runner-old");
        fs_err::create_dir(&abandoned).unwrap();
        fs_err::write(abandoned.join(LOCK), "").unwrap();
        let young = parent.path().join("bench-runner-young");
        fs_err::create_dir(&young).unwrap();
        let other = parent.path().join("other");
        fs_err::create_dir(&other).unwrap();

        let next = Scratch::create(parent.path()).unwrap();
        assert!(used.path().is_dir() && young.is_dir() && other.is_dir() && next.path().is_dir());
        assert!(!abandoned.exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}

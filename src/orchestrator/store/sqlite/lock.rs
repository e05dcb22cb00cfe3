//! One process per file. The writer holds rows in memory, so a second writer must be kept out, and said so.

use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::fcntl::{Flock, FlockArg};

use crate::orchestrator::store::OpenError;

/// Held as long as the store is open; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: Flock<std::fs::File>,
}

/// A file beside the database: SQLite itself uses locks on the database, which must not be disturbed.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

pub fn take(database: &Path) -> Result<FileLock, OpenError> {
    let path = lock_path(database);
    let mut options = fs_err::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|cause| OpenError::File { path: path.clone(), cause })?;
    match Flock::lock(file.into_parts().0, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(FileLock { _file: file }),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(OpenError::InUse { path: database.to_owned() }),
        Err((_, errno)) => Err(OpenError::File { path, cause: errno.into() }),
    }
}

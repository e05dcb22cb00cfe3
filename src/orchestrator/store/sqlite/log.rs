//! Syncs the write-ahead log to disk.
//!
//! SQLite would do it by `fsync`, which also writes the file's times and, on common file systems, waits for
//! whatever else is being written at that moment. `fdatasync` writes the data alone, and that is what a commit
//! stands on. So the writing connection is set to sync nothing at a commit (`synchronous = NORMAL`; it still
//! syncs what checkpoints and a new start of the log need), and each commit is followed by a call here.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fs_err::File;

#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// The log of a database that is open. It stays the same file until the last connection is closed.
    pub fn open(database: &Path) -> io::Result<Log> {
        let mut name = OsString::from(database);
        name.push("-wal");
        let log = File::open(PathBuf::from(name))?;
        // The entries of both files in their folder.
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Log(log))
    }

    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

//! Copies of the file while it serves, and back.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::orchestrator::store::OpenError;
use crate::orchestrator::store::engine::BackendError;

use super::journal::{self, JournalError, Record};
use super::save::Saver;
use super::{lock, open, rows};

/// All pages are copied in one step: in several, SQLite would begin anew with every commit in between. Whoever writes
/// goes on meanwhile.
const STEP_PAGES: i32 = i32::MAX;
/// Before another try while the file is locked.
const STEP_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0} exists: a backup never replaces a file")]
    Exists(std::path::PathBuf),
    #[error("could not write the backup")]
    File(#[from] std::io::Error),
    #[error("could not copy the database")]
    Database(#[from] rusqlite::Error),
    #[error("could not read the journal")]
    Journal(#[from] JournalError),
    #[error("could not take the journal into the copy")]
    Commits(#[source] BackendError),
}

/// Copies a database that may be in use into a new file, which appears under its name when it is whole.
pub fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::Builder::new().prefix(".backup-").tempfile_in(folder)?;
    {
        let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // Before the tables are copied: what is in neither was answered after the backup had begun.
        let mut commits = read_beside_writer(from, &source)?;
        let mut target = Connection::open(part.path())?;
        Backup::new(&source, &mut target)?.run_to_completion(STEP_PAGES, STEP_PAUSE, None)?;
        let (_, copied) = rows::journal(&target)?;
        commits.retain(|record| record.number > copied);
        let mut saver = Saver::new(target, None);
        open::take_in(commits, &mut saver).map_err(BackupError::Commits)?;
        let target = saver.into_connection();
        // The copy carries the write-ahead mode of its source; one plain file is easier to carry about.
        target.pragma_update(None, "journal_mode", "DELETE")?;
    }
    part.as_file().sync_all()?;
    part.persist_noclobber(to).map_err(|error| error.error)?;
    fs_err::File::open(folder)?.sync_all()?;
    Ok(())
}

/// What the journal has and the tables have not. While it is read, the writer may begin one of its files anew, whose
/// records the tables have then; so what seems to be missing is looked for again.
fn read_beside_writer(database: &Path, tables: &Connection) -> Result<Vec<Record>, BackupError> {
    let mut tries = 10;
    loop {
        let (id, applied) = rows::journal(tables)?;
        match journal::read(database, id, applied) {
            Err(JournalError::Gap { .. }) if tries > 0 => tries -= 1,
            read => return Ok(read?),
        }
    }
}

/// Whether a file is a whole backup that this program can use; changes nothing.
pub fn check_backup(path: &Path) -> Result<(), OpenError> {
    let failed = |cause: rusqlite::Error| open::unreadable(path, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(open::unreadable(path, verdict));
    }
    open::check_version(path, &mut connection)?;
    let known = "SELECT next_task FROM orchestrator";
    connection.query_row(known, [], |_| Ok(())).map_err(failed)
}

/// Puts a checked backup in the place of a database that no orchestrator has open. The replaced database is
/// kept beside it as `NAME.before-restore`.
pub fn restore_backup(backup: &Path, database: &Path) -> Result<(), OpenError> {
    check_backup(backup)?;
    if let Some(home) = database.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
        made.map_err(|cause| OpenError::File { path: home.to_owned(), cause })?;
    }
    let _lock = lock::take(database)?;
    let name = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    let file = |cause: std::io::Error| OpenError::File { path: database.to_owned(), cause };
    let part = name(".restoring");
    fs_err::copy(backup, &part).map_err(file)?;
    fs_err::File::open(&part).and_then(|copy| copy.sync_all()).map_err(file)?;
    if database.exists() {
        settle_replaced(database);
        fs_err::rename(database, name(".before-restore")).map_err(file)?;
    }
    journal::remove(database).map_err(file)?;
    for leftover in [name("-wal"), name("-shm")] {
        if leftover.exists() {
            fs_err::remove_file(leftover).map_err(file)?;
        }
    }
    fs_err::rename(&part, database).map_err(file)
}

/// Brings what stands beside a database into it, so that the file that is kept is whole by itself: as far as it can
/// be read, for it is replaced in any case.
fn settle_replaced(database: &Path) {
    let Ok(old) = Connection::open(database) else { return };
    let known = rows::journal(&old);
    let mut saver = Saver::new(old, None);
    if let Ok((id, applied)) = known
        && let Err(error) = open::catch_up(database, id, applied, &mut saver)
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the replaced database lacks what its journal has"
        );
    }
    saver.into_connection().pragma_update(None, "journal_mode", "DELETE").ok();
}

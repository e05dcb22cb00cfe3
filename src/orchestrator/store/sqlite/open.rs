//! Opening the file: lock, checks, migrations, what the journal has, then the threads.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::orchestrator::store::clock::SystemClock;
use crate::orchestrator::store::contract::Store;
use crate::orchestrator::store::engine::{BackendError, Parts};
use crate::orchestrator::store::{Durability, OpenError, Options};

use super::backend::SqliteBackend;
use super::backlog::Backlog;
use super::committer::Committer;
use super::journal::{self, Journal, Record};
use super::log::Log;
use super::reader::SqliteReader;
use super::record::Commit;
use super::save::Saver;
use super::{checkpoint, lock, rows, tables, work};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Pages that each connection may keep, KiB: holds the hot end of the tables, and the memory of an
/// orchestrator within its 10 MB.
const CACHE_KIB: i64 = 2048;
/// Statements that each connection keeps prepared; there are about forty.
const PREPARED: usize = 64;

pub async fn open(path: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
    let (opening, durability) = (path.to_owned(), options.durability);
    let opened = tokio::task::spawn_blocking(move || open_file(&opening, durability)).await;
    let Opened { backend, backlog, newest_event } = opened.map_err(|gone| unreadable(path, gone))??;
    let reader = SqliteReader::open(path, backlog).map_err(|cause| unreadable(path, cause))?;
    let (engine, mut writer, commands) = Parts::new(newest_event).connect(backend, Arc::new(reader), clock);
    writer.resume().await.map_err(|cause| unreadable(path, cause))?;
    // Beside the handlers rather than on a thread of its own: a command is carried out without a change of
    // threads. Only what may wait for the disk, commits, tables and lists, has its own threads.
    tokio::spawn(writer.serve(commands));
    Ok(Arc::new(engine))
}

struct Opened {
    backend: SqliteBackend,
    backlog: Arc<Backlog>,
    newest_event: i64,
}

/// Everything that touches the files before the first command: the tables take in what the journal has.
fn open_file(path: &Path, durability: Durability) -> Result<Opened, OpenError> {
    let failed = |cause: rusqlite::Error| unreadable(path, cause);
    let file = |cause: std::io::Error| OpenError::File { path: path.to_owned(), cause };
    // Given back with the last of the threads that write.
    let lock = Arc::new(lock::take(path)?);
    let mut connection = connect(path)?;
    let checkpoints = checkpoint::start(path, &mut connection).map_err(failed)?;
    let synced = durability == Durability::Synced;
    let log = if synced { Some(Log::open(path).map_err(file)?) } else { None };
    let (id, applied) = rows::journal(&connection).map_err(failed)?;
    let mut saver = Saver::new(connection, log);
    let applied = catch_up(path, id, applied, &mut saver)?;
    let reading = connect_for_reading(path).map_err(failed)?;
    let newest_event = rows::newest_event(&reading).map_err(failed)?;
    let journal = Journal::open(path, id, applied, synced).map_err(file)?;
    let backlog = Arc::new(Backlog::new(applied));
    let mut committer = Committer { _lock: lock.clone(), journal, backlog: backlog.clone(), newest_event };
    let (committing, jobs) = mpsc::channel();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let committer = thread("store").spawn(move || committer.work(jobs)).map_err(file)?;
    let (end, ended) = oneshot::channel();
    let (path, taken) = (path.to_owned(), backlog.clone());
    let writing = move || {
        let complete = tables::work(saver, &taken);
        // These end with the connection, and with the writer. One that panicked has said so.
        checkpoints.join().ok();
        committer.join().ok();
        if complete && let Err(error) = journal::remove(&path) {
            tracing::warn!(%error, "could not remove the journal, which is not needed any more");
        }
        drop(lock);
        end.send(()).ok();
    };
    thread("tables").spawn(writing).map_err(file)?;
    let backend = SqliteBackend::new(reading, committing, backlog.clone(), ended);
    Ok(Opened { backend, backlog, newest_event })
}

/// The tables take in what the journal has and they do not; the number of the newest record.
pub(super) fn catch_up(path: &Path, id: i64, applied: u64, saver: &mut Saver) -> Result<u64, OpenError> {
    let records = journal::read(path, id, applied).map_err(|cause| unreadable(path, cause))?;
    if !records.is_empty() {
        tracing::info!(records = records.len(), "taking in what the journal has");
    }
    take_in(records, saver).map(|newest| newest.unwrap_or(applied)).map_err(|cause| unreadable(path, cause))
}

/// Gives the number of the newest record, if there are any.
pub(super) fn take_in(records: Vec<Record>, saver: &mut Saver) -> Result<Option<u64>, BackendError> {
    let Some(newest) = records.last().map(|record| record.number) else { return Ok(None) };
    let mut waiting = VecDeque::new();
    for record in records {
        work::queue(&mut waiting, Commit::read(&record.commit)?, record.number, record.commit.len());
    }
    tables::take_in(saver, &waiting, &|| ())?;
    saver.sync()?;
    Ok(Some(newest))
}

pub(super) fn connect_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    tune(&connection)?;
    Ok(connection)
}

pub(super) fn unreadable(path: &Path, cause: impl Into<BackendError>) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), cause: cause.into() }
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let failed = |cause: rusqlite::Error| unreadable(path, cause);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private(path).map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // A first read, before anything is written: a file that is something else is found out here.
    check_version(path, &mut connection)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    // Commits are synced by [`Log`].
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    tune(&connection).map_err(failed)?;
    // What one transaction changes fits into memory; spilled, pages would be written several times.
    connection.pragma_update(None, "cache_spill", false).map_err(failed)?;
    let migrated = migrations::migrations::runner().run(&mut connection);
    migrated.map_err(|cause| OpenError::Migration { name: path.display().to_string(), cause })?;
    Ok(connection)
}

/// What runs did and said is their owner's alone. SQLite gives the files beside the database its own mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Settings of every connection, for writing or reading.
pub(super) fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // Without it a statement is prepared anew when other values are bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The newest schema that this program knows.
pub(super) fn known_version() -> i64 {
    let runner = migrations::migrations::runner();
    runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// Refuses a schema that a newer program made, and a database of something else. An empty one is fine.
pub(super) fn check_version(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let name = || path.display().to_string();
    let tables =
        "SELECT count(*), count(*) FILTER (WHERE name = 'refinery_schema_history') FROM sqlite_master";
    let tables = connection.query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)));
    match tables.map_err(|cause| unreadable(path, cause))? {
        (0, _) => return Ok(()),
        (_, 0) => return Err(unreadable(path, "its tables are of another program")),
        _ => {}
    }
    let last = migrations::migrations::runner().get_last_applied_migration(connection);
    let last = last.map_err(|cause| OpenError::Migration { name: name(), cause })?;
    let found = last.map_or(0, |migration| i64::from(migration.version()));
    if found > known_version() {
        return Err(OpenError::NewerSchema { name: name(), found, known: known_version() });
    }
    Ok(())
}

//! Opening the file: lock, checks, migrations, then the writer's thread.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::orchestrator::store::clock::SystemClock;
use crate::orchestrator::store::contract::Store;
use crate::orchestrator::store::engine::{BackendError, Parts};
use crate::orchestrator::store::{Durability, OpenError, Options};

use super::backend::SqliteBackend;
use super::log::Log;
use super::reader::SqliteReader;
use super::save::Saver;
use super::{checkpoint, committer, lock};

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
    let (backend, newest) = opened.map_err(|gone| unreadable(path, gone))??;
    let reader = SqliteReader::open(path).map_err(|cause| unreadable(path, cause))?;
    let (engine, mut writer, commands) = Parts::new(newest).connect(backend, Arc::new(reader), clock);
    writer.resume().await.map_err(|cause| unreadable(path, cause))?;
    // Beside the handlers rather than on a thread of its own: a command is carried out without a change of
    // threads. Only what may wait for the disk, commits and lists, has its own threads.
    tokio::spawn(writer.serve(commands));
    Ok(Arc::new(engine))
}

/// Everything that touches the file before the first command; also gives the number of the newest event.
fn open_file(path: &Path, durability: Durability) -> Result<(SqliteBackend, i64), OpenError> {
    let failed = |cause: rusqlite::Error| unreadable(path, cause);
    let lock = lock::take(path)?;
    let mut connection = connect(path)?;
    let checkpoints = checkpoint::start(path, &mut connection).map_err(failed)?;
    let log = match durability {
        Durability::Synced => Some(Log::open(path).map_err(|cause| unreadable(path, cause))?),
        Durability::OsBuffered => None,
    };
    let saver = Saver::new(connection, log).map_err(failed)?;
    let newest = saver.newest_event();
    let reading = connect_for_reading(path).map_err(failed)?;
    let (committer, jobs) = mpsc::channel();
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("store".to_owned());
    let spawned = thread.spawn(move || {
        committer::work(saver, jobs);
        // They end with the connection. One that panicked has said so.
        checkpoints.join().ok();
        drop(lock);
        end.send(()).ok();
    });
    spawned.map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
    Ok((SqliteBackend::new(reading, committer, ended), newest))
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

//! Opening the file: lock, checks, migrations, then the writer's thread.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::orchestrator::store::clock::{Clock, SystemClock};
use crate::orchestrator::store::contract::Store;
use crate::orchestrator::store::engine::{BackendError, Parts};
use crate::orchestrator::store::{Durability, OpenError, Options};

use super::backend::SqliteBackend;
use super::lock;
use super::reader::SqliteReader;

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Pages that each connection may keep, KiB: holds the hot end of the tables, and the memory of an
/// orchestrator within its 10 MB.
const CACHE_KIB: i64 = 2048;
/// Statements that each connection keeps prepared; there are about forty.
const PREPARED: usize = 64;
/// Pages of the log after which it is copied into the database. At 4 KiB a page: 16 MB, which is reused
/// rather than grown, so that a sync does not have to change the file's size.
const CHECKPOINT_PAGES: i64 = 4000;

pub async fn open(path: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
    let durability = options.durability;
    let path = path.to_owned();
    let (opened, answer) = oneshot::channel();
    // One thread for all of it: the connection, and the writer that owns it, never move.
    let thread = std::thread::Builder::new().name("store".to_owned());
    let serving = path.clone();
    let spawned = thread.spawn(move || serve(&serving, durability, clock, opened));
    spawned.map_err(|cause| OpenError::File { path: path.clone(), cause })?;
    answer.await.map_err(|gone| OpenError::Database {
        name: path.display().to_string(),
        cause: format!("the store's thread ended early: {gone}").into(),
    })?
}

fn serve(
    path: &Path,
    durability: Durability,
    clock: Arc<dyn Clock>,
    opened: oneshot::Sender<Result<Arc<dyn Store>, OpenError>>,
) {
    let start = || -> Result<_, OpenError> {
        let lock = lock::take(path)?;
        let connection = connect(path, durability)?;
        let newest = newest_event(&connection).map_err(|cause| unreadable(path, cause))?;
        let reader = SqliteReader::open(path).map_err(|cause| unreadable(path, cause))?;
        let backend = SqliteBackend::new(connection, lock);
        Ok(Parts::new(newest).connect(backend, Arc::new(reader), clock))
    };
    match start() {
        Err(error) => drop(opened.send(Err(error))),
        Ok((engine, mut writer, commands)) => futures::executor::block_on(async {
            match writer.resume().await {
                Ok(()) => {
                    drop(opened.send(Ok(Arc::new(engine) as Arc<dyn Store>)));
                    writer.serve(commands).await;
                }
                Err(cause) => drop(opened.send(Err(unreadable(path, cause)))),
            }
        }),
    }
}

pub(super) fn unreadable(path: &Path, cause: impl Into<BackendError>) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), cause: cause.into() }
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let failed = |cause: rusqlite::Error| unreadable(path, cause);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private(path).map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // A first read, before anything is written: a file that is something else is found out here.
    check_version(path, &mut connection)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    let synchronous = match durability {
        Durability::Synced => "FULL",
        Durability::OsBuffered => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
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

fn newest_event(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT next_event - 1 FROM orchestrator", [], |row| row.get(0))
}

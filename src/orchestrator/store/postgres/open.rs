//! Opening the database: migrations under a lock, then the writer's thread, the reader and the listener.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::orchestrator::store::clock::{Clock, SystemClock};
use crate::orchestrator::store::contract::Store;
use crate::orchestrator::store::engine::{BackendError, Parts};
use crate::orchestrator::store::{OpenError, Options};

use super::backend::PostgresBackend;
use super::listener;
use super::reader::PostgresReader;
use super::session::Session;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Advisory lock under which migrations run; any number that nobody else uses ("bench", in ASCII).
const MIGRATION_LOCK: i64 = 0x62_65_6e_63_68;

/// `name` is the target without its password.
pub async fn open(url: &str, name: String, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let (opened, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("store".to_owned());
    let (url, serving) = (url.to_owned(), name.clone());
    let readers = tokio::runtime::Handle::current();
    let failed = |cause: BackendError| OpenError::Database { name: name.clone(), cause };
    thread
        .spawn(move || serve(url, serving, options, readers, opened))
        .map_err(|cause| failed(cause.into()))?;
    answer.await.map_err(|gone| failed(format!("the store's thread ended early: {gone}").into()))?
}

fn serve(
    url: String,
    name: String,
    options: Options,
    readers: tokio::runtime::Handle,
    opened: oneshot::Sender<Result<Arc<dyn Store>, OpenError>>,
) {
    let failed = |cause: BackendError| OpenError::Database { name: name.clone(), cause };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return drop(opened.send(Err(failed(cause.into())))),
    };
    runtime.block_on(async {
        let start = async {
            let session = prepare(&url, &name, &options).await?;
            let (newest, now) = newest_event_and_time(&session).await.map_err(failed)?;
            // All orchestrators of a database go by its clock.
            let clock: Arc<dyn Clock> =
                options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::anchored(now)));
            let instance = format!("{:016x}", rand::random::<u64>());
            let parts = Parts::new(newest);
            let listening = readers.spawn(listener::listen(url.clone(), instance.clone(), parts.outlets()));
            let backend = PostgresBackend::new(url.clone(), options.durability, instance, session);
            let (engine, mut writer, commands) =
                parts.connect(backend, Arc::new(PostgresReader::new(url.clone())), clock);
            writer.resume().await.map_err(failed)?;
            Ok((engine, writer, commands, listening))
        };
        match start.await {
            Err(error) => drop(opened.send(Err(error))),
            Ok((engine, writer, commands, listening)) => {
                drop(opened.send(Ok(Arc::new(engine) as Arc<dyn Store>)));
                writer.serve(commands).await;
                listening.abort();
            }
        }
    });
}

async fn prepare(url: &str, name: &str, options: &Options) -> Result<Session, OpenError> {
    let failed = |cause: BackendError| OpenError::Database { name: name.to_owned(), cause };
    let mut session = Session::connect(url, options.durability).await.map_err(failed)?;
    let lock = format!("SELECT pg_advisory_lock({MIGRATION_LOCK})");
    session.client.batch_execute(&lock).await.map_err(|cause| failed(cause.into()))?;
    migrate(&mut session, name).await?;
    let unlock = format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})");
    session.client.batch_execute(&unlock).await.map_err(|cause| failed(cause.into()))?;
    Ok(session)
}

async fn migrate(session: &mut Session, name: &str) -> Result<(), OpenError> {
    let failed =
        |cause: tokio_postgres::Error| OpenError::Database { name: name.to_owned(), cause: cause.into() };
    let runner = migrations::migrations::runner();
    let known = runner.get_migrations().iter().map(|found| i64::from(found.version())).max().unwrap_or(0);
    let there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let there: bool = session.client.query_one(there, &[]).await.map_err(failed)?.get(0);
    if there {
        let newest = "SELECT coalesce(max(version), 0)::bigint FROM refinery_schema_history";
        let found: i64 = session.client.query_one(newest, &[]).await.map_err(failed)?.get(0);
        if found > known {
            return Err(OpenError::NewerSchema { name: name.to_owned(), found, known });
        }
    }
    let migrated = runner.run_async(&mut session.client).await;
    migrated.map_err(|cause| OpenError::Migration { name: name.to_owned(), cause })?;
    Ok(())
}

async fn newest_event_and_time(session: &Session) -> Result<(i64, i64), BackendError> {
    let sql =
        "SELECT next_event - 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM orchestrator";
    let row = session.client.query_one(sql, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

//! The reading side: its own connection, so that a long list never holds the writer up.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::api::{AttemptView, ErrorCode, Event, RunId, RunView, TaskCounts, TaskId, TaskView};
use crate::orchestrator::store::contract::{StoreError, StoredResult, TaskPage, Upload};
use crate::orchestrator::store::engine::Reader;
use crate::orchestrator::store::rules::{RunRow, RunState};
use crate::orchestrator::store::view::{
    TaskPlace, active_attempt, attempt_view, before_latest, stored_result, task_view,
};
use crate::orchestrator::store::words::Word;

use super::backlog::Backlog;
use super::record::EventBatch;
use super::{backup, open, rows};

pub struct SqliteReader {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
    backlog: Arc<Backlog>,
}

type Read<T> = Result<T, StoreError>;

impl From<rusqlite::Error> for StoreError {
    fn from(cause: rusqlite::Error) -> StoreError {
        StoreError::failed(cause)
    }
}

impl SqliteReader {
    pub fn open(path: &Path, backlog: Arc<Backlog>) -> rusqlite::Result<SqliteReader> {
        let connection = Arc::new(Mutex::new(open::connect_for_reading(path)?));
        Ok(SqliteReader { path: path.to_owned(), connection, backlog })
    }

    /// Runs a query once the tables have every commit.
    async fn list<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Read<T> {
        self.backlog.settle().await.map_err(StoreError::failed)?;
        self.query(query).await
    }

    /// Runs a query on a thread where it may block.
    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Read<T> {
        let connection = self.connection.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // A reader that panicked has left nothing half done behind.
            query(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        reading.await.map_err(StoreError::failed)?
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn run(&self, run: &RunId) -> Read<RunView> {
        let run = run.clone();
        self.list(move |connection| {
            let row = find_run(connection, &run)?;
            view(connection, row)
        })
        .await
    }

    async fn runs(&self) -> Read<Vec<RunView>> {
        self.list(|connection| {
            let sql = format!("SELECT {} FROM runs ORDER BY key DESC", rows::RUN_COLUMNS);
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_map([], rows::run)?.collect::<rusqlite::Result<Vec<_>>>()?;
            found.into_iter().map(|row| view(connection, row)).collect()
        })
        .await
    }

    async fn task(&self, task: TaskId) -> Read<TaskView> {
        self.list(move |connection| {
            let sql = format!("{} WHERE tasks.id = ?", list_tasks());
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_row([task], |row| task_of(row, &run_id_of(row)?)).optional()?;
            found.ok_or_else(|| no_task(task))
        })
        .await
    }

    async fn tasks(&self, run: &RunId, page: TaskPage) -> Read<Vec<TaskView>> {
        let run = run.clone();
        self.list(move |connection| {
            let row = find_run(connection, &run)?;
            let sql = format!(
                "{} WHERE tasks.id > ?1 AND tasks.id < ?2 AND (?3 IS NULL OR tasks.state = ?3) \
                 AND (?4 IS NULL OR groups.alias = ?4) ORDER BY tasks.id LIMIT ?5",
                list_tasks()
            );
            let after = page.after.max(row.first_task - 1);
            let end = row.first_task + TaskId::from(row.total);
            let state = page.state.map(Word::word);
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement
                .query_map(params![after, end, state, page.alias, page.limit], |row| task_of(row, &run))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn attempts(&self, task: TaskId) -> Read<Vec<AttemptView>> {
        self.list(move |connection| {
            let sql = format!("SELECT {} FROM tasks WHERE id = ?", rows::TASK_COLUMNS);
            let current = connection.prepare_cached(&sql)?.query_row([task], rows::task).optional()?;
            let current = current.ok_or_else(|| no_task(task))?;
            let sql =
                format!("SELECT {} FROM attempts WHERE task = ? ORDER BY attempt", rows::ATTEMPT_COLUMNS);
            let mut statement = connection.prepare_cached(&sql)?;
            let ended = statement.query_map([task], rows::attempt)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(ended.into_iter().map(attempt_view).chain(active_attempt(current)).collect())
        })
        .await
    }

    async fn results(&self, run: &RunId) -> Read<Vec<StoredResult>> {
        let run = run.clone();
        self.list(move |connection| {
            let row = find_run(connection, &run)?;
            let sql = format!(
                "SELECT a.*, t.number, g.alias FROM (SELECT {} FROM attempts WHERE task >= ? AND task < ? \
                 AND upload_verified) a JOIN tasks t ON t.id = a.task \
                 JOIN groups g ON g.run = t.run AND g.grp = t.grp ORDER BY a.task, a.attempt",
                rows::ATTEMPT_COLUMNS
            );
            let end = row.first_task + TaskId::from(row.total);
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_map([row.first_task, end], |row| {
                Ok(stored_result(row.get("alias")?, row.get("number")?, rows::attempt(row)?))
            })?;
            Ok(found.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn newest_upload(&self, task: TaskId) -> Read<Option<Upload>> {
        self.list(move |connection| {
            let sql = format!(
                "SELECT {} FROM attempts WHERE task = ? AND upload_verified ORDER BY attempt DESC LIMIT 1",
                rows::ATTEMPT_COLUMNS
            );
            let newest = connection.prepare_cached(&sql)?.query_row([task], rows::attempt).optional()?;
            Ok(newest.and_then(|attempt| attempt.upload))
        })
        .await
    }

    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Read<Vec<Event>> {
        let (run, backlog) = (run.cloned(), self.backlog.clone());
        self.query(move |connection| {
            let key = run.map(|run| find_run(connection, &run)).transpose()?.map(|row| row.key);
            // Before the tables are read: what is in neither now comes with the next look.
            let newest = backlog.events(key, after);
            let which = if key.is_some() { "run = ?2" } else { "?2 IS NULL" };
            let mut statement = connection.prepare_cached(&format!(
                "SELECT events.run, runs.id, first_seq, events FROM events JOIN runs ON runs.key = events.run \
                 WHERE seq > ?1 AND {which} ORDER BY seq"
            ))?;
            let mut found = statement.query(params![after, key])?;
            let mut events = Vec::new();
            while events.len() < limit as usize
                && let Some(row) = found.next()?
            {
                let run_id = RunId::try_from(row.get::<_, String>(1)?).map_err(StoreError::failed)?;
                let text = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
                let batch = EventBatch::of_json(row.get(0)?, run_id, row.get(2)?, text);
                let batch = batch.map_err(StoreError::failed)?;
                events.extend(batch.views().filter(|event| event.seq > after));
            }
            // The tables may have got some of them meanwhile.
            let known = events.last().map_or(after, |event| event.seq);
            let missing = newest.iter().flat_map(|batch| batch.views()).filter(|event| event.seq > known);
            let room = (limit as usize).saturating_sub(events.len());
            events.extend(missing.take(room));
            events.truncate(limit as usize);
            Ok(events)
        })
        .await
    }

    async fn before_latest(&self, run: &RunId, count: u32) -> Read<i64> {
        let run = run.clone();
        self.list(move |connection| {
            let key = find_run(connection, &run)?.key;
            // Each row holds at least one event.
            let sql = "SELECT first_seq, seq FROM events WHERE run = ? ORDER BY seq DESC LIMIT ?";
            let mut statement = connection.prepare_cached(sql)?;
            let batches = statement.query_map(params![key, count], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(before_latest(batches.collect::<rusqlite::Result<Vec<_>>>()?, count))
        })
        .await
    }

    async fn totals(&self) -> Read<TaskCounts> {
        self.list(|connection| {
            let sql = "SELECT coalesce(sum(total), 0) total, coalesce(sum(pending), 0) pending, \
                       coalesce(sum(claimed), 0) claimed, coalesce(sum(running), 0) running, \
                       coalesce(sum(completed), 0) completed, coalesce(sum(failed), 0) failed, \
                       coalesce(sum(cancelled), 0) cancelled FROM groups";
            Ok(connection.prepare_cached(sql)?.query_row([], rows::counts)?)
        })
        .await
    }

    async fn ping(&self) -> Read<()> {
        self.query(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    async fn backup(&self, to: &Path) -> Read<()> {
        let (from, to) = (self.path.clone(), to.to_owned());
        let copying = tokio::task::spawn_blocking(move || backup::copy(&from, &to));
        copying.await.map_err(StoreError::failed)?.map_err(StoreError::failed)
    }
}

/// Tasks with what their views need of their groups and runs; the columns of the task come first.
fn list_tasks() -> String {
    let columns: Vec<String> =
        rows::TASK_COLUMNS.split(", ").map(|column| format!("tasks.{column}")).collect();
    format!(
        "SELECT {}, groups.provider, groups.instance_type, groups.alias, runs.first_task, runs.id AS run_id \
         FROM tasks JOIN groups ON groups.run = tasks.run AND groups.grp = tasks.grp \
         JOIN runs ON runs.key = tasks.run",
        columns.join(", ")
    )
}

fn run_id_of(row: &Row<'_>) -> rusqlite::Result<RunId> {
    let text: String = row.get("run_id")?;
    RunId::try_from(text).map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(cause))
    })
}

fn task_of(row: &Row<'_>, run_id: &RunId) -> rusqlite::Result<TaskView> {
    let (provider, instance_type): (String, String) = (row.get("provider")?, row.get("instance_type")?);
    let alias = rows::alias(row, "alias")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let place = TaskPlace {
        run_id,
        first_task: row.get("first_task")?,
        provider: &provider,
        instance_type: &instance_type,
        alias: &alias,
    };
    Ok(task_view(&place, &rows::task(row)?))
}

fn find_run(connection: &Connection, run: &RunId) -> Read<RunRow> {
    let sql = format!("SELECT {} FROM runs WHERE id = ?", rows::RUN_COLUMNS);
    let found = connection.prepare_cached(&sql)?.query_row([run.as_str()], rows::run).optional()?;
    found.ok_or_else(|| StoreError::refused(ErrorCode::NotFound, format!("there is no run `{run}`")))
}

fn view(connection: &Connection, row: RunRow) -> Read<RunView> {
    let groups = rows::groups(connection, row.key)?;
    Ok(RunState::new(row, groups).view())
}

fn no_task(task: TaskId) -> StoreError {
    StoreError::refused(ErrorCode::NotFound, format!("there is no task {task}"))
}

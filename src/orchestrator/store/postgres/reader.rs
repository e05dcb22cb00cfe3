//! The reading side: its own connection, shared by all readers, made anew when it breaks.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::api::{AttemptView, ErrorCode, Event, RunId, RunView, TaskCounts, TaskId, TaskView};
use crate::orchestrator::store::Durability;
use crate::orchestrator::store::contract::{StoreError, StoredResult, TaskPage, Upload};
use crate::orchestrator::store::engine::{BackendError, Reader};
use crate::orchestrator::store::rules::{AttemptRow, GroupRow, RunRow, RunState, TaskRow};
use crate::orchestrator::store::view::{
    TaskPlace, active_attempt, attempt_view, before_latest, stored_result, task_view,
};
use crate::orchestrator::store::words::Word;

use super::rows;
use super::session::Session;

pub struct PostgresReader {
    url: String,
    session: Mutex<Option<Arc<Session>>>,
}

type Read<T> = Result<T, StoreError>;

impl PostgresReader {
    pub fn new(url: String) -> PostgresReader {
        PostgresReader { url, session: Mutex::new(None) }
    }

    async fn session(&self) -> Read<Arc<Session>> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(open.clone());
        }
        let new = Session::connect(&self.url, Durability::Synced).await.map_err(StoreError::Failed)?;
        Ok(session.insert(Arc::new(new)).clone())
    }

    async fn find(&self, session: &Session, run: &RunId) -> Read<RunRow> {
        let sql = "SELECT to_json(r)::text FROM runs r WHERE id = $1";
        let found = failing(session.json::<rows::Run>(sql, &[&run.as_str()]).await)?;
        match found.into_iter().next() {
            Some(run) => failing(run.into_row()),
            None => Err(StoreError::refused(ErrorCode::NotFound, format!("there is no run `{run}`"))),
        }
    }
}

fn failing<T>(result: Result<T, BackendError>) -> Read<T> {
    result.map_err(StoreError::Failed)
}

async fn view(session: &Session, row: RunRow) -> Read<RunView> {
    let sql = "SELECT to_json(g)::text FROM groups g WHERE run = $1 ORDER BY grp";
    let groups = failing(session.json::<rows::Group>(sql, &[&row.key]).await)?;
    Ok(RunState::new(row, groups.into_iter().map(GroupRow::from).collect()).view())
}

fn listed(found: rows::ListedTask) -> TaskView {
    let task = TaskRow::from(found.task);
    let place = TaskPlace {
        run_id: &found.run_id,
        first_task: found.first_task,
        provider: &found.provider,
        instance_type: &found.instance_type,
        alias: &found.alias,
    };
    task_view(&place, &task)
}

fn no_task(task: TaskId) -> StoreError {
    StoreError::refused(ErrorCode::NotFound, format!("there is no task {task}"))
}

#[async_trait]
impl Reader for PostgresReader {
    async fn run(&self, run: &RunId) -> Read<RunView> {
        let session = self.session().await?;
        let row = self.find(&session, run).await?;
        view(&session, row).await
    }

    async fn runs(&self) -> Read<Vec<RunView>> {
        let session = self.session().await?;
        let sql = "SELECT to_json(r)::text FROM runs r ORDER BY key DESC";
        let mut views = Vec::new();
        for run in failing(session.json::<rows::Run>(sql, &[]).await)? {
            views.push(view(&session, failing(run.into_row())?).await?);
        }
        Ok(views)
    }

    async fn task(&self, task: TaskId) -> Read<TaskView> {
        let session = self.session().await?;
        let sql = "SELECT to_json(x)::text FROM (SELECT t.*, g.provider, g.instance_type, g.alias, \
                   r.first_task, r.id AS run_id FROM tasks t JOIN groups g ON g.run = t.run AND g.grp = t.grp \
                   JOIN runs r ON r.key = t.run WHERE t.id = $1) x";
        let found = failing(session.json::<rows::ListedTask>(sql, &[&task]).await)?;
        found.into_iter().next().map(listed).ok_or_else(|| no_task(task))
    }

    async fn tasks(&self, run: &RunId, page: TaskPage) -> Read<Vec<TaskView>> {
        let session = self.session().await?;
        let row = self.find(&session, run).await?;
        let sql = "SELECT to_json(x)::text FROM (SELECT t.*, g.provider, g.instance_type, g.alias, \
                   r.first_task, r.id AS run_id FROM tasks t JOIN groups g ON g.run = t.run AND g.grp = t.grp \
                   JOIN runs r ON r.key = t.run WHERE t.id > $1 AND t.id < $2 \
                   AND ($3::text IS NULL OR t.state = $3) AND ($4::text IS NULL OR g.alias = $4) \
                   ORDER BY t.id LIMIT $5) x";
        let after = page.after.max(row.first_task - 1);
        let end = row.first_task + TaskId::from(row.total);
        let (state, limit) = (page.state.map(Word::word), i64::from(page.limit));
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&after, &end, &state, &page.alias, &limit];
        let found = failing(session.json::<rows::ListedTask>(sql, &values).await)?;
        Ok(found.into_iter().map(listed).collect())
    }

    async fn attempts(&self, task: TaskId) -> Read<Vec<AttemptView>> {
        let session = self.session().await?;
        let sql = "SELECT to_json(t)::text FROM tasks t WHERE id = $1";
        let current = failing(session.json::<rows::Task>(sql, &[&task]).await)?;
        let current = current.into_iter().next().ok_or_else(|| no_task(task))?;
        let sql = "SELECT to_json(a)::text FROM attempts a WHERE task = $1 ORDER BY attempt";
        let ended = failing(session.json::<rows::Attempt>(sql, &[&task]).await)?;
        let ended = ended.into_iter().map(|attempt| attempt_view(AttemptRow::from(attempt)));
        Ok(ended.chain(active_attempt(current.into())).collect())
    }

    async fn results(&self, run: &RunId) -> Read<Vec<StoredResult>> {
        let session = self.session().await?;
        let row = self.find(&session, run).await?;
        let sql = "SELECT to_json(x)::text FROM (SELECT a.*, g.alias, t.number FROM attempts a \
                   JOIN tasks t ON t.id = a.task JOIN groups g ON g.run = t.run AND g.grp = t.grp \
                   WHERE a.task >= $1 AND a.task < $2 AND a.upload_verified ORDER BY a.task, a.attempt) x";
        let end = row.first_task + TaskId::from(row.total);
        let found = failing(session.json::<rows::NamedAttempt>(sql, &[&row.first_task, &end]).await)?;
        let stored = |found: rows::NamedAttempt| {
            stored_result(found.alias, found.number, AttemptRow::from(found.attempt))
        };
        Ok(found.into_iter().filter_map(stored).collect())
    }

    async fn newest_upload(&self, task: TaskId) -> Read<Option<Upload>> {
        let session = self.session().await?;
        let sql = "SELECT to_json(a)::text FROM attempts a WHERE task = $1 AND upload_verified \
                   ORDER BY attempt DESC LIMIT 1";
        let newest = failing(session.json::<rows::Attempt>(sql, &[&task]).await)?;
        Ok(newest.into_iter().next().and_then(|attempt| AttemptRow::from(attempt).upload))
    }

    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Read<Vec<Event>> {
        let session = self.session().await?;
        let key = match run {
            Some(run) => Some(self.find(&session, run).await?.key),
            None => None,
        };
        // Each row holds at least one event, so as many rows as events are enough.
        let sql = "SELECT events FROM events WHERE seq > $1 AND ($2::bigint IS NULL OR run = $2) \
                   ORDER BY seq LIMIT $3";
        let mut events = Vec::new();
        let mut next = after;
        while events.len() < limit as usize {
            let missing = (i64::from(limit) - events.len() as i64).min(100);
            let batches = failing(session.json::<Vec<Event>>(sql, &[&next, &key, &missing]).await)?;
            let Some(last) = batches.last().and_then(|batch| batch.last()) else { break };
            next = last.seq;
            events.extend(batches.into_iter().flatten().filter(|event| event.seq > after));
        }
        events.truncate(limit as usize);
        Ok(events)
    }

    async fn before_latest(&self, run: &RunId, count: u32) -> Read<i64> {
        let session = self.session().await?;
        let key = self.find(&session, run).await?.key;
        // Each row holds at least one event.
        let sql = "SELECT json_build_array(first_seq, seq)::text FROM events WHERE run = $1 \
                   ORDER BY seq DESC LIMIT $2";
        let batches = failing(session.json::<(i64, i64)>(sql, &[&key, &i64::from(count)]).await)?;
        Ok(before_latest(batches, count))
    }

    async fn totals(&self) -> Read<TaskCounts> {
        let session = self.session().await?;
        let sql = "SELECT to_json(x)::text FROM (SELECT coalesce(sum(total), 0) total, \
                   coalesce(sum(pending), 0) pending, coalesce(sum(claimed), 0) claimed, \
                   coalesce(sum(running), 0) running, coalesce(sum(completed), 0) completed, \
                   coalesce(sum(failed), 0) failed, coalesce(sum(cancelled), 0) cancelled FROM groups) x";
        let found = failing(session.json::<TaskCounts>(sql, &[]).await)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    async fn ping(&self) -> Read<()> {
        failing(self.session().await?.execute("SELECT 1", &[]).await)
    }

    async fn backup(&self, _to: &Path) -> Read<()> {
        let why = "this store is a PostgreSQL database: back it up with `pg_dump`";
        Err(StoreError::refused(ErrorCode::BadRequest, why))
    }
}

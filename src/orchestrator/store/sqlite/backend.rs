//! The writer's side: loads rows from its own connection, and hands changes to the thread that commits them.
//!
//! Rows that are not in memory are loaded once the tables have every commit. Only pending tasks are loaded without:
//! a commit that the tables lack concerns tasks before those that were fetched, or such that are in memory.

use std::sync::{Arc, mpsc};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use crate::api::TaskId;
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{
    Backend, BackendError, Commit, Committed, FindRun, Insertion, NewRun, State,
};
use crate::orchestrator::store::rules::{Changes, RunKey, RunState, TaskRow};

use super::backlog::{Backlog, Insert};
use super::committer::Job;
use super::record;
use super::rows;

pub struct SqliteBackend {
    reading: Connection,
    committer: mpsc::Sender<Job>,
    backlog: Arc<Backlog>,
    /// Resolves when the tables have everything and the file is given back.
    ended: oneshot::Receiver<()>,
    next: record::Commit,
}

impl SqliteBackend {
    pub fn new(
        reading: Connection,
        committer: mpsc::Sender<Job>,
        backlog: Arc<Backlog>,
        ended: oneshot::Receiver<()>,
    ) -> SqliteBackend {
        SqliteBackend { reading, committer, backlog, ended, next: record::Commit::default() }
    }

    fn task(&self, id: TaskId) -> rusqlite::Result<TaskRow> {
        let sql = format!("SELECT {} FROM tasks WHERE id = ?", rows::TASK_COLUMNS);
        self.reading.prepare_cached(&sql)?.query_row([id], rows::task)
    }
}

impl Backend for SqliteBackend {
    const SHARED: bool = false;

    async fn begin(&mut self, _state: &mut State) -> Result<(), BackendError> {
        Ok(())
    }

    async fn load_run(&mut self, find: FindRun<'_>) -> Result<Option<RunState>, BackendError> {
        self.backlog.settle().await?;
        let found = match find {
            FindRun::Id(id) => rows::load_run(&self.reading, "id = ?", &id.as_str())?,
            FindRun::Key(key) => rows::load_run(&self.reading, "key = ?", &key)?,
            FindRun::OfTask(task) => {
                let find = "first_task = (SELECT max(first_task) FROM runs WHERE first_task <= ?)";
                rows::load_run(&self.reading, find, &task)?.filter(|run| run.owns(task))
            }
        };
        Ok(found)
    }

    async fn running(&mut self) -> Result<Vec<RunKey>, BackendError> {
        self.backlog.settle().await?;
        let mut statement = self.reading.prepare_cached("SELECT key FROM runs WHERE status = 'running'")?;
        let keys = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    async fn load_task(&mut self, id: TaskId) -> Result<Option<TaskRow>, BackendError> {
        self.backlog.settle().await?;
        Ok(self.task(id).optional()?)
    }

    async fn load_pending(
        &mut self,
        run: RunKey,
        group: usize,
        from: TaskId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, BackendError> {
        let mut statement = self.reading.prepare_cached(
            "SELECT id, number, fence FROM tasks \
             WHERE run = ? AND grp = ? AND id >= ? AND state = 'pending' ORDER BY id LIMIT ?",
        )?;
        // Nearly all were never handed out; there is no more to read of these.
        let found = statement.query_and_then(params![run, rows::as_i64(group), from, limit], |row| {
            let (id, fence): (TaskId, i64) = (row.get(0)?, row.get(2)?);
            if fence == 0 { Ok(TaskRow::pending(id, group, row.get(1)?)) } else { self.task(id) }
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    async fn insert_run(&mut self, new: NewRun) -> Result<Insertion, BackendError> {
        let (reply, made) = oneshot::channel();
        self.backlog.insert(Insert { new: Box::new(new), reply });
        Ok(Insertion::UnderWay(made))
    }

    async fn save(&mut self, changes: Changes) -> Result<(), BackendError> {
        self.next.changes.push(changes);
        Ok(())
    }

    async fn last_alive(&mut self) -> Result<Option<Millis>, BackendError> {
        self.backlog.settle().await?;
        let sql = "SELECT last_alive FROM orchestrator";
        Ok(self.reading.query_row(sql, [], |row| row.get(0))?)
    }

    async fn save_alive(&mut self, now: Millis) -> Result<(), BackendError> {
        self.next.alive = Some(now);
        Ok(())
    }

    async fn commit(&mut self) -> Result<Commit, BackendError> {
        let commit = std::mem::take(&mut self.next);
        if commit.changes.is_empty() && commit.alive.is_none() {
            return Ok(Commit::Done(Committed::default()));
        }
        let (reply, outcome) = oneshot::channel();
        self.committer.send(Job { commit, reply })?;
        Ok(Commit::UnderWay(outcome))
    }

    async fn rollback(&mut self) {
        self.next = record::Commit::default();
    }

    async fn close(self) {
        drop(self.committer);
        // An error means that it is gone already.
        self.ended.await.ok();
    }
}

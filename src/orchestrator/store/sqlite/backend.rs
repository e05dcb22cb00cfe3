//! The writer's side: loads rows from its own connection, and hands changes to the thread that commits them.

use std::sync::mpsc;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use crate::api::TaskId;
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{Backend, BackendError, Commit, Committed, FindRun, NewRun, State};
use crate::orchestrator::store::rules::{Changes, RunKey, RunState, TaskRow};

use super::committer::Job;
use super::rows;

pub struct SqliteBackend {
    reading: Connection,
    committer: mpsc::Sender<Job>,
    /// Resolves when the committer has ended and given the file back.
    ended: oneshot::Receiver<()>,
    changes: Vec<Changes>,
    alive: Option<Millis>,
}

impl SqliteBackend {
    pub fn new(
        reading: Connection,
        committer: mpsc::Sender<Job>,
        ended: oneshot::Receiver<()>,
    ) -> SqliteBackend {
        SqliteBackend { reading, committer, ended, changes: Vec::new(), alive: None }
    }
}

impl Backend for SqliteBackend {
    const SHARED: bool = false;

    async fn begin(&mut self, _state: &mut State) -> Result<(), BackendError> {
        Ok(())
    }

    async fn load_run(&mut self, find: FindRun<'_>) -> Result<Option<RunState>, BackendError> {
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
        let mut statement = self.reading.prepare_cached("SELECT key FROM runs WHERE status = 'running'")?;
        let keys = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    async fn load_task(&mut self, id: TaskId) -> Result<Option<TaskRow>, BackendError> {
        let sql = format!("SELECT {} FROM tasks WHERE id = ?", rows::TASK_COLUMNS);
        Ok(self.reading.prepare_cached(&sql)?.query_row([id], rows::task).optional()?)
    }

    async fn load_pending(
        &mut self,
        run: RunKey,
        group: usize,
        from: TaskId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, BackendError> {
        let sql = format!(
            "SELECT {} FROM tasks WHERE run = ? AND grp = ? AND id >= ? AND state = 'pending' ORDER BY id LIMIT ?",
            rows::TASK_COLUMNS
        );
        let mut statement = self.reading.prepare_cached(&sql)?;
        let found = statement.query_map(params![run, rows::as_i64(group), from, limit], rows::task)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    async fn insert_run(&mut self, new: NewRun) -> Result<RunState, BackendError> {
        let (reply, made) = oneshot::channel();
        self.committer.send(Job::Insert { new: Box::new(new), reply })?;
        made.await?
    }

    async fn save(&mut self, changes: Changes) -> Result<(), BackendError> {
        self.changes.push(changes);
        Ok(())
    }

    async fn last_alive(&mut self) -> Result<Option<Millis>, BackendError> {
        let sql = "SELECT last_alive FROM orchestrator";
        Ok(self.reading.query_row(sql, [], |row| row.get(0))?)
    }

    async fn save_alive(&mut self, now: Millis) -> Result<(), BackendError> {
        self.alive = Some(now);
        Ok(())
    }

    async fn commit(&mut self) -> Result<Commit, BackendError> {
        let (changes, alive) = (std::mem::take(&mut self.changes), self.alive.take());
        if changes.is_empty() && alive.is_none() {
            return Ok(Commit::Done(Committed::default()));
        }
        let (reply, outcome) = oneshot::channel();
        self.committer.send(Job::Commit { changes, alive, reply })?;
        Ok(Commit::UnderWay(outcome))
    }

    async fn rollback(&mut self) {
        self.changes.clear();
        self.alive = None;
    }

    async fn close(self) {
        drop(self.committer);
        // An error means that it is gone already.
        self.ended.await.ok();
    }
}

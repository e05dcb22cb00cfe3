//! What a database does for the engine: load rows, save rows, commit. No semantics.

use std::path::Path;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::api::{AttemptView, CreateRun, Event, RunId, RunView, TaskCounts, TaskId, TaskView};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::{StoreError, StoredResult, TaskPage, Upload};
use crate::orchestrator::store::rules::{Changes, RunKey, RunState, TaskRow};

use super::State;

pub type BackendError = Box<dyn std::error::Error + Send + Sync>;

/// Which run to load.
#[derive(Debug, Clone, Copy)]
pub enum FindRun<'a> {
    Id(&'a RunId),
    OfTask(TaskId),
    Key(RunKey),
}

/// A run to be made; the backend adds its key and the ids of its tasks.
#[derive(Debug)]
pub struct NewRun {
    pub run: Box<CreateRun>,
    pub spec: String,
    pub now: Millis,
}

/// What a commit made visible.
#[derive(Debug, Clone, Copy, Default)]
pub struct Committed {
    /// The newest event, if the batch added any.
    pub newest_event: Option<i64>,
    /// Whether anything was written at all.
    pub wrote: bool,
}

/// A commit that was asked for.
pub enum Commit {
    Done(Committed),
    /// It goes on by itself; until it has landed, rows that it carries must not be loaded.
    UnderWay(oneshot::Receiver<Result<Committed, BackendError>>),
}

/// A run that is being inserted.
pub enum Insertion {
    /// It becomes visible with the commit.
    Done(Box<RunState>),
    /// It goes on by itself, and is durable once it has come. Commits do not wait for it.
    UnderWay(oneshot::Receiver<Result<Box<RunState>, BackendError>>),
}

/// The writing side. Calls come from one place, in the order: `begin`, any loads and saves, then `commit`
/// or `rollback`.
pub trait Backend {
    /// Whether other orchestrators may write to the same database. If so, commits end before they return.
    const SHARED: bool;

    /// Opens a transaction. Where others write to the same database, brings `state` up to date and keeps
    /// them out until the end of the transaction.
    async fn begin(&mut self, state: &mut State) -> Result<(), BackendError>;
    /// The run with its groups, hosts and runners and every task that is handed out.
    async fn load_run(&mut self, find: FindRun<'_>) -> Result<Option<RunState>, BackendError>;
    /// Keys of the runs that have not ended.
    async fn running(&mut self) -> Result<Vec<RunKey>, BackendError>;
    async fn load_task(&mut self, id: TaskId) -> Result<Option<TaskRow>, BackendError>;
    /// Pending tasks of a group in order, from `from` on.
    async fn load_pending(
        &mut self,
        run: RunKey,
        group: usize,
        from: TaskId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, BackendError>;
    /// Inserts the run with its groups and tasks. Called again only when the one before has come.
    async fn insert_run(&mut self, new: NewRun) -> Result<Insertion, BackendError>;
    /// Writes the changes, now or with the commit.
    async fn save(&mut self, changes: Changes) -> Result<(), BackendError>;
    /// When an orchestrator was last alive on this database.
    async fn last_alive(&mut self) -> Result<Option<Millis>, BackendError>;
    async fn save_alive(&mut self, now: Millis) -> Result<(), BackendError>;
    async fn commit(&mut self) -> Result<Commit, BackendError>;
    async fn rollback(&mut self);
    /// Gives the database back; nothing is under way.
    async fn close(self);
}

/// The reading side, beside the writer: it sees what was committed.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    async fn run(&self, run: &RunId) -> Result<RunView, StoreError>;
    async fn runs(&self) -> Result<Vec<RunView>, StoreError>;
    async fn task(&self, task: TaskId) -> Result<TaskView, StoreError>;
    async fn tasks(&self, run: &RunId, page: TaskPage) -> Result<Vec<TaskView>, StoreError>;
    async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, StoreError>;
    async fn results(&self, run: &RunId) -> Result<Vec<StoredResult>, StoreError>;
    async fn newest_upload(&self, task: TaskId) -> Result<Option<Upload>, StoreError>;
    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;
    async fn before_latest(&self, run: &RunId, count: u32) -> Result<i64, StoreError>;
    async fn totals(&self) -> Result<TaskCounts, StoreError>;
    async fn ping(&self) -> Result<(), StoreError>;
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;
}

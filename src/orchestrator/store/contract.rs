//! What the HTTP handlers see of the store. Every call that answers `Ok` is durable when it returns; a
//! heartbeat is seen by every call after it, and may become durable a little later.

use std::path::Path;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::api::{
    AssignedTask, AttemptView, ClaimRequest, CompleteRequest, CreateRun, Deadline, ErrorCode, Event,
    FailRequest, HeartbeatRequest, HeartbeatResponse, HostEvent, HostView, Lease, ReleaseRequest, RunId,
    RunView, Settled, TaskCounts, TaskId, TaskState, TaskView,
};

use super::StoreStats;

/// Whose word a call is: checked against the task's run inside the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Admin,
    Run(RunId),
}

/// Answer to a claim, before the HTTP layer turns it into a long poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    Assigned(AssignedTask, Lease),
    /// Nothing now, but something may come back.
    Nothing,
    Done,
}

/// What an upload is checked against and where it goes; answer of [`Store::lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    pub run_id: RunId,
    pub task_id: TaskId,
    pub alias: String,
    pub number: u32,
    pub attempt: u32,
    pub fence: i64,
    /// The newest announced upload of this attempt.
    pub upload: Option<Upload>,
}

/// A result archive, announced and perhaps verified.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Upload {
    pub sha256: String,
    pub size: u64,
    /// Where the storage keeps it: made by the server, never by the runner.
    pub key: String,
    /// The stored bytes were found to match `sha256` and `size`, and the archive to be acceptable.
    pub verified: bool,
}

/// A verified result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    pub task_id: TaskId,
    pub alias: String,
    pub number: u32,
    pub attempt: u32,
    /// The attempt that counts. At most one for each task.
    pub accepted: bool,
    pub upload: Upload,
}

/// Which tasks to list: by id, ascending, `limit` at most.
#[derive(Debug, Clone, Default)]
pub struct TaskPage {
    pub after: TaskId,
    pub limit: u32,
    pub state: Option<TaskState>,
    pub alias: Option<String>,
}

/// What one look at the clock changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub leases_lost: u64,
    pub tasks_unclaimed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller's fault, with the code and the sentence that the answer carries.
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
    /// The store's fault.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> StoreError {
        StoreError::Refused { code, message: message.into() }
    }

    pub fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Failed(cause.into())
    }
}

/// The answer to what runners ask all the time. Where it can, the store carries such a call out before it gives this:
/// thousands of answers wait for the same sync, and each then holds no more than itself.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates a run with its tasks in seeded random order. The flag says whether it is new; the same
    /// specification again gives the existing one, another one is refused with `RunConflict`.
    async fn create_run(&self, run: CreateRun) -> Result<(RunView, bool), StoreError>;
    /// Cancels every task that has not ended; leases of running ones become stale.
    async fn stop_run(&self, run: &RunId) -> Result<RunView, StoreError>;
    /// Moves the deadline of the run's hosts and answers with it; `later` without one only asks.
    async fn deadline(&self, run: &RunId, later: Deadline) -> Result<Deadline, StoreError>;
    /// No host of this provider instance is being made any more.
    async fn settle(&self, run: &RunId, provider: &str, settled: Settled) -> Result<RunView, StoreError>;

    fn claim<'a>(&'a self, run: &'a RunId, claim: ClaimRequest) -> StoreFuture<'a, Claimed>;
    fn heartbeat(
        &self,
        scope: Scope,
        task: TaskId,
        beat: HeartbeatRequest,
    ) -> StoreFuture<'_, HeartbeatResponse>;
    /// Checks a fence without changing anything.
    async fn lease(&self, scope: Scope, task: TaskId, fence: i64) -> Result<LeaseInfo, StoreError>;
    /// Notes an upload, announced or verified, for the attempt that holds `fence`.
    async fn record_upload(
        &self,
        scope: Scope,
        task: TaskId,
        fence: i64,
        upload: Upload,
    ) -> Result<(), StoreError>;
    fn complete(&self, scope: Scope, task: TaskId, request: CompleteRequest) -> StoreFuture<'_, TaskView>;
    /// [`Store::record_upload`] and [`Store::complete`] at once, for a verified upload; a repetition is answered as
    /// that of `complete`.
    async fn deliver(
        &self,
        scope: Scope,
        task: TaskId,
        upload: Upload,
        request: CompleteRequest,
    ) -> Result<TaskView, StoreError>;
    async fn fail(&self, scope: Scope, task: TaskId, request: FailRequest) -> Result<TaskView, StoreError>;
    async fn release(
        &self,
        scope: Scope,
        task: TaskId,
        request: ReleaseRequest,
    ) -> Result<TaskView, StoreError>;
    async fn host_event(&self, run: &RunId, host: &str, event: HostEvent) -> Result<(), StoreError>;
    /// A runner says goodbye.
    async fn runner_gone(&self, run: &RunId, runner_id: &str) -> Result<(), StoreError>;

    async fn run(&self, run: &RunId) -> Result<RunView, StoreError>;
    /// Newest first.
    async fn runs(&self) -> Result<Vec<RunView>, StoreError>;
    async fn task(&self, task: TaskId) -> Result<TaskView, StoreError>;
    async fn tasks(&self, run: &RunId, page: TaskPage) -> Result<Vec<TaskView>, StoreError>;
    async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, StoreError>;
    async fn hosts(&self, run: &RunId) -> Result<Vec<HostView>, StoreError>;
    async fn results(&self, run: &RunId) -> Result<Vec<StoredResult>, StoreError>;
    /// The verified upload of the task's newest ended attempt that has one.
    async fn newest_upload(&self, task: TaskId) -> Result<Option<Upload>, StoreError>;
    /// Events with a `seq` greater than `after`, ascending; of every run where `run` is `None`.
    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The `after` with which [`Store::events`] begins `count` (at least 1) events before the end of the run's; 0 where it has
    /// fewer.
    async fn before_latest(&self, run: &RunId, count: u32) -> Result<i64, StoreError>;
    /// Task counts over all runs, for metrics.
    async fn totals(&self) -> Result<TaskCounts, StoreError>;

    /// Takes back leases that ran out and fails tasks nobody can claim. Called about once a second.
    async fn sweep(&self) -> Result<Swept, StoreError>;
    /// Changes after each commit that added events: the newest `seq` known.
    fn newest_event(&self) -> watch::Receiver<i64>;
    /// Changes when waiting claims should look again (a task came back, a run ended).
    fn queue_changes(&self) -> watch::Receiver<u64>;
    /// Counters for metrics; they grow from the moment the store was opened.
    fn stats(&self) -> &StoreStats;
    /// Writes a consistent copy of the database to a new file while it serves. SQLite only.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Commits what is under way and refuses what comes after.
    async fn close(&self);
}

//! The typed event stream: every change of a run, in the order in which it was made durable.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Alias, RunId, TaskId};

/// One change, as `GET /runs/{id}/events` sends it (SSE: `id` is `seq`, `event` is `kind`, `data` is this).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by at least 1 with every event of the store.
    pub seq: i64,
    pub run_id: RunId,
    pub at: jiff::Timestamp,
    pub kind: EventKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    /// Reason or message, from a runner or the orchestrator. Text of strangers: escape it before showing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    RunCreated,
    RunStopped,
    RunFinished,
    TaskClaimed,
    TaskStarted,
    TaskUploaded,
    TaskCompleted,
    TaskFailed,
    /// Failed or lost, and put back into the queue.
    TaskRetried,
    TaskLost,
    TaskReleased,
    TaskCancelled,
    HostStage,
    HostDrained,
    LeasesExtended,
}

impl EventKind {
    /// Nothing happens in a run after this.
    pub fn ends_run(self) -> bool {
        self == EventKind::RunFinished
    }
}

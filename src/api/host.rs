//! Hosts and the task runners on them, as the orchestrator sees them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Alias, TaskId};

/// How far a host has come, sent from user-data on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostStage {
    /// User-data has started.
    Boot,
    /// The task runner's program is being brought to the host.
    Runner,
    /// A runner has reached the orchestrator.
    Joined,
    /// All runners of the host are up.
    Ready,
    /// The cloud said that it will take the machine away.
    SpotNotice,
    /// All runners are done; the host is about to power off.
    Leaving,
    Failed,
}

impl std::fmt::Display for HostStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            HostStage::Boot => "boot",
            HostStage::Runner => "runner",
            HostStage::Joined => "joined",
            HostStage::Ready => "ready",
            HostStage::SpotNotice => "spot_notice",
            HostStage::Leaving => "leaving",
            HostStage::Failed => "failed",
        })
    }
}

/// `POST /runs/{id}/hosts/{host}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostEvent {
    pub stage: HostStage,
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    /// For a failure, the tail of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 20_000)]
    pub message: Option<String>,
}

/// When the hosts of a run end: `POST /runs/{id}/deadline` moves it, and a host whose own deadline has come asks
/// `GET /runs/{id}/hosts/{host}/deadline` before it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Seconds since 1970; nothing while the deadline that hosts were made with was not moved.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 253_402_300_799_i64)]
    pub expires_at: Option<i64>,
}

/// A row of `GET /runs/{id}/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    pub host: String,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    pub stage: HostStage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Gets no more tasks: it failed two of them quickly.
    pub drained: bool,
    pub last_seen_at: jiff::Timestamp,
    pub runners: Vec<RunnerView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunnerState {
    /// Waits for a task.
    Idle,
    Busy,
    /// Was told `done` or said goodbye.
    Gone,
    /// Has not been heard of for longer than its lease.
    Silent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunnerView {
    pub runner_id: String,
    pub state: RunnerState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    pub last_seen_at: jiff::Timestamp,
}

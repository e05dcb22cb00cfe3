//! Runs: what the master creates and watches.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Alias, RunId, Workload};

/// `POST /runs`. Sending the same specification again answers as the first time; another specification
/// under the same id is refused with `run_conflict`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    pub run_id: RunId,
    pub workload: Workload,
    /// 1 to 10,000 groups with 1 to 1,000,000 tasks in all.
    #[schema(min_items = 1, max_items = 10_000)]
    pub tasks: Vec<TaskGroup>,
    /// Life of a lease that is not renewed, 1 to 3,600 s.
    #[serde(default = "default_lease_seconds")]
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_seconds: u32,
    /// How often a task may be handed out in all, 1 to 100.
    #[serde(default = "default_max_attempts")]
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: u32,
    /// How often a task that *failed* (as opposed to one whose machine was lost) is tried again, within
    /// `max_attempts`. Zero by default: a failing benchmark is a result.
    #[serde(default)]
    #[schema(maximum = 99)]
    pub max_failure_retries: u32,
    /// A task that nobody could claim for this long fails with reason `unclaimed`. Counted from the last
    /// moment at which a runner of its provider and alias was seen, 1 to 604,800 s.
    #[serde(default = "default_pending_timeout_seconds")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub pending_timeout_seconds: u32,
    /// Seed of the random order in which tasks are handed out; recorded so that the order can be repeated.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub results: ResultsPolicy,
}

/// Whether a task must have uploaded a result before it counts as completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultsPolicy {
    #[default]
    Required,
    /// `complete` is accepted without an upload: for queues whose tasks leave nothing behind.
    Optional,
}

/// `count` tasks that any runner of this provider instance and alias can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskGroup {
    /// Name of the provider instance.
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    #[schema(min_length = 1, max_length = 128)]
    pub instance_type: String,
    pub alias: Alias,
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u32,
    /// Hosts for these tasks are still being made: their runners are told `wait` instead of `done` until the
    /// provider instance has settled, because a host that is gone too early fails its own making.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
}

/// `POST /runs/{id}/providers/{provider}/settled`: no host of this provider instance is being made any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// Aliases that nobody works on any more: their pending tasks fail with reason `no_hosts`.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    pub hopeless: Vec<Alias>,
    /// Why they are hopeless.
    #[serde(default)]
    #[schema(max_length = 10_000)]
    pub message: String,
    /// Its hosts are to stay after the run: their runners go on waiting, until the hosts' time to live is over.
    #[serde(default)]
    pub hosts_stay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Running,
    /// Every task completed.
    Completed,
    /// Every task ended, at least one failed.
    Failed,
    /// Stopped before every task had ended.
    Cancelled,
}

impl RunStatus {
    pub fn is_final(self) -> bool {
        self != RunStatus::Running
    }
}

/// `GET /runs/{id}`, and the answer of `POST /runs` and `/stop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    pub run_id: RunId,
    pub status: RunStatus,
    pub workload: Workload,
    pub tasks: TaskCounts,
    pub seed: u64,
    pub created_at: jiff::Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    pub total: u64,
    pub pending: u64,
    pub claimed: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl TaskCounts {
    /// Tasks that will not change any more.
    pub fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }
}

fn default_lease_seconds() -> u32 {
    60
}
fn default_max_attempts() -> u32 {
    4
}
fn default_pending_timeout_seconds() -> u32 {
    3600
}

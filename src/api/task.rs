//! Tasks and the calls that runners make about them.
//!
//! A lease is (task, attempt, fence). Every call about a task carries the fence; once the task was handed
//! to somebody else the fence is stale, the call is refused with 409 and the runner kills its child.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Alias, RunId, TaskId, Workload};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Pending,
    /// Handed out, no sign of life yet.
    Claimed,
    /// The runner has sent a heartbeat.
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl TaskState {
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Completed | TaskState::Failed | TaskState::Cancelled)
    }
}

/// `POST /runs/{id}/tasks/claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Name of the provider instance.
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    #[schema(min_length = 1, max_length = 128)]
    pub instance_type: String,
    /// Without it, any task of this provider and instance type fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    #[schema(min_length = 1, max_length = 128)]
    pub runner_id: String,
    /// The cloud's instance id, else the host name. Absent: the runner id stands for the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub host: Option<String>,
    /// Made by the client for each new claim. Asking again with the same one gives the same lease, so that
    /// a lost answer costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub request_id: Option<String>,
    /// How long the answer may be held back while there is nothing to do, 0 to 60 s.
    #[serde(default)]
    #[schema(maximum = 60)]
    pub wait_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ClaimResponse {
    Assigned {
        task: AssignedTask,
        lease: Lease,
        /// Results up to this size, bytes, may be sent and completed in one call: `PUT /tasks/{id}/result` with
        /// `sha256` and `complete`. Absent where results go to object storage.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deliver_bytes: Option<u64>,
    },
    /// Nothing now, but a task may come back: ask again after this long.
    Wait { retry_after_seconds: f64 },
    /// No task of this provider and alias can come back; also the answer to a drained host.
    Done,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssignedTask {
    pub id: TaskId,
    pub alias: Alias,
    /// 1 to the group's count, within the alias.
    pub number: u32,
    /// Shared: one run's workload is the same for all its tasks.
    pub workload: Arc<Workload>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// 1 for the first time the task is handed out.
    pub attempt: u32,
    /// Fencing token: grows each time the task is handed out or taken back.
    pub fence: i64,
    pub expires_at: jiff::Timestamp,
    /// How often the runner should beat, seconds.
    pub heartbeat_seconds: f64,
}

/// `POST /tasks/{id}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    pub fence: i64,
    /// What the runner is doing, e.g. `setup`, `warmup`, `measure`, `upload`.
    #[schema(max_length = 32)]
    pub status: String,
    /// 0.0 to 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000)]
    pub message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    pub expires_at: jiff::Timestamp,
}

/// `POST /tasks/{id}/upload`: announces a result archive (gzip'd tar) before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    pub fence: i64,
    /// SHA-256 of the archive, 64 lower-case hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// Size of the archive in bytes.
    pub size: u64,
}

/// Where and how to send the archive: the request to make, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadTicket {
    #[schema(examples("PUT"))]
    pub method: String,
    /// Absolute for object storage; a path on this orchestrator (with the runner's key) for local storage.
    pub url: String,
    pub headers: std::collections::BTreeMap<String, String>,
}

/// `POST /tasks/{id}/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    pub fence: i64,
    /// Digest of the uploaded archive; absent only where the run's results are optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: Option<String>,
}

/// `POST /tasks/{id}/fail`. A result archive may have been uploaded before; it is kept with the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    pub fence: i64,
    pub error_type: FailKind,
    #[schema(max_length = 10_000)]
    pub error_message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: Option<String>,
}

/// Why a task failed, as the runner saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// The workload exited with a status other than 0, or by a signal.
    Exit,
    /// The workload ran longer than its timeout.
    Timeout,
    /// The workload's setup failed.
    Setup,
    /// The workload could not be started (no such program, no such folder).
    Spawn,
    /// The workload's own output file is missing or cannot be understood, or the orchestrator did not take the
    /// results.
    Output,
    /// Something is missing on the machine (an interpreter, the network, memory).
    Environment,
    /// The runner itself went wrong.
    Runner,
}

/// `POST /tasks/{id}/release`: gives a task back unspent, without using up an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    pub fence: i64,
    /// E.g. `sigterm`, `spot_notice`.
    #[schema(max_length = 64)]
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Still held by its runner.
    Active,
    Completed,
    Failed,
    /// The lease ran out.
    Lost,
    /// Given back unspent.
    Released,
    Cancelled,
}

/// One time a task was handed out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    pub attempt: u32,
    pub runner_id: String,
    pub host: String,
    pub outcome: AttemptOutcome,
    pub claimed_at: jiff::Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Exactly one attempt of a completed task is accepted.
    pub accepted: bool,
}

/// A row of `GET /runs/{id}/tasks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    pub id: TaskId,
    pub run_id: RunId,
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
    pub number: u32,
    /// Place in the seeded random order, from 0.
    pub position: u32,
    pub state: TaskState,
    /// How often it was handed out so far.
    pub attempts: u32,
    /// For an ended task that did not complete: `exit`, `timeout`, `lost`, `poison`, `unclaimed`, `stopped`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The runner's own word for what it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_beat_at: Option<jiff::Timestamp>,
}

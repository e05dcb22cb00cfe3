//! The rows as the rules see them, and the record of what a rule changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::api::{
    Alias, AttemptOutcome, CreateRun, EventKind, HostStage, ResultsPolicy, RunId, RunStatus, TaskCounts,
    TaskId, TaskState, Workload,
};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::Upload;

/// The name of a host or a runner, or another text that rows, events and maps share: a copy costs no memory.
pub type Name = Arc<str>;

/// Rows by name. It grows without hashing names anew, which thousands of runners would all wait for.
pub type Named<V> = IndexMap<Name, V, RandomState>;

/// Values by a number or an identifier.
pub type Keyed<K, V> = HashMap<K, V, RandomState>;

/// The database's own number of a run.
pub type RunKey = i64;

#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub key: RunKey,
    pub id: RunId,
    /// The whole specification as JSON: compared when the run is created again.
    pub spec: String,
    pub workload: Arc<Workload>,
    pub lease_ms: Millis,
    pub max_attempts: u32,
    pub max_failure_retries: u32,
    pub pending_timeout_ms: Millis,
    pub results: ResultsPolicy,
    pub seed: u64,
    pub status: RunStatus,
    pub created_at: Millis,
    pub finished_at: Option<Millis>,
    /// Of the run's hosts, where it was moved; seconds since 1970.
    pub deadline: Option<i64>,
    /// Tasks of a run have the ids `first_task .. first_task + total`, in the order of their positions.
    pub first_task: TaskId,
    pub total: u32,
}

/// The tasks of one alias: how many are in which state, and the head of their queue.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
    pub counts: TaskCounts,
    /// No task before this one is pending.
    pub head: TaskId,
    /// When a runner that could take these tasks was last heard of.
    pub wanted_at: Millis,
    /// No host for these tasks is being made any more: who finds none may go.
    pub settled: bool,
    /// Pending tasks that are in memory, in order. Pending tasks from `fetched_to` on may not be.
    pub queue: BTreeSet<TaskId>,
    pub fetched_to: TaskId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    pub id: TaskId,
    /// Index into the run's groups.
    pub group: usize,
    pub number: u32,
    pub state: TaskState,
    /// Grows each time the task is handed out or taken back.
    pub fence: i64,
    /// How often it was handed out.
    pub attempts: u32,
    /// How many of these cost nothing: released, or lost on a host whose end the cloud had announced.
    pub free: u32,
    pub failures: u32,
    /// Different hosts that were lost with this task.
    pub lost_hosts: Vec<String>,
    /// Present exactly while the task is claimed or running.
    pub lease: Option<HeldLease>,
    /// How the newest attempt that ended did so.
    pub ended: Option<Ended>,
    pub reason: Option<String>,
    pub error_message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldLease {
    pub runner_id: Name,
    pub host: Name,
    pub request_id: Option<Name>,
    pub claimed_at: Millis,
    pub expires_at: Millis,
    pub beat_at: Option<Millis>,
    pub status: Option<Name>,
    pub progress: Option<f64>,
    pub message: Option<String>,
    pub upload: Option<Upload>,
}

/// What repeated calls about an attempt that ended are answered from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub fence: i64,
    pub outcome: AttemptOutcome,
    pub sha256: Option<String>,
    pub runner_id: Name,
    pub host: Name,
}

/// One attempt that ended; rows are added and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    pub task: TaskId,
    pub attempt: u32,
    pub runner_id: Name,
    pub host: Name,
    pub outcome: AttemptOutcome,
    pub claimed_at: Millis,
    pub ended_at: Millis,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    pub upload: Option<Upload>,
    pub accepted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRow {
    pub provider: String,
    pub alias: Option<Alias>,
    pub stage: HostStage,
    pub message: Option<String>,
    pub drained: bool,
    /// Tasks of its current row of quick failures, oldest first.
    pub quick_failures: Vec<TaskId>,
    pub completed: u32,
    pub seen_at: Millis,
}

/// Who was heard of. Saved by sweeps rather than by claims, so about right after a crash until the next beat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerRow {
    pub host: Name,
    pub provider: String,
    pub instance_type: String,
    pub alias: Option<Alias>,
    pub seen_at: Millis,
    pub gone: bool,
    /// `seen_at` as it was last saved.
    pub saved_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    pub at: Millis,
    pub kind: EventKind,
    pub task_id: Option<TaskId>,
    pub alias: Option<Alias>,
    pub number: Option<u32>,
    pub attempt: Option<u32>,
    pub host: Option<Name>,
    pub runner_id: Option<Name>,
    pub detail: Option<String>,
}

impl RunRow {
    /// From its specification as it was stored, with what has changed since.
    pub fn from_spec(key: RunKey, spec: String, now: Stored) -> Result<RunRow, serde_json::Error> {
        let run: CreateRun = serde_json::from_str(&spec)?;
        Ok(RunRow {
            key,
            id: run.run_id,
            spec,
            workload: Arc::new(run.workload),
            lease_ms: Millis::from(run.lease_seconds) * 1000,
            max_attempts: run.max_attempts,
            max_failure_retries: run.max_failure_retries,
            pending_timeout_ms: Millis::from(run.pending_timeout_seconds) * 1000,
            results: run.results,
            seed: run.seed,
            status: now.status,
            created_at: now.created_at,
            finished_at: now.finished_at,
            deadline: now.deadline,
            first_task: now.first_task,
            total: now.total,
        })
    }
}

/// The columns of a run beside its specification.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub status: RunStatus,
    pub created_at: Millis,
    pub finished_at: Option<Millis>,
    pub deadline: Option<i64>,
    pub first_task: TaskId,
    pub total: u32,
}

impl TaskRow {
    /// One that was never handed out.
    pub fn pending(id: TaskId, group: usize, number: u32) -> TaskRow {
        TaskRow {
            id,
            group,
            number,
            state: TaskState::Pending,
            fence: 0,
            attempts: 0,
            free: 0,
            failures: 0,
            lost_hosts: Vec::new(),
            lease: None,
            ended: None,
            reason: None,
            error_message: None,
        }
    }

    /// Of the attempt under way, else of the newest that ended.
    pub fn runner_id(&self) -> Option<&Name> {
        let held = self.lease.as_ref().map(|lease| &lease.runner_id);
        held.or_else(|| self.ended.as_ref().map(|ended| &ended.runner_id))
    }

    pub fn host(&self) -> Option<&Name> {
        let held = self.lease.as_ref().map(|lease| &lease.host);
        held.or_else(|| self.ended.as_ref().map(|ended| &ended.host))
    }

    /// Attempts that count against `max_attempts`.
    pub fn spent(&self) -> u32 {
        self.attempts.saturating_sub(self.free)
    }
}

pub(super) fn count_of(counts: &mut TaskCounts, state: TaskState) -> &mut u64 {
    match state {
        TaskState::Pending => &mut counts.pending,
        TaskState::Claimed => &mut counts.claimed,
        TaskState::Running => &mut counts.running,
        TaskState::Completed => &mut counts.completed,
        TaskState::Failed => &mut counts.failed,
        TaskState::Cancelled => &mut counts.cancelled,
    }
}

//! Rows of PostgreSQL, which travel as JSON, to rows of the rules and back.

use serde::{Deserialize, Serialize};

use crate::api::{Alias, AttemptOutcome, HostStage, RunStatus, TaskCounts, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::Upload;
use crate::orchestrator::store::engine::BackendError;
use crate::orchestrator::store::rules::{
    AttemptRow, Ended, GroupRow, HeldLease, HostRow, RunKey, RunRow, RunnerRow, Stored, TaskRow,
};

#[derive(Deserialize)]
pub struct Run {
    key: RunKey,
    spec: String,
    status: RunStatus,
    created_at: Millis,
    finished_at: Option<Millis>,
    deadline: Option<i64>,
    first_task: TaskId,
    total: u32,
}

impl Run {
    pub fn into_row(self) -> Result<RunRow, BackendError> {
        let stored = Stored {
            status: self.status,
            created_at: self.created_at,
            finished_at: self.finished_at,
            deadline: self.deadline,
            first_task: self.first_task,
            total: self.total,
        };
        Ok(RunRow::from_spec(self.key, self.spec, stored)?)
    }
}

#[derive(Serialize, Deserialize)]
pub struct Group {
    run: RunKey,
    grp: usize,
    provider: String,
    instance_type: String,
    alias: Alias,
    total: u64,
    pending: u64,
    claimed: u64,
    running: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    head: TaskId,
    wanted_at: Millis,
}

impl Group {
    pub fn of(run: RunKey, grp: usize, row: &GroupRow) -> Group {
        Group {
            run,
            grp,
            provider: row.provider.clone(),
            instance_type: row.instance_type.clone(),
            alias: row.alias.clone(),
            total: row.counts.total,
            pending: row.counts.pending,
            claimed: row.counts.claimed,
            running: row.counts.running,
            completed: row.counts.completed,
            failed: row.counts.failed,
            cancelled: row.counts.cancelled,
            head: row.head,
            wanted_at: row.wanted_at,
        }
    }
}

impl From<Group> for GroupRow {
    fn from(row: Group) -> GroupRow {
        let counts = TaskCounts {
            total: row.total,
            pending: row.pending,
            claimed: row.claimed,
            running: row.running,
            completed: row.completed,
            failed: row.failed,
            cancelled: row.cancelled,
        };
        GroupRow {
            provider: row.provider,
            instance_type: row.instance_type,
            alias: row.alias,
            counts,
            head: row.head,
            wanted_at: row.wanted_at,
            queue: Default::default(),
            fetched_to: row.head,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Task {
    id: TaskId,
    grp: usize,
    number: u32,
    state: TaskState,
    fence: i64,
    attempts: u32,
    free: u32,
    failures: u32,
    lost_hosts: Option<Vec<String>>,
    runner_id: Option<String>,
    host: Option<String>,
    request_id: Option<String>,
    claimed_at: Option<Millis>,
    expires_at: Option<Millis>,
    beat_at: Option<Millis>,
    status: Option<String>,
    progress: Option<f64>,
    message: Option<String>,
    #[serde(flatten)]
    upload: UploadColumns,
    ended_fence: Option<i64>,
    ended_outcome: Option<AttemptOutcome>,
    ended_sha256: Option<String>,
    ended_runner: Option<String>,
    ended_host: Option<String>,
    reason: Option<String>,
    error_message: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct UploadColumns {
    upload_sha256: Option<String>,
    upload_size: Option<u64>,
    upload_key: Option<String>,
    upload_verified: Option<bool>,
}

impl From<Option<&Upload>> for UploadColumns {
    fn from(upload: Option<&Upload>) -> UploadColumns {
        UploadColumns {
            upload_sha256: upload.map(|upload| upload.sha256.clone()),
            upload_size: upload.map(|upload| upload.size),
            upload_key: upload.map(|upload| upload.key.clone()),
            upload_verified: upload.map(|upload| upload.verified),
        }
    }
}

impl From<UploadColumns> for Option<Upload> {
    fn from(columns: UploadColumns) -> Option<Upload> {
        Some(Upload {
            sha256: columns.upload_sha256?,
            size: columns.upload_size?,
            key: columns.upload_key?,
            verified: columns.upload_verified?,
        })
    }
}

impl From<&TaskRow> for Task {
    fn from(row: &TaskRow) -> Task {
        let lease = row.lease.as_ref();
        let ended = row.ended.as_ref();
        Task {
            id: row.id,
            grp: row.group,
            number: row.number,
            state: row.state,
            fence: row.fence,
            attempts: row.attempts,
            free: row.free,
            failures: row.failures,
            lost_hosts: (!row.lost_hosts.is_empty()).then(|| row.lost_hosts.clone()),
            runner_id: lease.map(|lease| lease.runner_id.clone()),
            host: lease.map(|lease| lease.host.clone()),
            request_id: lease.and_then(|lease| lease.request_id.clone()),
            claimed_at: lease.map(|lease| lease.claimed_at),
            expires_at: lease.map(|lease| lease.expires_at),
            beat_at: lease.and_then(|lease| lease.beat_at),
            status: lease.and_then(|lease| lease.status.clone()),
            progress: lease.and_then(|lease| lease.progress),
            message: lease.and_then(|lease| lease.message.clone()),
            upload: lease.and_then(|lease| lease.upload.as_ref()).into(),
            ended_fence: ended.map(|ended| ended.fence),
            ended_outcome: ended.map(|ended| ended.outcome),
            ended_sha256: ended.and_then(|ended| ended.sha256.clone()),
            ended_runner: ended.map(|ended| ended.runner_id.clone()),
            ended_host: ended.map(|ended| ended.host.clone()),
            reason: row.reason.clone(),
            error_message: row.error_message.clone(),
        }
    }
}

impl From<Task> for TaskRow {
    fn from(row: Task) -> TaskRow {
        TaskRow {
            id: row.id,
            group: row.grp,
            number: row.number,
            state: row.state,
            fence: row.fence,
            attempts: row.attempts,
            free: row.free,
            failures: row.failures,
            lost_hosts: row.lost_hosts.unwrap_or_default(),
            lease: row.runner_id.map(|runner_id| HeldLease {
                runner_id,
                host: row.host.unwrap_or_default(),
                request_id: row.request_id,
                claimed_at: row.claimed_at.unwrap_or_default(),
                expires_at: row.expires_at.unwrap_or_default(),
                beat_at: row.beat_at,
                status: row.status,
                progress: row.progress,
                message: row.message,
                upload: row.upload.into(),
            }),
            ended: row.ended_fence.map(|fence| Ended {
                fence,
                outcome: row.ended_outcome.unwrap_or(AttemptOutcome::Lost),
                sha256: row.ended_sha256,
                runner_id: row.ended_runner.unwrap_or_default(),
                host: row.ended_host.unwrap_or_default(),
            }),
            reason: row.reason,
            error_message: row.error_message,
        }
    }
}

/// A task with what its view takes from its run and group.
#[derive(Deserialize)]
pub struct ListedTask {
    #[serde(flatten)]
    pub task: Task,
    pub run_id: crate::api::RunId,
    pub first_task: TaskId,
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
}

#[derive(Serialize, Deserialize)]
pub struct Attempt {
    task: TaskId,
    attempt: u32,
    runner_id: String,
    host: String,
    outcome: AttemptOutcome,
    claimed_at: Millis,
    ended_at: Millis,
    error_type: Option<String>,
    error_message: Option<String>,
    #[serde(flatten)]
    upload: UploadColumns,
    accepted: bool,
}

/// An attempt with the name of its task.
#[derive(Deserialize)]
pub struct NamedAttempt {
    #[serde(flatten)]
    pub attempt: Attempt,
    pub alias: String,
    pub number: u32,
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Attempt {
        Attempt {
            task: row.task,
            attempt: row.attempt,
            runner_id: row.runner_id,
            host: row.host,
            outcome: row.outcome,
            claimed_at: row.claimed_at,
            ended_at: row.ended_at,
            error_type: row.error_type,
            error_message: row.error_message,
            upload: row.upload.as_ref().into(),
            accepted: row.accepted,
        }
    }
}

impl From<Attempt> for AttemptRow {
    fn from(row: Attempt) -> AttemptRow {
        AttemptRow {
            task: row.task,
            attempt: row.attempt,
            runner_id: row.runner_id,
            host: row.host,
            outcome: row.outcome,
            claimed_at: row.claimed_at,
            ended_at: row.ended_at,
            error_type: row.error_type,
            error_message: row.error_message,
            upload: row.upload.into(),
            accepted: row.accepted,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct Host {
    run: RunKey,
    host: String,
    provider: String,
    alias: Option<Alias>,
    stage: HostStage,
    message: Option<String>,
    drained: bool,
    quick_failures: Option<Vec<TaskId>>,
    completed: u32,
    seen_at: Millis,
}

impl Host {
    pub fn of(run: RunKey, name: &str, row: &HostRow) -> Host {
        Host {
            run,
            host: name.to_owned(),
            provider: row.provider.clone(),
            alias: row.alias.clone(),
            stage: row.stage,
            message: row.message.clone(),
            drained: row.drained,
            quick_failures: (!row.quick_failures.is_empty()).then(|| row.quick_failures.clone()),
            completed: row.completed,
            seen_at: row.seen_at,
        }
    }

    pub fn named(self) -> (String, HostRow) {
        let row = HostRow {
            provider: self.provider,
            alias: self.alias,
            stage: self.stage,
            message: self.message,
            drained: self.drained,
            quick_failures: self.quick_failures.unwrap_or_default(),
            completed: self.completed,
            seen_at: self.seen_at,
        };
        (self.host, row)
    }
}

#[derive(Serialize, Deserialize)]
pub struct Runner {
    run: RunKey,
    runner_id: String,
    host: String,
    provider: String,
    instance_type: String,
    alias: Option<Alias>,
    seen_at: Millis,
    gone: bool,
}

impl Runner {
    pub fn of(run: RunKey, id: &str, row: &RunnerRow) -> Runner {
        Runner {
            run,
            runner_id: id.to_owned(),
            host: row.host.clone(),
            provider: row.provider.clone(),
            instance_type: row.instance_type.clone(),
            alias: row.alias.clone(),
            seen_at: row.seen_at,
            gone: row.gone,
        }
    }

    pub fn named(self) -> (String, RunnerRow) {
        let row = RunnerRow {
            host: self.host,
            provider: self.provider,
            instance_type: self.instance_type,
            alias: self.alias,
            seen_at: self.seen_at,
            gone: self.gone,
            saved_at: self.seen_at,
        };
        (self.runner_id, row)
    }
}

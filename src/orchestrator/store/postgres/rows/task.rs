//! Tasks, with the lease they are handed out under.

use serde::{Deserialize, Serialize};

use crate::api::{Alias, AttemptOutcome, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::Upload;
use crate::orchestrator::store::rules::{Ended, HeldLease, Name, TaskRow};

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
    runner_id: Option<Name>,
    host: Option<Name>,
    request_id: Option<Name>,
    claimed_at: Option<Millis>,
    expires_at: Option<Millis>,
    beat_at: Option<Millis>,
    status: Option<Name>,
    progress: Option<f64>,
    message: Option<String>,
    #[serde(flatten)]
    upload: UploadColumns,
    ended_fence: Option<i64>,
    ended_outcome: Option<AttemptOutcome>,
    ended_sha256: Option<String>,
    ended_runner: Option<Name>,
    ended_host: Option<Name>,
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

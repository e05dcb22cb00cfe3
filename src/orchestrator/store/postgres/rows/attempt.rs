//! Attempts that ended.

use serde::{Deserialize, Serialize};

use crate::api::{AttemptOutcome, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::rules::{AttemptRow, Name};

use super::task::UploadColumns;

#[derive(Serialize, Deserialize)]
pub struct Attempt {
    task: TaskId,
    attempt: u32,
    runner_id: Name,
    host: Name,
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

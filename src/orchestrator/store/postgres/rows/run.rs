//! Runs and their groups.

use serde::{Deserialize, Serialize};

use crate::api::{Alias, RunStatus, TaskCounts, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::BackendError;
use crate::orchestrator::store::rules::{self, GroupRow, RunKey, RunRow, Stored};

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
    settled: bool,
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
            settled: row.settled,
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
            settled: row.settled,
            queue: Default::default(),
            fetched_to: row.head,
        }
    }
}

/// The part of a group's row that changes.
#[derive(Serialize)]
pub struct GroupChange {
    run: RunKey,
    grp: usize,
    pending: u64,
    claimed: u64,
    running: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    head: TaskId,
    wanted_at: Millis,
    settled: bool,
}

impl GroupChange {
    pub fn of(run: RunKey, change: &rules::GroupChange) -> GroupChange {
        GroupChange {
            run,
            grp: change.group,
            pending: change.counts.pending,
            claimed: change.counts.claimed,
            running: change.counts.running,
            completed: change.counts.completed,
            failed: change.counts.failed,
            cancelled: change.counts.cancelled,
            head: change.head,
            wanted_at: change.wanted_at,
            settled: change.settled,
        }
    }
}

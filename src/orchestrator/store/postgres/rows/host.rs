//! Hosts and runners.

use serde::{Deserialize, Serialize};

use crate::api::{Alias, HostStage, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::rules::{HostRow, Name, RunKey, RunnerRow};

#[derive(Serialize, Deserialize)]
pub struct Host {
    run: RunKey,
    host: Name,
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
    pub fn of(run: RunKey, name: &Name, row: &HostRow) -> Host {
        Host {
            run,
            host: name.clone(),
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

    pub fn named(self) -> (Name, HostRow) {
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
    runner_id: Name,
    host: Name,
    provider: String,
    instance_type: String,
    alias: Option<Alias>,
    seen_at: Millis,
    gone: bool,
}

impl Runner {
    pub fn of(run: RunKey, id: &Name, row: &RunnerRow) -> Runner {
        Runner {
            run,
            runner_id: id.clone(),
            host: row.host.clone(),
            provider: row.provider.clone(),
            instance_type: row.instance_type.clone(),
            alias: row.alias.clone(),
            seen_at: row.seen_at,
            gone: row.gone,
        }
    }

    pub fn named(self) -> (Name, RunnerRow) {
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

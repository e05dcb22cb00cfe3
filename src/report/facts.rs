//! What a report is made from: the run, its plan and its tasks, as the master knows them.

use serde::{Deserialize, Serialize};

use crate::api::{Alias, RunId, RunStatus, TaskId, TaskMetadata, TaskOutput, TaskState};

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    pub run_id: RunId,
    pub status: RunStatus,
    /// Name of the workload.
    pub workload: String,
    /// Seed of the order in which tasks were handed out.
    pub seed: u64,
    pub started_at: jiff::Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<jiff::Timestamp>,
    /// Digest of the config file that was run.
    pub config_sha256: String,
    pub bench_version: String,
    #[serde(default)]
    pub plan: Vec<PlanFact>,
}

/// One instance type of the plan. Unknown figures are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFact {
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_vcpu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    pub tasks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_usd_per_h: Option<f64>,
}

/// One task and what it left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
    /// From 1, within the alias.
    pub number: u32,
    pub state: TaskState,
    /// Why it did not complete: `exit`, `timeout`, `lost`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// How often it was handed out.
    pub attempts: u32,
    #[serde(default)]
    pub metadata: Option<TaskMetadata>,
    #[serde(default)]
    pub output: Option<TaskOutput>,
    /// Why its files, or some of them, could not be taken in; they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl TaskResult {
    /// Only what a completed task measured enters a statistic; the rest is kept, not counted.
    pub fn counted_output(&self) -> Option<&TaskOutput> {
        self.output.as_ref().filter(|_| self.state == TaskState::Completed)
    }

    /// The attempt that the output is of.
    pub fn attempt(&self) -> u32 {
        self.metadata.as_ref().map_or(self.attempts, |metadata| metadata.attempt)
    }
}

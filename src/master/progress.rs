//! What the master tells while it works: one typed stream, shown as bars on a terminal or as plain lines.

use std::path::PathBuf;

use async_trait::async_trait;

use super::meta::MetaStep;
use crate::api::{Event, RunId, RunStatus, TaskCounts};
use crate::plan::Cost;
use crate::terraform::{self, FailureClass, Operation};

#[derive(Debug, Clone)]
pub enum MasterEvent {
    Started {
        run_id: RunId,
        total_tasks: u64,
    },
    /// What is going to be made in clouds, and what it costs at worst.
    Hosts {
        count: u64,
        cost: Cost,
        ttl_minutes: u32,
    },
    /// The meta stack is being brought up.
    Meta(MetaStep),
    OrchestratorReady {
        url: String,
    },
    /// CPUs are held by other runs of this home.
    WaitingForCpus {
        wanted: usize,
        free: usize,
        held_by: Vec<String>,
    },
    ProviderStarted {
        name: String,
        alias: String,
        runners: usize,
    },
    RunnerDied {
        name: String,
        alias: String,
        status: String,
        log: PathBuf,
    },
    /// Terraform of a provider instance has got further.
    ProviderProgress {
        name: String,
        operation: Operation,
        progress: terraform::Progress,
    },
    /// All hosts of a provider instance are made.
    ProviderUp {
        name: String,
        hosts: usize,
    },
    /// A provider instance could not be set up as planned; `hosts` came up all the same.
    ProviderFailed {
        name: String,
        error: String,
        class: Option<FailureClass>,
        next_step: String,
        hosts: usize,
    },
    /// A host did not come up; it is replaced, or given up.
    HostMissing {
        name: String,
        host: String,
        replaced: bool,
    },
    ProviderSettled {
        name: String,
        status: String,
    },
    /// Something happened in the run, and how its tasks stand since.
    Run {
        event: Event,
        counts: TaskCounts,
    },
    /// The orchestrator does not answer; the master keeps asking.
    OrchestratorSilent {
        error: String,
    },
    Interrupted,
    Collecting,
    Finished {
        status: RunStatus,
    },
}

/// Receives the stream.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Must return quickly.
    fn tell(&self, event: &MasterEvent);

    /// Asks whether hosts of an interrupted run are to be left running. No, where nobody answers.
    async fn ask_to_keep(&self) -> bool {
        false
    }
}

//! What a task runner is told when it starts, and what it works out from that.

use std::path::PathBuf;
use std::time::Duration;

use super::launchers::Launchers;
use super::pin::PlaceRequest;
use crate::api::{Alias, Machine, Pinning, RunId};
use crate::client::Endpoint;

/// Arguments of a runner.
#[derive(Debug, Clone)]
pub struct RunnerArgs {
    pub orchestrator: Endpoint,
    pub run_id: RunId,
    /// Name of the provider instance.
    pub provider: String,
    pub instance_type: String,
    /// Without it the runner takes tasks of every alias of its instance type.
    pub alias: Option<Alias>,
    /// Unique in the run; the same after a restart of the same slot is fine.
    pub runner_id: String,
    /// The cloud's instance id, else the host name.
    pub host: String,
    /// Results are made up instead of measured.
    pub mock: bool,
    /// Stays after the last task, until it is stopped.
    pub no_exit: bool,
    pub place: PlaceRequest,
    /// Standard input is a pipe from the master; its end is the runner's end.
    pub parent_pipe: bool,
    /// The program that has the hidden `launch` and `kernels` commands: this one.
    pub program: PathBuf,
    /// Folder for results that the orchestrator does not take; without it they are dropped.
    pub undelivered: Option<PathBuf>,
    /// How long a task under way may still take after SIGTERM before it is given back.
    pub stop_grace: Duration,
    /// Between SIGTERM and SIGKILL for a workload that must end.
    pub kill_grace: Duration,
}

/// What stays the same for all tasks of a runner.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub args: RunnerArgs,
    pub pinning: Pinning,
    pub machine: Machine,
    /// Logical CPUs that a workload may use: the pinned one, else all that the runner was given.
    pub cpus: Vec<u32>,
    /// A private folder that is removed at the end.
    pub scratch: PathBuf,
    pub launchers: Launchers,
}

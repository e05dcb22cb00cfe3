//! What a task executes, turned into processes to start, outputs to read and reasons to give up.

mod builtin;
mod command;
mod mock;
mod ruby;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::api::{AssignedTask, Benchmark, FailKind, OutputFormat, OutputSource, Workload, WorkloadKind};

/// One process of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
    /// What it means when it fails, and a sentence on what to do about it.
    pub on_failure: (FailKind, Option<String>),
}

/// Where results of the workload's own are found after each execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Stdout(Reader),
    File(PathBuf, Reader),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reader {
    Format {
        format: OutputFormat,
        pattern: Option<String>,
    },
    /// An array of [`Benchmark`], as `bench kernels` writes.
    Kernels,
}

/// The processes of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub setup: Vec<Step>,
    pub measure: Step,
    pub warmup: u32,
    pub repetitions: u32,
    pub source: Option<Source>,
    /// Whether times and memory of the executions are benchmarks themselves.
    pub measures_process: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    Script(Box<Script>),
    /// Results without a process.
    Ready(Vec<Benchmark>),
}

/// What preparing may need to know.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// This program, for workloads inside it.
    pub program: &'a Path,
    /// A folder of this task alone.
    pub scratch: &'a Path,
    /// A folder inside it that belongs to the workload: [`crate::api::workload::TASK_DIR`].
    pub task_dir: &'a Path,
    /// A folder that tasks of this runner share, for what need not be fetched twice.
    pub shared: &'a Path,
}

/// Why a workload cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PreflightError {
    pub kind: FailKind,
    /// What is missing and what to do about it.
    pub message: String,
}

/// Looks whether the workload can run on this machine, without running it: programs, folders, Ruby, pattern.
///
/// # Errors
/// The first thing that is missing.
pub fn preflight(workload: &Workload) -> Result<(), PreflightError> {
    match &workload.kind {
        WorkloadKind::Command(command) => command::preflight(command),
        WorkloadKind::RubyBench { ruby_version } => ruby::preflight(ruby_version),
        WorkloadKind::Builtin { .. } | WorkloadKind::Mock => Ok(()),
    }
}

/// Turns a task's workload into processes.
///
/// # Errors
/// As [`preflight`].
pub fn prepare(task: &AssignedTask, surroundings: &Surroundings<'_>) -> Result<Prepared, PreflightError> {
    preflight(&task.workload)?;
    let script = match &task.workload.kind {
        WorkloadKind::Command(workload) => command::script(workload, surroundings),
        WorkloadKind::RubyBench { ruby_version } => ruby::script(ruby_version, surroundings)?,
        WorkloadKind::Builtin { builtin } => builtin::script(*builtin, surroundings),
        WorkloadKind::Mock => return Ok(mock(task)),
    };
    Ok(Prepared::Script(Box::new(script)))
}

/// The deterministic results of a task, whatever its workload is.
pub fn mock(task: &AssignedTask) -> Prepared {
    Prepared::Ready(mock::benchmarks(&task.alias, task.number))
}

fn reader(source: &OutputSource) -> Reader {
    Reader::Format { format: source.format, pattern: source.pattern.clone() }
}

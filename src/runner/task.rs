//! One task from its lease to an archive that can be uploaded.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::archive::{self, Archive};
use super::execute::{ExecuteError, Executor, Halt};
use super::sampler::Sampler;
use super::script::{ScriptRun, Stopped};
use super::settings::Settings;
use super::transcript::Transcript;
use super::workload::{self, PreflightError, Prepared, Surroundings};
use crate::api::output::SCHEMA_VERSION;
use crate::api::workload::TASK_DIR;
use crate::api::{AssignedTask, FailKind, Lease, TaskMetadata, TaskOutput};

/// Up to here an archive is small, and packed within a millisecond or two: bytes of what processes wrote, and the
/// number of samples and executions.
const SMALL_TRANSCRIPT: u64 = 32 << 10;
const SMALL_OUTPUT: usize = 1_000;

/// What the heartbeats tell about the task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Progress {
    pub status: &'static str,
    pub fraction: Option<f64>,
    pub message: Option<String>,
}

/// How a task ended.
#[derive(Debug)]
pub(super) enum TaskEnd {
    Completed(Archive),
    /// The archive holds what was measured before; absent when not even that could be written.
    Failed {
        kind: FailKind,
        message: String,
        archive: Option<Archive>,
    },
    /// It was told to end; nothing is reported.
    Halted,
}

/// What can go wrong inside the runner while it works on a task.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    #[error("could not keep the task's files in {}", .folder.display())]
    Files { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// Runs the task's workload and writes its archive. Never fails: what goes wrong is a failed task.
pub(super) async fn run(
    settings: &Settings,
    task: &AssignedTask,
    lease: &Lease,
    progress: &watch::Sender<Progress>,
    halt: &mut watch::Receiver<Halt>,
) -> TaskEnd {
    let folder = settings.scratch.join(format!("task-{}-{}", task.id, lease.attempt));
    let failed = |source| TaskError::Files { folder: folder.clone(), source };
    let result = match fs_err::create_dir_all(&folder) {
        Ok(()) => run_in(settings, task, lease, &folder, progress, halt).await,
        Err(source) => Err(failed(source)),
    };
    result.unwrap_or_else(|error| TaskEnd::Failed {
        kind: FailKind::Runner,
        message: chain(&error),
        archive: None,
    })
}

async fn run_in(
    settings: &Settings,
    task: &AssignedTask,
    lease: &Lease,
    folder: &Path,
    progress: &watch::Sender<Progress>,
    halt: &mut watch::Receiver<Halt>,
) -> Result<TaskEnd, TaskError> {
    let failed = |source| TaskError::Files { folder: folder.to_owned(), source };
    let started_at = jiff::Timestamp::now();
    let deadline = Instant::now() + Duration::from_secs(task.workload.timeout_seconds);
    let mut transcript = Transcript::create(&folder.join("output.txt")).map_err(failed)?;
    let mut sampler = Sampler::start(Path::new("/"), settings.pinning.cpu, settings.machine.threads);
    let mut output = TaskOutput {
        schema: SCHEMA_VERSION,
        workload: task.workload.name.clone(),
        benchmarks: Vec::new(),
        executions: Vec::new(),
    };
    let shared = settings.scratch.join("shared");
    let task_dir = folder.join("work");
    let program = &settings.args.program;
    let surroundings = Surroundings { program, scratch: folder, task_dir: &task_dir, shared: &shared };
    let prepared = if settings.args.mock { Ok(workload::mock(task)) } else { prepare(task, &surroundings) };
    let stopped = match prepared {
        Ok(Prepared::Ready(benchmarks)) => {
            transcript.note("these results are made up (mock)").map_err(failed)?;
            output.benchmarks = benchmarks;
            None
        }
        Ok(Prepared::Script(script)) => {
            let executor = Executor {
                launchers: settings.launchers.clone(),
                scratch: folder.to_owned(),
                cpus: settings.cpus.clone(),
                grace: settings.args.kill_grace,
                ends_orphans: true,
            };
            let mut environment = environment(settings, task, lease);
            environment.insert(TASK_DIR.to_owned(), task_dir.to_string_lossy().into_owned());
            let run = ScriptRun { executor: &executor, script: &script, environment, deadline, progress };
            tokio::select! {
                stopped = run.run(&mut output, &mut transcript, halt) => stopped?,
                () = sampler.watch() => None,
            }
        }
        Err(PreflightError { kind, message }) => Some(Stopped::Failed(kind, message)),
    };
    let failure = match stopped {
        Some(Stopped::Halted) => return Ok(TaskEnd::Halted),
        Some(Stopped::Failed(kind, message)) => {
            transcript.note(&message).map_err(failed)?;
            Some((kind, message))
        }
        None => None,
    };
    let conditions = sampler.finish(&output.executions, settings.cpus.len());
    transcript.flush().map_err(failed)?;
    let metadata = metadata(settings, task, lease, started_at, conditions);
    progress.send_replace(Progress { status: "upload", fraction: Some(1.0), message: None });
    let archive = pack(folder, metadata, output, transcript.written()).await.map_err(failed)?;
    Ok(match failure {
        Some((kind, message)) => TaskEnd::Failed { kind, message, archive: Some(archive) },
        None => TaskEnd::Completed(archive),
    })
}

fn prepare(task: &AssignedTask, surroundings: &Surroundings<'_>) -> Result<Prepared, PreflightError> {
    let folders = [surroundings.shared, surroundings.task_dir];
    if let Err(error) = folders.into_iter().try_for_each(fs_err::create_dir_all) {
        return Err(PreflightError { kind: FailKind::Runner, message: error.to_string() });
    }
    workload::prepare(task, surroundings)
}

/// Compressing takes a while for a large output; meanwhile the heartbeats go on. What is small is packed at once:
/// on a machine of one CPU, the way to another thread and back costs more.
async fn pack(
    folder: &Path,
    metadata: TaskMetadata,
    output: TaskOutput,
    transcript_bytes: u64,
) -> io::Result<Archive> {
    let (transcript, file) = (folder.join("output.txt"), folder.join("result.tar.gz"));
    let samples: usize = output.benchmarks.iter().map(|one| one.samples.len() + one.warmup.len()).sum();
    if transcript_bytes <= SMALL_TRANSCRIPT && samples + output.executions.len() <= SMALL_OUTPUT {
        return archive::hold(&metadata, &output, &transcript);
    }
    let work = move || archive::write(&file, &metadata, &output, &transcript);
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What a workload may want to know about its task.
fn environment(settings: &Settings, task: &AssignedTask, lease: &Lease) -> BTreeMap<String, String> {
    let args = &settings.args;
    let mut variables = BTreeMap::from([
        ("BENCH_RUN_ID".to_owned(), args.run_id.to_string()),
        ("BENCH_PROVIDER".to_owned(), args.provider.clone()),
        ("BENCH_INSTANCE_TYPE".to_owned(), args.instance_type.clone()),
        ("BENCH_ALIAS".to_owned(), task.alias.to_string()),
        ("BENCH_TASK_ID".to_owned(), task.id.to_string()),
        ("BENCH_TASK_NUMBER".to_owned(), task.number.to_string()),
        ("BENCH_ATTEMPT".to_owned(), lease.attempt.to_string()),
    ]);
    if let Some(cpu) = settings.pinning.cpu {
        variables.insert("BENCH_CPU".to_owned(), cpu.to_string());
    }
    variables
}

fn metadata(
    settings: &Settings,
    task: &AssignedTask,
    lease: &Lease,
    started_at: jiff::Timestamp,
    conditions: crate::api::Conditions,
) -> TaskMetadata {
    let args = &settings.args;
    TaskMetadata {
        schema: SCHEMA_VERSION,
        bench_version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: args.run_id.clone(),
        task_id: task.id,
        attempt: lease.attempt,
        provider: args.provider.clone(),
        instance_type: args.instance_type.clone(),
        alias: task.alias.clone(),
        number: task.number,
        runner_id: args.runner_id.clone(),
        host: args.host.clone(),
        started_at,
        finished_at: jiff::Timestamp::now(),
        pinning: settings.pinning.clone(),
        machine: settings.machine.clone(),
        conditions,
    }
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

//! Carries out a workload's script: set-up, warm-up, measured executions, and their outputs.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::watch;
use tokio::time::Instant;

use super::execute::{Executor, Finished, Halt, Spec};
use super::ingest;
use super::sysfs;
use super::task::{Progress, TaskError};
use super::transcript::Transcript;
use super::workload::{Reader, Script, Source, Step};
use crate::api::{Benchmark, Better, Execution, FailKind, Phase, TaskOutput};

/// Larger result files are refused, bytes.
const MOST_OUTPUT_BYTES: u64 = 256 << 20;
/// How much of a failed process's stderr goes into the message, bytes.
const TAIL_BYTES: usize = 2_000;

/// Why a script did not reach its end.
#[derive(Debug, PartialEq)]
pub(super) enum Stopped {
    Failed(FailKind, String),
    Halted,
}

pub(super) struct ScriptRun<'a> {
    pub executor: &'a Executor,
    pub script: &'a Script,
    /// Under each step's own variables.
    pub environment: BTreeMap<String, String>,
    pub deadline: Instant,
    pub progress: &'a watch::Sender<Progress>,
}

impl ScriptRun<'_> {
    /// Fills `output` with whatever was measured, also when it stops early; `None` is the regular end.
    ///
    /// # Errors
    /// When the runner itself fails.
    pub(super) async fn run(
        &self,
        output: &mut TaskOutput,
        transcript: &mut Transcript,
        halt: &mut watch::Receiver<Halt>,
    ) -> Result<Option<Stopped>, TaskError> {
        let stopped = self.steps(output, transcript, halt).await?;
        if self.script.measures_process {
            let mut all = of_executions(&output.executions);
            ingest::merge(&mut all, std::mem::take(&mut output.benchmarks));
            output.benchmarks = all;
        }
        Ok(stopped)
    }

    async fn steps(
        &self,
        output: &mut TaskOutput,
        transcript: &mut Transcript,
        halt: &mut watch::Receiver<Halt>,
    ) -> Result<Option<Stopped>, TaskError> {
        let setup = self.script.setup.iter().map(|step| (Phase::Setup, step));
        let warmup = (0..self.script.warmup).map(|_| (Phase::Warmup, &self.script.measure));
        let measured = (0..self.script.repetitions).map(|_| (Phase::Measure, &self.script.measure));
        let total = f64::from(self.script.warmup) + f64::from(self.script.repetitions);
        let mut done = 0.0;
        let oom_kills_before = oom_kills();
        let (mut phase_before, mut index) = (None, 0);
        for (phase, step) in setup.chain(warmup).chain(measured) {
            index = if phase_before == Some(phase) { index + 1 } else { 0 };
            phase_before = Some(phase);
            self.progress.send_replace(Progress {
                status: name(phase),
                fraction: Some(done / total),
                message: None,
            });
            if let Some(Source::File(file, _)) = &self.script.source
                && phase != Phase::Setup
            {
                // What an earlier execution left must not be taken for this one's.
                let _ = fs_err::remove_file(file);
            }
            let spec = self.spec(phase, index, step);
            tracing::debug!(command = ?spec.command, phase = name(phase), index, "execution starts");
            let finished = self.executor.run(&spec, self.deadline, halt).await?;
            let wall_ns = finished.execution.wall_ns;
            tracing::debug!(status = finished.execution.exit_status, wall_ns, "execution ended");
            transcript
                .add(&spec.command, &finished)
                .map_err(|source| TaskError::Files { folder: self.executor.scratch.clone(), source })?;
            output.executions.push(finished.execution.clone());
            if *halt.borrow() != Halt::No {
                return Ok(Some(Stopped::Halted));
            }
            let out_of_memory = finished.execution.signal.is_some() && oom_kills() > oom_kills_before;
            let failure = failure(step, phase, &finished, out_of_memory);
            if phase != Phase::Setup {
                done += 1.0;
                match self.take_in(phase, &finished) {
                    Ok(found) => ingest::merge(&mut output.benchmarks, found),
                    // A process that failed need not have left results.
                    Err(_) if failure.is_some() => {}
                    Err(message) => return Ok(Some(Stopped::Failed(FailKind::Output, message))),
                }
            }
            if failure.is_some() {
                return Ok(failure);
            }
        }
        Ok(None)
    }

    fn spec(&self, phase: Phase, index: u32, step: &Step) -> Spec {
        let mut env = self.environment.clone();
        env.extend(step.env.clone());
        Spec { phase, index, command: step.command.clone(), env, directory: step.directory.clone() }
    }

    fn take_in(&self, phase: Phase, finished: &Finished) -> Result<Vec<Benchmark>, String> {
        let mut found = match &self.script.source {
            None => Vec::new(),
            Some(Source::Stdout(reader)) => {
                let whole = finished.stdout.whole().ok_or_else(|| {
                    format!(
                        "standard output is {} bytes, too many to read results from; let the workload write \
                         them to a file and name it in `output.file`",
                        finished.stdout.figures().total_bytes
                    )
                })?;
                read(reader, &whole, "standard output")?
            }
            Some(Source::File(file, reader)) => read(reader, &read_file(file)?, &file.to_string_lossy())?,
        };
        if phase == Phase::Warmup {
            for one in &mut found {
                one.warmup.append(&mut one.samples);
            }
        }
        Ok(found)
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => "setup",
        Phase::Warmup => "warmup",
        Phase::Measure => "measure",
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let size = match fs_err::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Err(format!("the workload left no results in `{shown}`: {error}")),
    };
    if size > MOST_OUTPUT_BYTES {
        return Err(format!("`{shown}` has {size} bytes, more than the {MOST_OUTPUT_BYTES} that are read"));
    }
    fs_err::read(file).map_err(|error| format!("could not read the workload's results: {error}"))
}

fn read(reader: &Reader, bytes: &[u8], place: &str) -> Result<Vec<Benchmark>, String> {
    match reader {
        Reader::Format { format, pattern } => ingest::ingest(*format, pattern.as_deref(), bytes)
            .map_err(|error| format!("could not take in the results in {place}: {error}")),
        Reader::Kernels => serde_json::from_slice(bytes)
            .map_err(|error| format!("could not read the kernels' results in {place}: {error}")),
    }
}

/// Processes that the kernel has ended for want of memory since it started (`man 5 proc_vmstat`).
fn oom_kills() -> Option<u64> {
    let text = sysfs::text(Path::new("/proc/vmstat"))?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

fn out_of_memory_text(execution: &Execution) -> String {
    format!(
        "ran out of memory: the kernel ended it by {}; its peak was {} MiB, so give it more memory or less work",
        signal_text(libc::SIGKILL),
        execution.max_rss_bytes >> 20
    )
}

fn signal_text(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(name) => format!("signal {signal} ({name})"),
        Err(_unknown) => format!("signal {signal}"),
    }
}

/// Why an execution means the end of the task. `out_of_memory` tells that the kernel ended processes of this
/// machine for want of memory meanwhile.
fn failure(step: &Step, phase: Phase, finished: &Finished, out_of_memory: bool) -> Option<Stopped> {
    if finished.succeeded() {
        return None;
    }
    let (kind, hint) = &step.on_failure;
    let program = step.command.first().map_or("", String::as_str);
    let execution = &finished.execution;
    let (kind, what) = match (&finished.spawn_error, execution.exit_status, execution.signal) {
        _ if execution.timed_out => {
            (FailKind::Timeout, "ran longer than the task's timeout and was ended".into())
        }
        (Some(error), ..) => (FailKind::Spawn, format!("could not be started: {error}")),
        (None, Some(status), _) => (*kind, format!("exited with status {status}")),
        (None, None, Some(libc::SIGKILL)) if out_of_memory => {
            (FailKind::Environment, out_of_memory_text(execution))
        }
        (None, None, signal) => (*kind, format!("was ended by {}", signal_text(signal.unwrap_or(0)))),
    };
    let mut message = format!("`{program}` ({} {}) {what}", name(phase), execution.index);
    if let Some(hint) = hint {
        message.push_str(&format!("; {hint}"));
    }
    let tail = finished.stderr.ending(TAIL_BYTES);
    if !tail.is_empty() {
        message.push_str(&format!("; its last words:\n{tail}"));
    }
    Some(Stopped::Failed(kind, message))
}

/// Times and memory of the executions as series; only complete executions count.
fn of_executions(executions: &[Execution]) -> Vec<Benchmark> {
    type Figure = fn(&Execution) -> u64;
    let figures: [(&str, &str, Figure); 4] = [
        ("wall_time", "ns", |e| e.wall_ns),
        ("user_time", "ns", |e| e.user_ns),
        ("system_time", "ns", |e| e.system_ns),
        ("max_rss", "bytes", |e| e.max_rss_bytes),
    ];
    let of = |phase: Phase, figure: Figure| -> Vec<f64> {
        let complete = |e: &&Execution| e.phase == phase && e.exit_status == Some(0) && !e.timed_out;
        executions.iter().filter(complete).map(|e| figure(e) as f64).collect()
    };
    let series = figures.into_iter().map(|(name, unit, figure)| Benchmark {
        name: name.into(),
        unit: unit.into(),
        better: Better::Lower,
        warmup: of(Phase::Warmup, figure),
        samples: of(Phase::Measure, figure),
    });
    series.filter(|one| !one.samples.is_empty()).collect()
}

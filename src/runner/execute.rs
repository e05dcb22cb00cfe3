//! Runs one process to its end under the launcher: limits its time, stops it when told, keeps its output.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::capture::Capture;
use super::launch_server::LaunchRequest;
use super::launcher::LaunchReport;
use super::launchers::{Launched, Launchers};
use super::procs;
use crate::api::{Execution, Phase};

/// Environment variables that a workload never sees: they hold keys.
pub const SECRET_VARIABLES: [&str; 2] = ["BENCH_RUN_KEY", "BENCH_API_KEY"];
/// After the launcher's end, the pipes have this long to run dry. Only a process that escaped the launcher
/// can hold them open.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// A launcher has this long beyond the grace to end its tree.
const LAUNCHER_MARGIN: Duration = Duration::from_secs(8);

/// How often the waits of a tree are looked at, away from the workload's CPU.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether, and how urgently, work has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Halt {
    #[default]
    No,
    /// SIGTERM, a grace, SIGKILL.
    Gracefully,
    /// SIGKILL.
    AtOnce,
}

/// How this runner starts processes.
#[derive(Debug, Clone)]
pub struct Executor {
    pub launchers: Launchers,
    /// For the launcher's reports.
    pub scratch: PathBuf,
    /// Logical CPUs of the workload.
    pub cpus: Vec<u32>,
    pub grace: Duration,
    /// This process is a subreaper whose only child is the launch server: any other child is an orphan of a
    /// launcher that was killed, and is killed too.
    pub ends_orphans: bool,
}

/// One process to run.
#[derive(Debug, Clone)]
pub struct Spec {
    pub phase: Phase,
    pub index: u32,
    pub command: Vec<String>,
    /// Added to the runner's own environment.
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Finished {
    pub execution: Execution,
    pub stdout: Capture,
    pub stderr: Capture,
    /// Why it could not be started.
    pub spawn_error: Option<String>,
}

impl Finished {
    pub fn succeeded(&self) -> bool {
        self.spawn_error.is_none() && !self.execution.timed_out && self.execution.exit_status == Some(0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("could not start the launcher `{program}`")]
    Launcher { program: String, source: io::Error },
    #[error("the launcher left no report ({status}); its last words: {words}")]
    NoReport { status: String, words: String },
    #[error("could not wait for the launcher")]
    Wait(#[source] io::Error),
}

impl Executor {
    /// Runs to the end of the process and everything it started. `deadline` and `halt` end it early.
    ///
    /// # Errors
    /// When the launcher fails; what the process does is in [`Finished`].
    pub async fn run(
        &self,
        spec: &Spec,
        deadline: Instant,
        halt: &mut watch::Receiver<Halt>,
    ) -> Result<Finished, ExecuteError> {
        let report_file = self.scratch.join("launch.json");
        // Left by the execution before; usually there is none.
        let _ = fs_err::remove_file(&report_file);
        let started_at = jiff::Timestamp::now();
        let started = Instant::now();
        let mut watched = self.start(spec, &report_file).await?;
        let status = watched.wait(deadline, halt, self.grace).await.map_err(ExecuteError::Wait)?;
        let Watched { stdout, stderr, timed_out, forced, mut cpu_waits, .. } = watched;

        let report = fs_err::read(&report_file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        if report.is_none() && self.ends_orphans {
            end_orphans(self.launchers.server_pid()).await;
        }
        let report: LaunchReport = match report {
            Some(report) => report,
            // Killed by ourselves, because it did not end in time.
            None if forced => LaunchReport {
                wall_ns: started.elapsed().as_nanos() as u64,
                signal: Some(libc::SIGKILL),
                ..LaunchReport::default()
            },
            None => {
                let words = stderr.capture.ending(2000);
                return Err(ExecuteError::NoReport { status: status.to_string(), words });
            }
        };
        if report.stragglers > 0 {
            tracing::info!(killed = report.stragglers, "processes outlived the workload");
        }
        // To the very end, where the others were only seen now and then.
        cpu_waits.extend(report.cpu_wait.map(|wait| (wait.pid, wait.wait_ns)));
        let execution = Execution {
            phase: spec.phase,
            index: spec.index,
            started_at,
            wall_ns: report.wall_ns,
            user_ns: report.user_ns,
            system_ns: report.system_ns,
            cpu_wait_ns: (!cpu_waits.is_empty()).then(|| cpu_waits.values().sum()),
            max_rss_bytes: report.max_rss_bytes,
            exit_status: report.exit_status,
            signal: report.signal,
            timed_out,
            stdout: stdout.capture.figures(),
            stderr: stderr.capture.figures(),
        };
        let (stdout, stderr) = (stdout.capture, stderr.capture);
        Ok(Finished { execution, stdout, stderr, spawn_error: report.spawn_error })
    }

    async fn start(&self, spec: &Spec, report: &std::path::Path) -> Result<Watched, ExecuteError> {
        let request = LaunchRequest {
            report: report.to_owned(),
            cpus: self.cpus.clone(),
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
            directory: spec.directory.clone(),
            env: without_secrets(&spec.env),
            command: spec.command.clone(),
        };
        let failed = |source| {
            let program = self.launchers.program().display().to_string();
            ExecuteError::Launcher { program, source }
        };
        let (stdout, its_stdout) = pipe().map_err(failed)?;
        let (stderr, its_stderr) = pipe().map_err(failed)?;
        let launched = self.launchers.start(&request, [its_stdout, its_stderr]).await.map_err(failed)?;
        Ok(Watched::new(launched, Stream::new(stdout), Stream::new(stderr)))
    }
}

fn without_secrets(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let public = |(name, _): &(&String, &String)| !SECRET_VARIABLES.contains(&name.as_str());
    env.iter().filter(public).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A pipe: the end to read from here, and the end to write to elsewhere.
fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer.into()))
}

/// A launcher that runs, and what is known about it so far.
struct Watched {
    child: Launched,
    stdout: Stream,
    stderr: Stream,
    timed_out: bool,
    forced: bool,
    /// When patience with the launcher itself ends.
    force_at: Option<Instant>,
    /// How long each thread below the launcher has waited for a CPU, nanoseconds.
    cpu_waits: BTreeMap<u32, u64>,
}

impl Watched {
    fn new(child: Launched, stdout: Stream, stderr: Stream) -> Watched {
        let cpu_waits = BTreeMap::new();
        Watched { child, stdout, stderr, timed_out: false, forced: false, force_at: None, cpu_waits }
    }

    async fn wait(
        &mut self,
        deadline: Instant,
        halt: &mut watch::Receiver<Halt>,
        grace: Duration,
    ) -> io::Result<ExitStatus> {
        let mut ended: Option<(ExitStatus, Instant)> = None;
        let mut obeyed = Halt::No;
        let mut listening = true;
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let wanted = *halt.borrow_and_update();
            if ended.is_none() && wanted > obeyed {
                obeyed = wanted;
                self.end(if wanted == Halt::AtOnce { Signal::SIGINT } else { Signal::SIGTERM }, grace);
            }
            if let Some((status, since)) = ended
                && (Instant::now() >= since + DRAIN_LIMIT || (self.stdout.is_dry() && self.stderr.is_dry()))
            {
                return Ok(status);
            }
            let drained_at = ended.map(|(_, since)| since + DRAIN_LIMIT);
            tokio::select! {
                status = self.child.wait(), if ended.is_none() => ended = Some((status?, Instant::now())),
                () = self.stdout.read(), if !self.stdout.is_dry() => {}
                () = self.stderr.read(), if !self.stderr.is_dry() => {}
                changed = halt.changed(), if listening => listening = changed.is_ok(),
                () = sleep_until(deadline), if ended.is_none() && !self.timed_out => {
                    self.timed_out = true;
                    self.end(Signal::SIGTERM, grace);
                }
                () = until(self.force_at), if ended.is_none() && !self.forced => {
                    self.forced = true;
                    self.child.start_kill()?;
                }
                () = until(drained_at) => {}
                () = sleep_until(look_at), if ended.is_none() => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.cpu_waits.extend(self.child.id().map(procs::cpu_waits_below).unwrap_or_default());
                }
            }
        }
    }

    fn end(&mut self, signal: Signal, grace: Duration) {
        if let Some(pid) = self.child.id() {
            // It may have ended a moment ago; then the wait says so.
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
        self.force_at.get_or_insert(Instant::now() + grace + LAUNCHER_MARGIN);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One end of a pipe with what came out of it.
struct Stream {
    pipe: Option<pipe::Receiver>,
    buffer: Vec<u8>,
    capture: Capture,
}

impl Stream {
    fn new(pipe: pipe::Receiver) -> Stream {
        // As much as a pipe holds by default (pipe(7)).
        Stream { pipe: Some(pipe), buffer: vec![0; 64 << 10], capture: Capture::default() }
    }

    fn is_dry(&self) -> bool {
        self.pipe.is_none()
    }

    async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut self.buffer).await {
            Ok(read) if read > 0 => self.capture.push(&self.buffer[..read]),
            Ok(_) | Err(_) => self.pipe = None,
        }
    }
}

/// Kills the children of this process but the launch server, which are orphans of a launcher that died, until
/// none is left.
async fn end_orphans(server: Option<u32>) {
    for _ in 0..100 {
        let mut orphans = procs::children(std::process::id());
        orphans.retain(|pid| Some(*pid) != server);
        if orphans.is_empty() {
            return;
        }
        tracing::warn!(?orphans, "the launcher died; ending what it left behind");
        for pid in orphans {
            let pid = Pid::from_raw(pid as i32);
            let _ = kill(pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

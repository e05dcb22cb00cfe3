//! The launcher: a small process between the runner and a workload, that measures it and leaves nothing of
//! it behind.
//!
//! ```text
//!  launch server ──fork──▶ launcher (pinned, subreaper) ──fork, exec──▶ workload (own session)
//!  runner ──────SIGTERM──▶ ends the tree with a grace   ──wait4──────▶ report file
//! ```
//!
//! A process of its own because `ru_maxrss` of a child starts at what its parent had in memory before the
//! exec, because `wait4` belongs into one thread that does nothing else, and because a subreaper gets hold of
//! descendants that left the workload's process group. When the runner dies, the kernel sends the launcher
//! SIGTERM; when the launcher dies, it kills the workload.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, getppid};
use serde::{Deserialize, Serialize};

use super::{pin, procs};

/// How long killed processes may take to go before the launcher gives up on them (uninterruptible sleep).
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// What to start and how to look after it.
#[derive(Debug, Clone)]
pub struct LaunchArgs {
    /// Where the [`LaunchReport`] goes.
    pub report: PathBuf,
    /// Logical CPUs of the workload; empty leaves the affinity as it is.
    pub cpus: Vec<u32>,
    /// Between SIGTERM and SIGKILL when the workload is to be stopped.
    pub grace: Duration,
    /// The process for which this one works: it is over when that one is gone.
    pub parent: Option<u32>,
    pub directory: Option<PathBuf>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Program and arguments, at least one.
    pub command: Vec<OsString>,
}

/// What became of the workload. The runner reads it from the report file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchReport {
    /// By the monotonic clock, from before the fork until after the wait.
    pub wall_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// How long the first process had to wait for a CPU.
    #[serde(default)]
    pub cpu_wait: Option<CpuWait>,
    pub max_rss_bytes: u64,
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    /// Why it could not be started.
    pub spawn_error: Option<String>,
    /// Descendants that outlived the workload's first process and were killed, at least.
    pub stragglers: u32,
}

/// What the kernel counted of one process until its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuWait {
    pub pid: u32,
    pub wait_ns: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("no command to launch")]
    NoCommand,
    #[error("could not set up the launcher: {what}")]
    SetUp { what: &'static str, source: io::Error },
    #[error("could not pin the workload to CPU {cpus:?}")]
    Pin { cpus: Vec<u32>, source: io::Error },
    #[error("could not write the launcher's report")]
    Report(#[source] io::Error),
    #[error("could not wait for the workload")]
    Wait(#[source] io::Error),
}

/// Starts the command, waits for its end, ends what is left of it, writes the report.
///
/// Signals: SIGTERM ends the workload with a grace (at once when the runner is gone), SIGINT, SIGHUP and
/// SIGQUIT at once. Call it in a process with one thread only.
///
/// # Errors
/// When the launcher itself fails. A workload that cannot be started or fails is a report, not an error.
pub fn launch(args: &LaunchArgs) -> Result<(), LaunchError> {
    let (program, arguments) = args.command.split_first().ok_or(LaunchError::NoCommand)?;
    let signals = set_up(args)?;
    if !args.cpus.is_empty() {
        pin::pin_to(&args.cpus).map_err(|source| LaunchError::Pin { cpus: args.cpus.clone(), source })?;
    }
    let mut command = Command::new(program);
    command.args(arguments).envs(&args.env).stdin(std::process::Stdio::null());
    if let Some(directory) = &args.directory {
        command.current_dir(directory);
    }
    let launcher = Pid::this();
    // SAFETY: the closure makes system calls only, each of which is async-signal-safe.
    unsafe { command.pre_exec(move || own_session(launcher)) };

    let started = Instant::now();
    let report = match command.spawn() {
        Ok(child) => Supervisor::new(args, Pid::from_raw(child.id() as i32), started).run(&signals)?,
        Err(error) => LaunchReport { spawn_error: Some(error.to_string()), ..LaunchReport::default() },
    };
    let json = serde_json::to_vec(&report).map_err(|error| LaunchError::Report(error.into()))?;
    fs_err::write(&args.report, json).map_err(LaunchError::Report)
}

/// Makes this process the reaper of the tree, tied to its parent's life, with its signals queued.
fn set_up(args: &LaunchArgs) -> Result<SigSet, LaunchError> {
    let failed = |what| move |errno: Errno| LaunchError::SetUp { what, source: errno.into() };
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block().map_err(failed("block signals"))?;
    prctl::set_child_subreaper(true).map_err(failed("become the subreaper"))?;
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(failed("follow the runner's end"))?;
    match args.parent {
        // It went away before the kernel was asked to tell.
        Some(parent) if getppid().as_raw() as u32 != parent => {
            Err(LaunchError::SetUp { what: "the runner is gone", source: io::ErrorKind::BrokenPipe.into() })
        }
        _ => Ok(signals),
    }
}

/// In the forked child: a session, and so a process group, of its own; killed when the launcher dies.
fn own_session(launcher: Pid) -> io::Result<()> {
    nix::unistd::setsid()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != launcher {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

struct Supervisor<'a> {
    args: &'a LaunchArgs,
    child: Pid,
    started: Instant,
    report: Option<LaunchReport>,
    /// When SIGKILL follows a SIGTERM.
    kill_at: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    fn new(args: &'a LaunchArgs, child: Pid, started: Instant) -> Supervisor<'a> {
        Supervisor { args, child, started, report: None, kill_at: None }
    }

    fn run(mut self, signals: &SigSet) -> Result<LaunchReport, LaunchError> {
        while self.report.is_none() {
            let timeout = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
            match next_signal(signals, timeout).map_err(LaunchError::Wait)? {
                Some(libc::SIGCHLD) => {
                    self.reap()?;
                }
                Some(libc::SIGTERM) if !self.is_orphaned() => self.terminate(),
                Some(_) => self.kill(),
                None => self.kill(),
            }
        }
        let mut report = self.report.take().unwrap_or_default();
        report.stragglers = self.end_stragglers(signals)?;
        Ok(report)
    }

    fn is_orphaned(&self) -> bool {
        self.args.parent.is_some_and(|parent| getppid().as_raw() as u32 != parent)
    }

    fn terminate(&mut self) {
        // Fails when the group has just ended, which the next SIGCHLD will say.
        let _ = killpg(self.child, Signal::SIGTERM);
        self.kill_at.get_or_insert(Instant::now() + self.args.grace);
    }

    fn kill(&mut self) {
        let _ = killpg(self.child, Signal::SIGKILL);
        // A first process that changed its group is still our child.
        let _ = kill(self.child, Signal::SIGKILL);
        self.kill_at = None;
    }

    /// Collects every process that ended. Says whether any child is left.
    fn reap(&mut self) -> Result<bool, LaunchError> {
        // What the kernel knows of a process is gone once it was waited for.
        let ended = (self.report.is_none() && has_ended(self.child)).then(|| self.started.elapsed());
        let cpu_wait = ended.and_then(|_| cpu_wait(self.child));
        loop {
            match wait4_any() {
                Ok(Some((pid, status, usage))) if pid == self.child => {
                    let wall = ended.unwrap_or_else(|| self.started.elapsed());
                    self.report = Some(LaunchReport { cpu_wait, ..describe(wall, status, &usage) });
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(false),
                Err(error) => return Err(LaunchError::Wait(error)),
            }
        }
    }

    /// Kills what outlived the first process: its group, and what was reparented to this process, until no
    /// child is left.
    fn end_stragglers(&mut self, signals: &SigSet) -> Result<u32, LaunchError> {
        let deadline = Instant::now() + REAP_LIMIT;
        let mut seen = std::collections::BTreeSet::new();
        if !self.reap()? {
            return Ok(0);
        }
        while Instant::now() < deadline {
            let _ = killpg(self.child, Signal::SIGKILL);
            for pid in procs::children(std::process::id()) {
                seen.insert(pid);
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            // Each one that goes may hand its own children to us.
            next_signal(signals, Some(Duration::from_millis(20))).map_err(LaunchError::Wait)?;
            if !self.reap()? {
                break;
            }
        }
        Ok(seen.len() as u32)
    }
}

/// Waits for one of the blocked signals; `None` when the time is up.
fn next_signal(signals: &SigSet, timeout: Option<Duration>) -> io::Result<Option<i32>> {
    let limit = timeout.map(|limit| libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    loop {
        // SAFETY: the set and the time limit live until the call returns; no information is asked for.
        let signal = unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), limit) };
        if signal > 0 {
            return Ok(Some(signal));
        }
        match Errno::last() {
            Errno::EAGAIN => return Ok(None),
            Errno::EINTR => {}
            errno => return Err(errno.into()),
        }
    }
}

/// Whether a child has ended. It still has to be waited for.
fn has_ended(child: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(child), flags).is_ok_and(|status| status != WaitStatus::StillAlive)
}

fn cpu_wait(child: Pid) -> Option<CpuWait> {
    let pid = child.as_raw() as u32;
    procs::cpu_wait(pid, pid).map(|wait_ns| CpuWait { pid, wait_ns })
}

/// A child that ended, with its status and resource use; `None` when all still run.
fn wait4_any() -> io::Result<Option<(Pid, i32, libc::rusage)>> {
    let mut status = 0;
    // SAFETY: all-zero is a valid `rusage`, and both pointers live through the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some((Pid::from_raw(pid), status, usage))),
        _ => Err(io::Error::last_os_error()),
    }
}

fn describe(wall: Duration, status: i32, usage: &libc::rusage) -> LaunchReport {
    let nanoseconds = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    LaunchReport {
        wall_ns: wall.as_nanos() as u64,
        user_ns: nanoseconds(usage.ru_utime),
        system_ns: nanoseconds(usage.ru_stime),
        // Linux counts kibibytes (getrusage(2)).
        max_rss_bytes: usage.ru_maxrss as u64 * 1024,
        exit_status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_wait: None,
        spawn_error: None,
        stragglers: 0,
    }
}

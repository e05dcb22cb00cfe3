//! The small process between master and Terraform, `bench supervise`: it starts Terraform in a session of
//! its own, waits for it and writes down how it ended, whether or not a master is alive.
//!
//! A process of its own because Terraform's exit status is told to its parent only, and because the process
//! id must be on disk before Terraform does anything: the starting child writes it itself, before exec.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;

use duct::{Handle, cmd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};

use super::TerraformError;
use super::environment::Environment;
use super::job::{Exit, Job, JobFiles};

/// Longer than any line of `/proc/self/stat`.
const STAT_LINE: usize = 1024;

/// Starts the supervisor of the job in `folder`, detached. `lock` is the job's lock: it becomes the
/// supervisor's standard input, so that the folder is locked without a gap until the supervisor ends.
///
/// The handle is for reaping it; nothing else depends on it.
pub(super) fn detach(
    bench: &Path,
    folder: &Path,
    lock: File,
    environment: &Environment,
) -> Result<Handle, TerraformError> {
    let files = JobFiles::of(folder);
    let failed = |source| TerraformError::Supervisor { program: bench.to_owned(), source };
    let log = JobFiles::append(&files.supervisor_log()).map_err(failed)?;
    let log_too = log.try_clone().map_err(failed)?;
    let expression = cmd(bench, [std::ffi::OsStr::new("supervise"), folder.as_os_str()])
        .full_env(environment.variables())
        .stdin_file(lock)
        .stdout_file(log)
        .stderr_file(log_too)
        .before_spawn(|command| {
            own_session(command);
            Ok(())
        })
        .unchecked();
    expression.start().map_err(failed)
}

/// Starts the command in a session of its own, out of reach of a terminal's signals.
pub(super) fn own_session(command: &mut std::process::Command) {
    // SAFETY: the closure makes one system call, which is async-signal-safe.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
}

/// What `bench supervise FOLDER` does: starts the folder's job, waits for it, writes how it ended.
///
/// SIGINT and SIGTERM are passed on as the job's one interrupt; the supervisor itself stays until
/// Terraform has ended. Call it in a process with one thread only.
pub fn supervise(folder: &Path) -> Result<(), TerraformError> {
    let files = JobFiles::of(folder);
    let failed = |source| TerraformError::Files { folder: folder.to_owned(), source };
    let job = files.read_job().map_err(failed)?;
    let job = job.ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "no job.json in logs/")))?;
    // State and plan files hold secrets, and Terraform makes them with 0644.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let signals = block_signals().map_err(failed)?;
    let exit = match start(folder, &files, &job) {
        Ok(terraform) => wait(&terraform, &files, &job, &signals).map_err(failed)?,
        Err(error) => exit(&job, None, Some(error.to_string())),
    };
    files.end(&exit).map_err(failed)
}

fn exit(job: &Job, status: Option<std::process::ExitStatus>, spawn_error: Option<String>) -> Exit {
    Exit {
        number: job.number,
        status: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        spawn_error,
        ended_at: jiff::Timestamp::now(),
    }
}

fn block_signals() -> io::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(signals)
}

fn start(folder: &Path, files: &JobFiles, job: &Job) -> io::Result<Handle> {
    let mut process = std::fs::OpenOptions::new();
    let mut process = process.write(true).create(true).truncate(true).open(files.process())?;
    process.write_all(JobFiles::process_head(job.number).as_bytes())?;
    let process_fd = process.as_raw_fd();
    let handle = cmd(&job.program, &job.arguments)
        .dir(folder)
        .stdin_null()
        .stdout_file(JobFiles::append(&files.stdout())?)
        .stderr_file(JobFiles::append(&files.stderr())?)
        .before_spawn(move |command| {
            // SAFETY: the closure makes system calls only, each of which is async-signal-safe; `process`
            // stays open until the child has been started.
            unsafe { command.pre_exec(move || announce(process_fd).and_then(|()| default_signals())) };
            Ok(())
        })
        .unchecked()
        .start();
    drop(process);
    handle
}

/// In the child: appends its line of `/proc/self/stat` to the process file, on disk before anything else.
fn announce(process_file: RawFd) -> io::Result<()> {
    let mut line = [0_u8; STAT_LINE];
    // SAFETY: the path ends in a zero byte, the buffer is as long as said and lives through the calls.
    unsafe {
        let stat = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if stat < 0 {
            return Err(io::Error::last_os_error());
        }
        let length = libc::read(stat, line.as_mut_ptr().cast(), line.len());
        libc::close(stat);
        if length <= 0 || libc::write(process_file, line.as_ptr().cast(), length as usize) != length {
            return Err(io::Error::last_os_error());
        }
        if libc::fsync(process_file) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// In the child: the interrupt must reach Terraform even where the master was started with it ignored, as
/// shells do for background jobs, and the supervisor's own blocking is not inherited.
fn default_signals() -> io::Result<()> {
    // SAFETY: no handler is installed, and the set lives through the call.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
    }
    SigSet::empty().thread_set_mask().map_err(io::Error::from)
}

fn wait(terraform: &Handle, files: &JobFiles, job: &Job, signals: &SigSet) -> io::Result<Exit> {
    loop {
        // SIGCHLD is blocked, so one that comes between this look and the wait stays pending.
        if let Some(output) = terraform.try_wait()? {
            return Ok(exit(job, Some(output.status), None));
        }
        match signals.wait()? {
            Signal::SIGINT | Signal::SIGTERM => {
                let done = files.interrupt()?;
                tracing::info!(?done, "asked terraform to stop");
            }
            _ => {}
        }
    }
}

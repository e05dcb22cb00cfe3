//! Task runners as child processes: started, waited for, ended.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::arguments::runner_arguments;
use super::{LocalAlias, LocalError, LocalRunners};
use crate::master::home::{create_private_dir, named};
use crate::master::leave::Leave;

/// How long runners of a run that has ended have to leave by themselves.
const LEAVE_GRACE: Duration = Duration::from_secs(4);
/// How long runners have to obey the end of their pipe.
const PIPE_GRACE: Duration = Duration::from_secs(2);

/// A task runner and the pipe whose end means to it that the master is gone.
pub(super) struct RunnerProcess {
    child: Child,
    /// `Child::wait` closes a standard input that it still owns, so the pipe is kept apart.
    pipe: Option<ChildStdin>,
}

impl RunnerProcess {
    pub(super) fn start(
        runners: &LocalRunners,
        alias: &LocalAlias,
        slot: usize,
        pinned: &[u32],
    ) -> Result<RunnerProcess, LocalError> {
        let failed = |source| LocalError::Spawn { program: runners.program.clone(), source };
        let log = open_log(&runners.log(alias, slot)).map_err(LocalError::Log)?;
        let arguments = runner_arguments(runners, alias, slot, pinned);
        let mut command = match &alias.container {
            None => Command::new(&runners.program),
            Some(container) => Command::new(&container.engine),
        };
        command
            .args(arguments)
            .current_dir(&runners.working_directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // A Ctrl-C on the terminal is the master's to handle.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let pipe = child.stdin.take();
        Ok(RunnerProcess { child, pipe })
    }
}

/// Waits for any of the processes to end.
pub(super) async fn next_end(slots: &mut [Option<RunnerProcess>]) -> (usize, ExitStatus) {
    let waits = slots.iter_mut().enumerate().filter_map(|(slot, runner)| {
        runner.as_mut().map(|runner| Box::pin(async move { (slot, runner.child.wait().await) }))
    });
    let ((slot, status), _, _) = futures::future::select_all(waits).await;
    (slot, status.expect("a child of this process can be waited for"))
}

/// Waits for processes that were told to go, closes the pipes of the others, which they obey at once, and
/// kills what is left.
pub(super) async fn end(slots: Vec<Option<RunnerProcess>>, how: Leave) {
    let mut runners: Vec<RunnerProcess> = slots.into_iter().flatten().collect();
    if how == Leave::Told && timeout(LEAVE_GRACE, all_ended(&mut runners)).await.is_ok() {
        return;
    }
    for runner in &mut runners {
        drop(runner.pipe.take());
    }
    if timeout(PIPE_GRACE, all_ended(&mut runners)).await.is_ok() {
        return;
    }
    for mut runner in runners {
        if let Err(error) = runner.child.kill().await {
            tracing::warn!(%error, "could not kill a task runner");
        }
    }
}

async fn all_ended(runners: &mut [RunnerProcess]) {
    for runner in runners {
        if let Err(error) = runner.child.wait().await {
            tracing::warn!(%error, "could not wait for a task runner");
        }
    }
}

impl LocalRunners {
    /// What a runner says goes here, over all times it is started.
    pub(super) fn log(&self, alias: &LocalAlias, slot: usize) -> PathBuf {
        self.logs.join(format!("{}-{slot}.log", alias.alias))
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        create_private_dir(folder)?;
    }
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| named(e, "open", path))
}

//! The local provider: task runners as processes of this machine, one alias after the other.
//!
//! ```text
//!  serve ──▶ CPUs under a lock ──▶ one `bench runner` a slot, its stdin a pipe from here
//!              ▲                      │ exits 0 when told `done`; died: started again, a few times
//!              └── next alias ◀───────┘
//! ```
//! The pipe ends with the master, however it dies, and with it the runner and its workload.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::cpus::{self, CpuLock, Taken};
use super::home::create_private_dir;
use super::progress::{MasterEvent, Progress};
use crate::api::{Alias, RunId};
use crate::runner::topology::{self, Topology};

/// How often the runners of one alias may die before the alias is given up: enough for an unlucky machine,
/// few enough that a runner that cannot work is seen within seconds.
const MAX_DEATHS: usize = 5;
/// How long runners of a run that has ended have to leave by themselves.
const LEAVE_GRACE: Duration = Duration::from_secs(4);
/// How long runners have to obey the end of their pipe.
const PIPE_GRACE: Duration = Duration::from_secs(2);
const CPU_POLL: Duration = Duration::from_millis(200);

/// Whether runners should go, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    No,
    /// The run has ended: they were told, or are about to be.
    Told,
    /// The run was cancelled: what they are doing counts for nothing any more.
    AtOnce,
}

/// What runners of this machine are started with.
#[derive(Debug, Clone)]
pub struct LocalRunners {
    pub run_id: RunId,
    /// Name of the provider instance.
    pub provider: String,
    pub orchestrator_url: String,
    pub orchestrator_pin: Option<String>,
    /// 0600 file with the run's key.
    pub key_file: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// Where relative paths of the workload start.
    pub working_directory: PathBuf,
    pub cpu_locks: PathBuf,
    pub logs: PathBuf,
    pub debug: bool,
}

/// One alias and how many runners work on it side by side.
#[derive(Debug, Clone)]
pub struct LocalAlias {
    pub alias: Alias,
    pub instance_type: String,
    pub slots: usize,
    pub container: Option<Container>,
}

/// For the instance type `docker`: the engine's command line and the image to run in.
#[derive(Debug, Clone)]
pub struct Container {
    pub engine: PathBuf,
    pub image: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("could not share out this machine's CPUs")]
    Cpus(#[source] std::io::Error),
    #[error("could not read this machine's CPU topology")]
    Topology(#[source] std::io::Error),
    #[error(
        "alias `{alias}` wants {wanted} task runners side by side, but this machine offers {available} CPUs"
    )]
    TooManySlots { alias: Alias, wanted: usize, available: usize },
    #[error("could not start a task runner with {program}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error(
        "the task runners of `{alias}` died {deaths} times; the last one with {status}; its log is {log}"
    )]
    RunnersDie { alias: Alias, deaths: usize, status: String, log: PathBuf },
}

/// Runs one alias after the other until each was told that nothing is left to do. `leave` asks it to
/// go early.
pub async fn serve(
    runners: &LocalRunners,
    aliases: &[LocalAlias],
    progress: &dyn Progress,
    mut leave: watch::Receiver<Leave>,
) -> Result<(), LocalError> {
    let topology = topology::available().map_err(LocalError::Topology)?;
    for alias in aliases {
        let Some(cpus) = wait_for_cpus(runners, alias, &topology, progress, &mut leave).await? else {
            return Ok(());
        };
        progress.tell(&MasterEvent::ProviderStarted {
            name: runners.provider.clone(),
            alias: alias.alias.to_string(),
            runners: alias.slots,
        });
        serve_alias(runners, alias, &cpus, progress, &mut leave).await?;
        if *leave.borrow() != Leave::No {
            break;
        }
    }
    Ok(())
}

/// `None` when asked to stop while waiting.
async fn wait_for_cpus(
    runners: &LocalRunners,
    alias: &LocalAlias,
    topology: &Topology,
    progress: &dyn Progress,
    leave: &mut watch::Receiver<Leave>,
) -> Result<Option<Vec<CpuLock>>, LocalError> {
    let preference = topology::choose(topology, topology.cpus.len());
    if preference.len() < alias.slots {
        let (alias, wanted, available) = (alias.alias.clone(), alias.slots, preference.len());
        return Err(LocalError::TooManySlots { alias, wanted, available });
    }
    let mut told = None;
    loop {
        let taken = cpus::try_take(&runners.cpu_locks, &preference, alias.slots, &runners.run_id)
            .map_err(LocalError::Cpus)?;
        match taken {
            Taken::All(locks) => return Ok(Some(locks)),
            Taken::TooFew { free, held_by } => {
                if told.as_ref() != Some(&held_by) {
                    let wanted = alias.slots;
                    progress.tell(&MasterEvent::WaitingForCpus { wanted, free, held_by: held_by.clone() });
                    told = Some(held_by);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(CPU_POLL) => {}
            _ = asked(leave) => return Ok(None),
        }
    }
}

async fn serve_alias(
    runners: &LocalRunners,
    alias: &LocalAlias,
    cpus: &[CpuLock],
    progress: &dyn Progress,
    leave: &mut watch::Receiver<Leave>,
) -> Result<(), LocalError> {
    let pinned: Vec<u32> = cpus.iter().map(|lock| lock.cpu).collect();
    let mut slots = Vec::with_capacity(pinned.len());
    for slot in 0..pinned.len() {
        slots.push(Some(RunnerProcess::start(runners, alias, slot, &pinned)?));
    }
    let mut deaths = 0;
    while slots.iter().any(Option::is_some) {
        let (slot, status) = tokio::select! {
            ended = next_end(&mut slots) => ended,
            how = asked(leave) => {
                end(slots, how).await;
                return Ok(());
            }
        };
        slots[slot] = None;
        if status.success() {
            continue;
        }
        deaths += 1;
        let log = runners.log(alias, slot);
        let (name, status) = (runners.provider.clone(), status.to_string());
        if deaths > MAX_DEATHS {
            end(slots, Leave::AtOnce).await;
            return Err(LocalError::RunnersDie { alias: alias.alias.clone(), deaths, status, log });
        }
        progress.tell(&MasterEvent::RunnerDied { name, alias: alias.alias.to_string(), status, log });
        slots[slot] = Some(RunnerProcess::start(runners, alias, slot, &pinned)?);
    }
    Ok(())
}

/// A task runner and the pipe whose end means to it that the master is gone.
struct RunnerProcess {
    child: Child,
    /// `Child::wait` closes a standard input that it still owns, so the pipe is kept apart.
    pipe: Option<ChildStdin>,
}

impl RunnerProcess {
    fn start(
        runners: &LocalRunners,
        alias: &LocalAlias,
        slot: usize,
        pinned: &[u32],
    ) -> Result<RunnerProcess, LocalError> {
        let failed = |source| LocalError::Spawn { program: runners.program.clone(), source };
        let log = open_log(&runners.log(alias, slot)).map_err(failed)?;
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
async fn next_end(slots: &mut [Option<RunnerProcess>]) -> (usize, ExitStatus) {
    let waits = slots.iter_mut().enumerate().filter_map(|(slot, runner)| {
        runner.as_mut().map(|runner| Box::pin(async move { (slot, runner.child.wait().await) }))
    });
    let ((slot, status), _, _) = futures::future::select_all(waits).await;
    (slot, status.expect("a child of this process can be waited for"))
}

/// Waits for processes that were told to go, closes the pipes of the others, which they obey at once, and
/// kills what is left.
async fn end(slots: Vec<Option<RunnerProcess>>, how: Leave) {
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

/// Returns once runners should go; never, if nobody can say so any more.
async fn asked(leave: &mut watch::Receiver<Leave>) -> Leave {
    let asked = leave.wait_for(|leave| *leave != Leave::No).await.ok().map(|leave| *leave);
    match asked {
        Some(how) => how,
        None => std::future::pending().await,
    }
}

impl LocalRunners {
    /// What a runner says goes here, over all times it is started.
    fn log(&self, alias: &LocalAlias, slot: usize) -> PathBuf {
        self.logs.join(format!("{}-{slot}.log", alias.alias))
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        create_private_dir(folder)?;
    }
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The whole argument list: of this program, or of the container engine that runs it.
fn runner_arguments(runners: &LocalRunners, alias: &LocalAlias, slot: usize, pinned: &[u32]) -> Vec<String> {
    let cpu = pinned[slot];
    let runner_id = format!("{}-{}-{slot}", runners.run_id, alias.alias);
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
    let key_file = runners.key_file.display().to_string();
    if let Some(container) = &alias.container {
        let program = runners.program.display().to_string();
        add(&["run", "--rm", "--init", "--interactive", "--network", "host"]);
        add(&["--name", &format!("bench-{runner_id}")]);
        add(&["--label", &format!("bench_run_id={}", runners.run_id)]);
        add(&["--cpuset-cpus", &cpu.to_string()]);
        add(&["--volume", &format!("{program}:/usr/local/bin/bench:ro")]);
        add(&["--volume", &format!("{key_file}:/run/bench.key:ro")]);
        add(&["--entrypoint", "/usr/local/bin/bench", &container.image]);
    }
    let key_file = if alias.container.is_some() { "/run/bench.key" } else { &key_file };
    add(&["runner", "--orchestrator-url", &runners.orchestrator_url]);
    if let Some(pin) = &runners.orchestrator_pin {
        add(&["--orchestrator-pin", pin]);
    }
    add(&["--api-key-file", key_file, "--run-id", runners.run_id.as_str()]);
    add(&["--provider", &runners.provider, "--instance-type", &alias.instance_type]);
    add(&["--alias", alias.alias.as_str(), "--runner-id", &runner_id]);
    add(&["--cpu", &cpu.to_string(), "--parent-pipe"]);
    let neighbours: Vec<u32> = pinned.iter().copied().filter(|other| *other != cpu).collect();
    if !neighbours.is_empty() {
        add(&["--busy-cpus", &topology::format_list(&neighbours)]);
    }
    if runners.debug {
        add(&["--debug"]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runners() -> LocalRunners {
        LocalRunners {
            run_id: "r1".parse().unwrap(),
            provider: "local".into(),
            orchestrator_url: "http://127.0.0.1:4000".into(),
            orchestrator_pin: None,
            key_file: "/home/me/.bench/runs/r1/run.key".into(),
            program: "/opt/bench".into(),
            working_directory: "/home/me".into(),
            cpu_locks: "/home/me/.bench/locks".into(),
            logs: "/home/me/.bench/runs/r1/logs".into(),
            debug: false,
        }
    }

    fn alias(container: Option<Container>) -> LocalAlias {
        LocalAlias {
            alias: "here".parse().unwrap(),
            instance_type: if container.is_some() { "docker" } else { "process" }.into(),
            slots: 2,
            container,
        }
    }

    #[test]
    fn a_runner_is_given_its_cpu_its_neighbours_and_a_key_file_but_never_a_key() {
        let arguments = runner_arguments(&runners(), &alias(None), 1, &[0, 2]);
        assert_eq!(
            arguments.join(" "),
            "runner --orchestrator-url http://127.0.0.1:4000 \
             --api-key-file /home/me/.bench/runs/r1/run.key --run-id r1 --provider local \
             --instance-type process --alias here --runner-id r1-here-1 --cpu 2 --parent-pipe --busy-cpus 0"
        );
    }

    #[test]
    fn a_container_is_pinned_and_runs_this_very_program() {
        let container = Container { engine: "/usr/bin/docker".into(), image: "debian:12".into() };
        let arguments = runner_arguments(&runners(), &alias(Some(container)), 0, &[3]);
        assert_eq!(
            arguments.join(" "),
            "run --rm --init --interactive --network host --name bench-r1-here-0 \
             --label bench_run_id=r1 --cpuset-cpus 3 --volume /opt/bench:/usr/local/bin/bench:ro \
             --volume /home/me/.bench/runs/r1/run.key:/run/bench.key:ro \
             --entrypoint /usr/local/bin/bench debian:12 \
             runner --orchestrator-url http://127.0.0.1:4000 --api-key-file /run/bench.key --run-id r1 \
             --provider local --instance-type docker --alias here --runner-id r1-here-0 --cpu 3 --parent-pipe"
        );
    }
}

//! The local provider: task runners as processes of this machine, one alias after the other.
//!
//! ```text
//!  serve ──▶ CPUs under a lock ──▶ one `bench runner` a slot, its stdin a pipe from here
//!              ▲                      │ exits 0 when told `done`; died: started again, a few times
//!              └── next alias ◀───────┘
//! ```
//! The pipe ends with the master, however it dies, and with it the runner and its workload.

mod arguments;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use self::process::{RunnerProcess, end, next_end};
use super::cpus::{self, CpuLock, Taken};
use super::leave::{Leave, asked};
use super::progress::{MasterEvent, Progress};
use crate::api::{Alias, RunId};
use crate::runner::topology::{self, Topology};
use crate::words::count;

/// How often the runners of one alias may die before the alias is given up: enough for an unlucky machine,
/// few enough that a runner that cannot work is seen within seconds.
const MAX_DEATHS: usize = 5;
const CPU_POLL: Duration = Duration::from_millis(200);

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
    /// For results that the orchestrator does not take.
    pub undelivered: PathBuf,
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
    /// Folders of this machine that it sees under their own paths: where `bench run` was called, and the
    /// workload's own.
    pub folders: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("could not share out this machine's CPUs")]
    Cpus(#[source] std::io::Error),
    #[error("could not read this machine's CPU topology")]
    Topology(#[source] std::io::Error),
    #[error(
        "alias `{alias}` wants {} side by side, but this machine offers {}",
        count(*wanted, "task runner"),
        count(*available, "CPU")
    )]
    TooManySlots { alias: Alias, wanted: usize, available: usize },
    #[error("could not write what a task runner says")]
    Log(#[source] std::io::Error),
    #[error("could not start a task runner with {program}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error(
        "the task runners of `{alias}` died {}; the last one with {status}; its log is {log}",
        count(*deaths, "time")
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

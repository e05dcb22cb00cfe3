//! Sets a runner up: its place, its folder, its runtime.

use std::io;
use std::path::Path;

use super::agent::{Agent, RunnerEnd};
use super::launchers::Launchers;
use super::pin::{self, PlaceError};
use super::scratch::Scratch;
use super::settings::{RunnerArgs, Settings};
use super::{guard, machine, topology};
use crate::client::{Client, ClientError};

#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("could not set up the runner: {what}")]
    SetUp { what: &'static str, source: io::Error },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the runner cannot work with its orchestrator")]
    Client(#[from] ClientError),
}

/// Runs tasks until there are none left or the runner is told to end.
///
/// Everything but the workloads happens on the calling thread, which is pinned away from the workload's CPU
/// and becomes the reaper of orphaned descendants: call it from the main thread of a process of its own.
///
/// # Errors
/// A place on the host that does not exist, or an orchestrator that refuses this runner for good.
pub fn run(args: RunnerArgs) -> Result<RunnerEnd, RunnerError> {
    let failed = |what| move |source| RunnerError::SetUp { what, source };
    let allowed = pin::allowed().map_err(failed("read the allowed CPUs"))?;
    let topology =
        topology::read(Path::new("/")).map_err(failed("read the CPU topology"))?.restricted_to(&allowed);
    let pinning = pin::place(&topology, &args.place)?;
    if let Some(cpu) = pinning.beat_cpu {
        pin::pin_to(&[cpu]).map_err(failed("pin the runner"))?;
    }
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| RunnerError::SetUp { what: "become the subreaper", source: errno.into() })?;
    let scratch = Scratch::create(&std::env::temp_dir()).map_err(failed("make a temporary folder"))?;
    let settings = Settings {
        machine: machine::read(Path::new("/"), &hostname()),
        cpus: pinning.cpu.map_or(allowed, |cpu| vec![cpu]),
        scratch: scratch.path().to_owned(),
        launchers: Launchers::new(&args.program),
        pinning,
        args,
    };
    tracing::info!(pinning = ?settings.pinning, runner = settings.args.runner_id, "runner starts");
    let client = Client::new(settings.args.orchestrator.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(failed("start the runtime"))?;
    let end = runtime.block_on(async {
        let ending = guard::watch_endings(settings.args.parent_pipe).map_err(failed("catch signals"))?;
        Ok::<_, RunnerError>(Agent { settings: &settings, client: &client, ending }.run().await?)
    });
    // A name lookup that hangs must not keep the runner.
    runtime.shutdown_background();
    end
}

/// The name of this machine, as the kernel has it.
pub fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned())
}

//! `bench runner`: a task runner.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::{Context, Exit, Failure, View};
use crate::api::{Alias, RunId};
use crate::client::{ClientError, Endpoint, Pin, Secret};
use crate::runner::{self, PlaceRequest, RunnerArgs, RunnerEnd, RunnerError};

const EXAMPLES: &str = "\
The workload is pinned to --cpu, else to the CPU of --slot among --slots, else it may use every CPU that the
runner may. On SIGTERM or SIGINT a task under way may take --stop-grace-seconds more, else it is given back;
a second signal gives it back at once. Either way the runner says goodbye and exits with 0.

Example:
  BENCH_RUN_KEY=rk.… bench runner --orchestrator-url https://203.0.113.7:8443 --orchestrator-pin sha256//… \\
    --run-id 20261120-101500-k3v9 --provider cloud-eu --instance-type large --alias large --slot 0 --slots 2";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the orchestrator answers; https://, or http:// on this machine
    #[arg(long, value_name = "URL")]
    orchestrator_url: String,
    /// SHA-256 of the orchestrator's public key, the only one to trust (sha256//BASE64, as curl takes it)
    #[arg(long, value_name = "PIN")]
    orchestrator_pin: Option<Pin>,
    /// The run key; better in BENCH_RUN_KEY or a file, since arguments show in process lists
    #[arg(long, value_name = "KEY", env = "BENCH_RUN_KEY", hide_env_values = true)]
    api_key: Option<Secret>,
    /// File with the run key; wins over BENCH_RUN_KEY
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The run to work for; a run that does not exist yet is waited for
    #[arg(long, value_name = "RUN")]
    run_id: RunId,
    /// Name of the provider instance that made this host
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Instance type of this host
    #[arg(long, value_name = "TYPE")]
    instance_type: String,
    /// Take tasks of this alias only
    #[arg(long)]
    alias: Option<Alias>,
    /// Make results up, quickly and deterministically, instead of running the workload
    #[arg(long)]
    mock: bool,
    /// Log what is done (as -vv)
    #[arg(long)]
    pub debug: bool,
    /// Stay after the last task until stopped
    #[arg(long)]
    no_exit: bool,
    /// Logical CPU of the workload
    #[arg(long, value_name = "N")]
    cpu: Option<u32>,
    /// Number of this runner on its host, from 0: chooses its CPU
    #[arg(long, value_name = "I", requires = "slots")]
    slot: Option<u32>,
    /// Number of runners on this host
    #[arg(long, value_name = "N", requires = "slot", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// Logical CPUs on which others measure, e.g. 0,2-3: the runner keeps off them
    #[arg(long, value_name = "LIST", default_value = "", value_parser = super::launch::cpu_list)]
    busy_cpus: super::launch::CpuList,
    /// Name of this runner, unique in the run [default: from host and slot]
    #[arg(long, value_name = "ID")]
    runner_id: Option<String>,
    /// The cloud's instance id [default: the host name]
    #[arg(long)]
    host: Option<String>,
    /// Standard input is a pipe from the master: its end ends the runner and its workload at once
    #[arg(long)]
    parent_pipe: bool,
    /// Folder for results that the orchestrator does not take; without it they are dropped
    #[arg(long, value_name = "DIR")]
    undelivered: Option<PathBuf>,
    /// How long a task may go on after SIGTERM before it is given back
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    stop_grace_seconds: f64,
    /// Time between SIGTERM and SIGKILL for a workload that has to end
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    kill_grace_seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=86_400.0).contains(&value) => Ok(value),
        _ => Err("expected seconds from 0 to 86400".to_owned()),
    }
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let args = resolve(args)?;
    let end = runner::run(args).map_err(failure)?;
    context.output.show(&Summary(end));
    Ok(Exit::Done)
}

fn failure(error: RunnerError) -> Failure {
    match &error {
        RunnerError::Place(_)
        | RunnerError::Client(ClientError::BadEndpoint { .. } | ClientError::BadKey { .. }) => {
            Failure::usage(error)
        }
        _ => Failure::infrastructure(error),
    }
}

fn resolve(args: Args) -> Result<RunnerArgs, Failure> {
    let key = match (args.api_key, args.api_key_file) {
        (Some(key), None) => key,
        (_, Some(file)) => {
            let text = fs_err::read_to_string(file).context("could not read the run key");
            Secret::new(text.map_err(Failure::usage)?.trim())
        }
        (None, None) => {
            let error = anyhow::anyhow!("a runner needs the key of its run");
            return Err(Failure::usage(error).hint("set BENCH_RUN_KEY, or give --api-key-file FILE"));
        }
    };
    let host = args.host.unwrap_or_else(runner::hostname);
    let place = PlaceRequest { cpu: args.cpu, slot: args.slot.zip(args.slots), busy: args.busy_cpus.0 };
    let runner_id = args.runner_id.unwrap_or_else(|| default_runner_id(&host, &place));
    Ok(RunnerArgs {
        orchestrator: Endpoint { url: args.orchestrator_url, key, pin: args.orchestrator_pin },
        run_id: args.run_id,
        provider: args.provider,
        instance_type: args.instance_type,
        alias: args.alias,
        runner_id,
        host,
        mock: args.mock,
        no_exit: args.no_exit,
        place,
        parent_pipe: args.parent_pipe,
        // Stays the right program when the file was replaced meanwhile.
        program: PathBuf::from("/proc/self/exe"),
        undelivered: args.undelivered,
        stop_grace: Duration::from_secs_f64(args.stop_grace_seconds),
        kill_grace: Duration::from_secs_f64(args.kill_grace_seconds),
    })
}

/// The same after a restart of the same slot; apart from other processes where there is no slot.
fn default_runner_id(host: &str, place: &PlaceRequest) -> String {
    match (place.slot, place.cpu) {
        (Some((slot, _)), _) => format!("{host}-{slot}"),
        (None, Some(cpu)) => format!("{host}-cpu{cpu}-{}", std::process::id()),
        (None, None) => format!("{host}-{}", std::process::id()),
    }
}

#[derive(Serialize)]
struct Summary(RunnerEnd);

impl View for Summary {
    fn human(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let RunnerEnd { completed, failed, lost, released, .. } = self.0;
        writeln!(out, "{completed} completed, {failed} failed, {lost} lost, {released} given back")
    }
}

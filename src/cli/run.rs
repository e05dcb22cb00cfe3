//! `bench run`: the main job.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::plan::plan_failure;
use super::progress;
use super::provider::RegistryArgs;
use super::remote::{self, RemoteArgs};
use super::runtime::block_on;
use super::{Context, Exit, Failure, Output, View};
use crate::api::{RunId, TaskCounts};
use crate::ledger::Ledger;
use crate::master::flow::{self, Outcome, RunError};
use crate::master::home::{Home, HomeError, RunFolder};
use crate::master::interrupt::Interrupts;
use crate::master::prepare::{self, OnInterrupt, Options, PrepareError, Prepared};
use crate::master::record::{Leftover, MetaFacts, ProviderRecord, RecordStatus, RunRecord};
use crate::nuke::{Urgency, look};
use crate::owner::OwnerId;
use crate::provider::Registry;
use crate::report::{self, Report};
use crate::terraform::State;
use crate::words::count;

const EXAMPLES: &str = "\
Examples:
  bench run config/local.json                 measure this machine
  bench run config/local.json --mock          try a config without measuring
  bench run --resume latest                   go on where a dead run stopped
  bench run config/local.json --output json   one JSON value on stdout, for scripts

Ctrl-C once stops cleanly and saves what there is (exit 130); twice ends at once.";

/// How long a look at what earlier runs left may take. It is beside the run, and comes after it for the CPU.
const LOOK: Duration = Duration::from_secs(120);

/// The end of what a run says that did not come into being.
const NOTHING_STARTED: &str = "nothing was started; run it again once that is mended";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The config, a JSON file
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Go on with a run that has not ended: its id, or `latest`
    #[arg(long, value_name = "RUN")]
    resume: Option<String>,
    /// Name of the run; made from the time when absent
    #[arg(long, conflicts_with = "resume")]
    run_id: Option<RunId>,
    /// Replace the workload by a quick, deterministic one
    #[arg(long, conflicts_with = "resume")]
    mock: bool,
    /// Task runners log everything they do
    #[arg(long)]
    pub debug: bool,
    /// Run the orchestrator inside this process (implied where every provider is local)
    #[arg(long, conflicts_with = "orchestrator_url")]
    local_orchestrator: bool,
    /// Start no task runners: wait for those that join by themselves
    #[arg(long)]
    skip_infra: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Leave the hosts running at the end, until their time to live ends them
    #[arg(long)]
    keep: bool,
    /// What becomes of the hosts when the run is interrupted; asked on a terminal, else destroy
    #[arg(long, value_name = "WHAT")]
    on_interrupt: Option<WhenInterrupted>,
    /// Ask nothing: hosts of an interrupted run are destroyed
    #[arg(long)]
    yes: bool,
    /// Who the hosts belong to; made once for this user when absent (also BENCH_OWNER)
    #[arg(long, value_name = "NAME")]
    owner: Option<OwnerId>,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WhenInterrupted {
    Destroy,
    Keep,
}

fn on_interrupt(args: &Args) -> OnInterrupt {
    let somebody_is_there = io::stdin().is_terminal() && io::stderr().is_terminal();
    match args.on_interrupt {
        Some(WhenInterrupted::Destroy) => OnInterrupt::Destroy,
        Some(WhenInterrupted::Keep) => OnInterrupt::Keep,
        None if somebody_is_there && !args.yes => OnInterrupt::Ask,
        None => OnInterrupt::Destroy,
    }
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let home = Home::new(&context.home);
    block_on(async {
        let prepared = prepare(&args, &home).await?;
        let run_id = prepared.create.run_id.clone();
        let interrupts = Interrupts::listen().map_err(|error| {
            Failure::infrastructure(anyhow!(error).context("could not listen to signals"))
        })?;
        // Beside the run, which it does not hold up.
        let leaks = Ledger::of(&home).path().exists().then(|| args.registry.load()).transpose()?;
        let leaks = leaks
            .map(|registry| tokio::spawn(tell_leaks(home.clone(), registry, run_id.clone(), context.output)));
        let progress = Arc::from(progress::for_stderr(context.output));
        let outcome = flow::run(&home, prepared, progress, interrupts)
            .await
            .map_err(|error| run_failure(error, &home.run(&run_id), &run_id))?;
        leaks.inspect(JoinHandle::abort);
        let exit = exit_of(&outcome);
        context.output.show(&Summary::new(&outcome, exit));
        Ok(exit)
    })
}

/// Names what earlier runs left in clouds, with its cost and the command that removes it.
async fn tell_leaks(home: Home, registry: Registry, run_id: RunId, output: Output) {
    match look(&home, &registry, LOOK, Urgency::Background).await {
        Ok(look) => {
            for leak in look.leaks.iter().filter(|leak| leak.run_id != run_id) {
                output.note(&format!("warning: {leak}; `bench nuke --run-id {}` removes it", leak.run_id));
            }
            for gap in &look.unseen {
                tracing::info!("could not look for what earlier runs left in {}: {}", gap.what, gap.why);
            }
        }
        Err(error) => tracing::warn!(error = crate::cause_chain(&error), "could not look for leaks"),
    }
}

async fn prepare(args: &Args, home: &Home) -> Result<Prepared, Failure> {
    let registry = args.registry.load()?;
    let options = Options {
        run_id: args.run_id.clone(),
        mock: args.mock,
        debug: args.debug,
        skip_infra: args.skip_infra,
        keep: args.keep,
        owner: args.owner.clone(),
        on_interrupt: on_interrupt(args),
        orchestrator: args.remote.endpoint(),
        local_orchestrator: args.local_orchestrator,
    };
    match (&args.resume, &args.config) {
        (Some(run), _) => {
            let folder = home.find_run(run).map_err(Failure::usage)?;
            let prepared = prepare::old_run(home, &registry, &folder, options).await;
            prepared.map_err(|error| resume_failure(error, &folder))
        }
        (None, Some(config)) => {
            prepare::new_run(home, &registry, config, options).await.map_err(prepare_failure)
        }
        (None, None) => unreachable!("clap requires a config or --resume"),
    }
}

fn resume_failure(error: PrepareError, folder: &RunFolder) -> Failure {
    match error {
        // What the last master left goes on costing money; one that lives looks after it.
        PrepareError::Named(error) if !folder.has_master() => {
            with_leftovers(remote::failure(error), folder, &folder.run_id)
        }
        error => prepare_failure(error),
    }
}

fn prepare_failure(error: PrepareError) -> Failure {
    match error {
        PrepareError::Config(error) => super::config::failure(error),
        PrepareError::Plan(error) => plan_failure(error),
        PrepareError::Named(error) => remote::failure(error).hint(NOTHING_STARTED),
        error => Failure::usage(error),
    }
}

fn run_failure(error: RunError, folder: &RunFolder, run_id: &RunId) -> Failure {
    match error {
        error @ (RunError::LeftAtOnce { .. } | RunError::Interrupted) => {
            with_leftovers(Failure::new(Exit::Interrupted, error), folder, run_id)
        }
        RunError::Home(error @ (HomeError::RunExists(..) | HomeError::RunBusy(..))) => Failure::usage(error),
        error => {
            let error = anyhow!(error).context(format!("run `{run_id}` could not be brought to its end"));
            let failure = Failure::infrastructure(error);
            // A run that did not get as far as its journal has nothing to go on from.
            if !folder.journal().is_file() {
                return failure.hint(NOTHING_STARTED);
            }
            let failure = with_leftovers(failure, folder, run_id);
            failure.hint(format!("what was done is kept; `bench run --resume {run_id}` goes on from there"))
        }
    }
}

/// A run that broke off may have left hosts behind, which goes before everything else.
fn with_leftovers(failure: Failure, folder: &RunFolder, run_id: &RunId) -> Failure {
    let Ok(record) = RunRecord::load(&folder.record()) else { return failure };
    let is_open = |provider: &ProviderRecord| {
        let place = folder.provider(&provider.name);
        let known = State::recover(&place, None);
        let holds = known.found.is_some_and(|(_, state)| !state.resources.is_empty());
        place.exists() && (provider.status == "running" || holds || !known.unreadable.is_empty())
    };
    let open: Vec<&str> =
        record.providers.iter().filter(|p| is_open(p)).map(|provider| provider.name.as_str()).collect();
    if open.is_empty() && record.leftovers.is_empty() {
        return failure;
    }
    let mut failure = Failure { exit: Exit::most_important([Exit::Leftovers, failure.exit]), ..failure };
    if !open.is_empty() {
        failure = failure.hint(format!("hosts of {} may still run and be billed", open.join(", ")));
    }
    for leftover in &record.leftovers {
        failure = failure.hint(format!("left behind: {leftover}"));
    }
    failure.hint(format!("`bench nuke --run-id {run_id}` removes them"))
}

fn exit_of(outcome: &Outcome) -> Exit {
    let status = match outcome.record.status {
        RecordStatus::Completed => Exit::Done,
        _ => Exit::TaskFailed,
    };
    let providers = outcome.record.providers.iter().map(|provider| match provider.error {
        Some(_) => Exit::Infrastructure,
        None => Exit::Done,
    });
    let interrupted = if outcome.interrupted { Exit::Interrupted } else { Exit::Done };
    let left = if outcome.record.leftovers.is_empty() { Exit::Done } else { Exit::Leftovers };
    Exit::most_important(providers.chain([status, interrupted, left]))
}

/// What `bench run` ends with.
#[derive(Serialize)]
struct Summary<'a> {
    run_id: &'a RunId,
    status: RecordStatus,
    orchestrator_url: Option<&'a str>,
    dashboard_url: Option<String>,
    results_dir: String,
    tasks: Tasks,
    /// The meta stack, which goes on costing money until it ends itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a MetaFacts>,
    providers: &'a [ProviderRecord],
    leftovers: &'a [Leftover],
    exit_code: u8,
    #[serde(skip)]
    report: &'a Report,
}

#[derive(Serialize)]
struct Tasks {
    total: u64,
    completed: u64,
    failed: u64,
}

impl From<TaskCounts> for Tasks {
    fn from(counts: TaskCounts) -> Tasks {
        Tasks { total: counts.total, completed: counts.completed, failed: counts.failed }
    }
}

impl<'a> Summary<'a> {
    fn new(outcome: &'a Outcome, exit: Exit) -> Summary<'a> {
        let record = &outcome.record;
        let url = record.orchestrator.as_ref().map(|orchestrator| orchestrator.url.as_str());
        Summary {
            run_id: &record.run_id,
            status: record.status,
            orchestrator_url: url,
            dashboard_url: url.map(|url| format!("{url}/")),
            results_dir: outcome.results_dir.display().to_string(),
            tasks: record.tasks.into(),
            meta: record.orchestrator.as_ref().and_then(|orchestrator| orchestrator.meta.as_ref()),
            providers: &record.providers,
            leftovers: &record.leftovers,
            exit_code: exit.code(),
            report: &outcome.report,
        }
    }
}

impl View for Summary<'_> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", report::table(self.report, super::output::width()))?;
        super::failures::write(out, &self.report.tasks)?;
        let Tasks { total, completed, failed } = self.tasks;
        write!(
            out,
            "run {} {}: {completed} of {} completed",
            self.run_id,
            self.status.word(),
            count(total, "task")
        )?;
        if failed > 0 {
            write!(out, ", {failed} failed")?;
        }
        writeln!(out)?;
        for provider in self.providers {
            if let Some(error) = &provider.error {
                writeln!(out, "provider {} failed: {error}", provider.name)?;
            }
            if provider.kept {
                write_kept(provider, out)?;
            }
        }
        for leftover in self.leftovers {
            writeln!(out, "left behind: {leftover}")?;
        }
        if let (Some(meta), Some(url)) = (self.meta, self.orchestrator_url) {
            writeln!(out, "{}", stays(url, meta))?;
        }
        writeln!(out, "results: {0}/results.json, results.csv, report.html", self.results_dir)
    }
}

/// What becomes of the meta stack after the run.
fn stays(url: &str, meta: &MetaFacts) -> String {
    let what = [meta.instance_type.as_deref(), meta.region.as_deref()].into_iter().flatten();
    let price = meta.price_usd_per_h.map(|price| format!("{price} USD an hour"));
    let facts: Vec<String> = what.map(str::to_owned).chain(price).collect();
    let idle =
        meta.idle_minutes.map(|minutes| format!(" and ends itself after {minutes} minutes without one"));
    format!(
        "orchestrator {url} ({}) stays for the next run{}; `bench nuke --run-id meta-{}` ends it now",
        facts.join(", "),
        idle.unwrap_or_default(),
        meta.owner
    )
}

/// Hosts that go on costing money, by name.
fn write_kept(provider: &ProviderRecord, out: &mut dyn Write) -> io::Result<()> {
    for host in &provider.hosts {
        let address = host.public_ip.as_deref().or(host.private_ip.as_deref()).unwrap_or("no address");
        writeln!(out, "kept: {} ({}, {}, {address})", host.id, provider.name, host.instance_type)?;
    }
    Ok(())
}

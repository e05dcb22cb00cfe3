//! `bench nuke`: removes what runs left in clouds, and believes only a listing.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::provider::RegistryArgs;
use super::runtime::block_on;
use super::{Context, Exit, Failure, Output, View};
use crate::api::RunId;
use crate::master::home::Home;
use crate::master::interrupt::Interrupts;
use crate::nuke::{Event, Nuke, NukeError, Order, Outcome, Report, Selection, Tell};
use crate::owner::OwnerId;

const AFTER: &str = "\
Without --run-id and --all-runs, everything that this home's ledger knows is removed, in every region and account it was ever made in. \
Only what carries bench_managed, our owner and one of these runs in its tags is deleted; any doubt keeps a resource and is named.

Exits with 0 only when two listings, ten seconds apart, found nothing left; with 4 when something is or may be left, also after --dry-run.

Examples:
  bench nuke --dry-run                                    what there is, and what it costs
  bench nuke --run-id 20261120-101500-k3v9 --yes          one run, without asking
  bench nuke --all-runs --provider NAME --all-regions     by owner, where the ledger was lost";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Only this run, whether the ledger knows it or not (can be given several times)
    #[arg(long, value_name = "RUN")]
    run_id: Vec<RunId>,
    /// Every run of the owner, also those that the ledger does not know
    #[arg(long, conflicts_with = "run_id")]
    all_runs: bool,
    /// Only this provider instance or backend (can be given several times)
    #[arg(long, value_name = "NAME")]
    provider: Vec<String>,
    /// Leave the meta stack, which serves the next run
    #[arg(long)]
    providers_only: bool,
    /// Look into every region of each account, not only those that were used
    #[arg(long)]
    all_regions: bool,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Whose resources (also BENCH_OWNER); by default those of every owner that the ledger tells
    #[arg(long, value_name = "OWNER")]
    owner: Option<OwnerId>,
    /// How long deleting is tried, minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1440))]
    patience: u32,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    if !args.dry_run && !args.yes && !io::stdin().is_terminal() {
        let error = anyhow!("`bench nuke` asks before it deletes, and there is no terminal to ask on");
        let failure = Failure::usage(error).hint("`--dry-run` shows what there is");
        return Err(failure.hint("`--yes` deletes it without asking"));
    }
    let home = Home::new(&context.home);
    let registry = args.registry.load()?;
    let selection = Selection {
        run_ids: args.run_id.iter().cloned().collect(),
        all_runs: args.all_runs,
        providers: args.provider.iter().cloned().collect(),
        providers_only: args.providers_only,
        all_regions: args.all_regions,
        owner: args.owner.clone(),
    };
    let order = Order {
        home: &home,
        registry: &registry,
        selection,
        me: OwnerId::resolve(args.owner.clone()).map_err(Failure::usage)?,
        dry_run: args.dry_run,
        patience: Duration::from_secs(60 * u64::from(args.patience)),
    };
    let me = order.me.clone();
    block_on(async {
        let mut interrupts = Interrupts::listen().map_err(|error| {
            Failure::infrastructure(anyhow!(error).context("could not listen to signals"))
        })?;
        tokio::select! {
            ended = nuke(order, &args, context) => ended,
            () = interrupts.reached(1) => Err(interrupted()),
        }
        .map_err(|failure| {
            if failure.exit == Exit::Usage {
                failure.hint(format!("this user's owner is `{me}`"))
            } else {
                failure
            }
        })
    })
}

async fn nuke(order: Order<'_>, args: &Args, context: &Context) -> Result<Exit, Failure> {
    let (dry_run, ledger) = (order.dry_run, order.home.root().join("ledger.jsonl"));
    let Some(nuke) = Nuke::open(order, teller(context.output)).await.map_err(failure)? else {
        return Err(nothing_known(&ledger));
    };
    let plan = nuke.plan();
    if dry_run {
        let exit = exit_of(&plan);
        context.output.show(&Answer { report: plan, exit_code: exit.code() });
        return Ok(exit);
    }
    for line in plan_lines(&plan) {
        context.output.note(&line);
    }
    for (run_id, provider) in nuke.under_way() {
        context
            .output
            .note(&format!("terraform still works on {provider} of run {run_id}: it is stopped first"));
    }
    if !args.yes && !asked(plan.resources.len()).await.map_err(Failure::infrastructure)? {
        let exit = exit_of(&plan);
        context.output.note("nothing was deleted");
        context.output.show(&Answer { report: plan, exit_code: exit.code() });
        return Ok(exit);
    }
    let report = nuke.execute().await.map_err(failure)?;
    let exit = exit_of(&report);
    context.output.show(&Answer { report, exit_code: exit.code() });
    Ok(exit)
}

fn failure(error: NukeError) -> Failure {
    Failure::new(Exit::Leftovers, anyhow!(error).context("it is not known what is left"))
        .hint("`bench nuke` can be run again at any time")
}

fn interrupted() -> Failure {
    Failure::new(Exit::Leftovers, anyhow!("interrupted: it is not known what is left"))
        .hint("a terraform that destroys goes on by itself; `bench nuke` again waits for it and goes on")
}

fn nothing_known(ledger: &std::path::Path) -> Failure {
    let error =
        anyhow!("nothing known here: {} tells of nothing that was ever made in a cloud", ledger.display());
    Failure::usage(error)
        .hint("`--home` names another home folder")
        .hint("`bench nuke --all-runs --provider BACKEND --all-regions` looks by owner in one cloud")
}

/// Asks on the terminal. Anything but yes is no.
async fn asked(count: usize) -> io::Result<bool> {
    let ask = move || {
        let mut stderr = io::stderr();
        write!(stderr, "delete these {count} resources? [y/N] ")?;
        stderr.flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
    };
    tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)?
}

/// N6: 0 only when nothing is left for certain.
fn exit_of(report: &Report) -> Exit {
    let sure = report.incomplete.is_empty() && report.refused.is_empty() && report.other_runs.is_empty();
    let nothing = report.left().next().is_none();
    if sure && nothing && (report.gone || report.dry_run) { Exit::Done } else { Exit::Leftovers }
}

fn teller(output: Output) -> Tell {
    Arc::new(move |event| {
        let line = match event {
            Event::Waiting => "another `bench nuke` works in this home: waiting for it".to_owned(),
            Event::NoTerraform { why } => format!("without terraform everything goes by tags: {why}"),
            Event::Destroying { run_id, provider } => {
                format!("{provider} of run {run_id}: terraform destroy")
            }
            Event::Destroyed(report) => {
                let why = report.why.map(|why| format!(": {why}")).unwrap_or_default();
                format!("{} of run {}: {}{why}", report.provider, report.run_id, report.outcome)
            }
            Event::Stuck { resource, place, why } => format!("{resource} in {place} stays for now: {why}"),
        };
        output.note(&line);
    })
}

/// Counts by run and kind, and what they cost.
fn plan_lines(plan: &Report) -> Vec<String> {
    let mut counts: BTreeMap<(&RunId, &str, &str), usize> = BTreeMap::new();
    for resource in &plan.resources {
        *counts.entry((&resource.run_id, &resource.place, &resource.kind)).or_default() += 1;
    }
    let mut lines: Vec<String> = counts
        .into_iter()
        .map(|((run_id, place, kind), count)| format!("run {run_id}, {place}: {count} {kind}"))
        .collect();
    lines.push(format!("{} resources, {}", plan.resources.len(), cost(plan)));
    lines.extend(plan.refused.iter().map(|gap| format!("left alone: {}: {}", gap.what, gap.why)));
    lines.extend(plan.incomplete.iter().map(|gap| format!("scan incomplete: {}: {}", gap.what, gap.why)));
    lines
}

fn cost(report: &Report) -> String {
    match report.without_price {
        0 => format!("{:.4} USD/h", report.usd_per_h),
        n => format!("{:.4} USD/h and {n} of unknown price", report.usd_per_h),
    }
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    report: Report,
    exit_code: u8,
}

impl View for Answer {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if !report.resources.is_empty() {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(["RUN", "WHERE", "KIND", "ID", "CLASS", "OUTCOME"]);
            for resource in &report.resources {
                table.add_row([
                    resource.run_id.to_string(),
                    resource.place.clone(),
                    resource.kind.clone(),
                    resource.id.clone(),
                    super::provider::word(resource.class),
                    super::provider::word(resource.outcome),
                ]);
            }
            writeln!(out, "{}", table.trim_fmt())?;
        }
        for resource in report.resources.iter().filter(|resource| resource.why.is_some()) {
            let why = resource.why.as_deref().unwrap_or_default();
            writeln!(out, "{} {} ({}): {why}", resource.kind, resource.id, resource.place)?;
        }
        for gap in &report.incomplete {
            writeln!(out, "scan incomplete: {}: {}", gap.what, gap.why)?;
        }
        for gap in &report.refused {
            writeln!(out, "left alone: {}: {}", gap.what, gap.why)?;
        }
        for (run_id, count) in &report.other_runs {
            writeln!(
                out,
                "{count} resources of run {run_id} are ours too, and not in this home's ledger: `bench nuke --run-id {run_id}`"
            )?;
        }
        let count = |outcome| report.resources.iter().filter(|r| r.outcome == outcome).count();
        if report.dry_run {
            writeln!(out, "{} resources, {}; nothing was deleted", report.resources.len(), cost(report))
        } else if report.gone {
            writeln!(out, "{} deleted; two listings find nothing left", count(Outcome::Deleted))
        } else {
            let left = report.left().count();
            writeln!(
                out,
                "{} deleted, {left} left; it is not certain that nothing else is",
                count(Outcome::Deleted)
            )
        }
    }
}

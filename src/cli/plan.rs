//! `bench plan`: what a config would make, without making it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::config::failure;
use super::provider::{RegistryArgs, word};
use super::{Context, Exit, Failure, View};
use crate::document::Document;
use crate::plan::{Cost, Plan, PlanError, PlannedProvider, PlannedType, plan_document};
use crate::provider::{Driver, MachineFacts};
use crate::words::count;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bench plan config/local.json\n  bench plan config/example.json --output json\n  \
                  bench plan config/example.json --render /tmp/look"
)]
pub struct Args {
    /// The config, a JSON file
    config: PathBuf,
    /// Write what Terraform would be given, one folder a provider instance, for a look: with a made-up run id
    /// and key, touching no cloud
    #[arg(long, value_name = "DIR")]
    render: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let registry = args.registry.load()?;
    let planned = Document::read(&args.config)
        .and_then(|document| plan_document(&document, &registry, MachineFacts::read()));
    let (config, plan) = planned.map_err(failure)?;
    if let Some(folder) = &args.render {
        super::render::render(folder, &config, &plan, &registry, context)?;
    }
    context.output.show(&plan);
    if let Err(error) = plan.check_limits(&config.limits) {
        for problem in error.problems {
            context.output.note(&format!("warning: `bench run` will refuse this: {problem}"));
        }
    }
    Ok(Exit::Done)
}

/// A plan beyond its limits, as the failure of a command.
pub fn plan_failure(error: PlanError) -> Failure {
    let details = serde_json::to_value(&error).ok();
    let lines = error.to_string().replace('\n', "\n  ");
    let failure = Failure::usage(anyhow::anyhow!("the plan is beyond its limits\n  {lines}"));
    match details {
        Some(details) => failure.details(details),
        None => failure,
    }
}

impl View for Plan {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for provider in &self.providers {
            show_provider(provider, out)?;
        }
        let totals = self.totals;
        writeln!(
            out,
            "Total: {} of {}, {} on {}",
            count(totals.tasks, "task"),
            count(totals.instance_types, "instance type"),
            count(totals.task_runners, "task runner"),
            count(totals.hosts, "host"),
        )?;
        show_cost(&self.cost, self.ttl_minutes, out)
    }
}

fn show_provider(provider: &PlannedProvider, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}", provider.name)?;
    if provider.name != provider.backend {
        write!(out, " (backend {})", provider.backend)?;
    }
    let settings = provider.settings.iter().map(|(name, value)| format!(", {name} {}", word(value)));
    writeln!(
        out,
        ": driver {}, phase {}{}",
        word(provider.driver),
        word(provider.phase),
        settings.collect::<String>()
    )?;
    let head = ["ALIAS", "INSTANCE TYPE", "VCPU", "ARCH", "EFFECTIVE VCPU", "INSTANCES", "TASKS", "USD/H"];
    let rows: Vec<_> = provider.instance_types.iter().map(cells).collect();
    write_columns(&head.map(str::to_owned), &rows, out)?;
    if provider.driver == Driver::Local {
        writeln!(out, "  one host: aliases take turns on this machine")?;
    }
    writeln!(out)
}

/// Columns as wide as their widest cell; numbers to the right. A config may have 10,000 rows, for which a
/// library that also wraps and measures glyphs takes as long as everything else together.
fn write_columns(head: &[String; 8], rows: &[[String; 8]], out: &mut dyn Write) -> io::Result<()> {
    const TEXTS: [usize; 3] = [0, 1, 3];
    let lines = || std::iter::once(head).chain(rows);
    let width = |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut line = String::new();
    for row in lines() {
        line.clear();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if TEXTS.contains(&column) { ("", &*padding) } else { (&*padding, "") };
            line.extend([" ", before, cell, after, " "]);
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn cells(row: &PlannedType) -> [String; 8] {
    let burstable = if row.burstable { " (burstable)" } else { "" };
    let spot = if row.spot { " (spot)" } else { "" };
    [
        row.alias.to_string(),
        format!("{}{spot}{burstable}", row.instance_type),
        row.vcpu.to_string(),
        row.arch.to_string(),
        row.effective_vcpu.to_string(),
        row.instances.to_string(),
        row.tasks.to_string(),
        row.hourly_cost_usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.4}")),
    ]
}

fn show_cost(cost: &Cost, ttl_minutes: u32, out: &mut dyn Write) -> io::Result<()> {
    if cost.hourly_usd > 0.0 {
        writeln!(
            out,
            "Cost: {:.4} USD an hour, at worst {:.2} USD (hosts end themselves after {})",
            cost.hourly_usd,
            cost.worst_case_usd,
            count(ttl_minutes, "minute")
        )?;
    }
    match cost.unpriced.len() as u64 {
        0 => Ok(()),
        n => writeln!(
            out,
            "Not in the cost: {} of unknown price (`price_usd_per_h` gives one)",
            count(n, "instance type")
        ),
    }
}

//! `bench doctor`: what is there, what is missing, and the fix for each.

use std::io::{self, Write};

use serde::Serialize;

use super::provider::RegistryArgs;
use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::doctor::{self, Check, State};
use crate::master::home::Home;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 3 where nothing could be run here, else with 0.\n\nExample:\n  bench doctor"
)]
pub struct Args {
    #[command(flatten)]
    registry: RegistryArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let registry = args.registry.load()?;
    let mut checks = doctor::examine(&context.home, &registry);
    let home = Home::new(&context.home);
    checks.push(block_on(async { Ok(doctor::earlier_runs(&home, &registry).await) })?);
    let usable = checks.iter().all(|check| check.state != State::Failed);
    context.output.show(&Findings { usable, checks });
    Ok(if usable { Exit::Done } else { Exit::Infrastructure })
}

#[derive(Serialize)]
struct Findings {
    /// Runs on this machine are possible.
    usable: bool,
    checks: Vec<Check>,
}

impl View for Findings {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let sign = match check.state {
                State::Ok => "ok     ",
                State::Warning => "warning",
                State::Failed => "FAILED ",
            };
            writeln!(out, "{sign}  {}: {}", check.name, check.found)?;
            if let Some(fix) = &check.fix {
                writeln!(out, "         fix: {fix}")?;
            }
        }
        Ok(())
    }
}

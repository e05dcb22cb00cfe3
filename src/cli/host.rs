//! `bench host`: the hosts of a run.

use std::io::{self, Write};

use clap::Subcommand;
use serde::Serialize;

use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::api::RunId;
use crate::master::extend::{self, ExtendError, shown};
use crate::master::home::Home;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let the hosts of a run live longer: no host has to be reached for it
    #[command(after_help = EXTEND)]
    Extend {
        /// The run: its id or `latest`
        run: String,
        /// How long they may live from now on, minutes
        #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(i64).range(1..=525_600))]
        ttl: i64,
    },
}

const EXTEND: &str = "\
Hosts ask for the new deadline when their old one has come. Their key bounds it: it is good for a day longer than
the deadline they were made with. Tags keep the first deadline.

Example:
  bench host extend latest --ttl 120";

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let Command::Extend { run, ttl } = args.command;
    let folder = Home::new(&context.home).find_run(&run).map_err(Failure::usage)?;
    let now = jiff::Timestamp::now().as_second();
    let expires_at = now + ttl * 60;
    block_on(async { extend::extend(&folder, expires_at, now).await.map_err(failure) })?;
    context.output.show(&Extended { run_id: folder.run_id.clone(), expires_at });
    Ok(Exit::Done)
}

fn failure(error: ExtendError) -> Failure {
    match error {
        ExtendError::NoHosts
        | ExtendError::TooLate(_)
        | ExtendError::NotLater { .. }
        | ExtendError::KeyEnds { .. } => Failure::usage(error),
        _ => Failure::infrastructure(error),
    }
}

#[derive(Serialize)]
struct Extended {
    run_id: RunId,
    /// Seconds since 1970.
    expires_at: i64,
}

impl View for Extended {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "run {}: its hosts may live until {}", self.run_id, shown(self.expires_at))
    }
}

//! `bench stop`: cancels a run from another process, whether its master lives or not.

use std::io::{self, Write};

use serde::Serialize;

use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::api::RunId;
use crate::master::home::Home;
use crate::master::record::RecordStatus;
use crate::master::stop::{self, StopError};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench stop latest")]
pub struct Args {
    /// The run: its id or `latest`
    run: String,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let folder = Home::new(&context.home).find_run(&args.run).map_err(Failure::usage)?;
    let run_id = folder.run_id.clone();
    let status = block_on(async { stop::stop(&folder).await.map_err(failure) })?;
    context.output.show(&Stopped { run_id, status });
    Ok(Exit::Done)
}

fn failure(error: StopError) -> Failure {
    Failure::infrastructure(error)
}

#[derive(Serialize)]
struct Stopped {
    run_id: RunId,
    status: RecordStatus,
}

impl View for Stopped {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "run {}: {}", self.run_id, self.status.word())
    }
}

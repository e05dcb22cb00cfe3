//! `bench supervise`: the process between the master and Terraform. Started by the master, not by people.

use std::path::PathBuf;

use super::{Context, Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench supervise .bench/runs/RUN/providers/NAME")]
pub struct Args {
    /// Folder of a provider instance that holds logs/job.json
    folder: PathBuf,
}

pub fn execute(args: Args, _context: &Context) -> Result<Exit, Failure> {
    crate::terraform::supervise(&args.folder).map(|()| Exit::Done).map_err(Failure::infrastructure)
}

//! `bench kernels`: the CPU and memory kernels in a process of their own. Started by the runner.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Context, Exit, Failure};
use crate::runner::kernels;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench kernels --results /tmp/kernels.json")]
pub struct Args {
    /// File for the measurements (JSON)
    #[arg(long)]
    results: PathBuf,
    /// Run these kernels only
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Small inputs: quick, and no measure of the machine
    #[arg(long)]
    quick: bool,
}

pub fn execute(args: Args, _context: &Context) -> Result<Exit, Failure> {
    let scale = if args.quick { kernels::Scale::Quick } else { kernels::Scale::Default };
    let options = kernels::Options { scale, only: args.only };
    let benchmarks = kernels::run(&options, &mut |_, _| {}).map_err(Failure::infrastructure)?;
    let json = serde_json::to_vec(&benchmarks).context("could not write the measurements as JSON");
    fs_err::write(args.results, json.map_err(Failure::infrastructure)?).map_err(Failure::infrastructure)?;
    Ok(Exit::Done)
}

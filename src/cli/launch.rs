//! `bench launch`: the launcher between a task runner and its workload. Started by the runner, not by people.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::{Context, Exit, Failure};
use crate::runner::launcher::{LaunchArgs, launch};
use crate::runner::{launch_server, topology};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench launch --report /tmp/report.json --cpus 1 -- sleep 1")]
pub struct Args {
    /// File for the report (JSON): times, memory, how it ended
    #[arg(long, required_unless_present = "serve")]
    report: Option<PathBuf>,
    /// Start launchers for the runner at the other end of standard input, a socket
    #[arg(long, requires = "parent", conflicts_with_all = ["report", "command"])]
    serve: bool,
    /// Logical CPUs to run on, e.g. 1 or 0-3; empty: as inherited
    #[arg(long, default_value = "", value_parser = cpu_list)]
    cpus: CpuList,
    /// Time between SIGTERM and SIGKILL when it is stopped, milliseconds
    #[arg(long, default_value_t = 5000)]
    grace_ms: u64,
    /// Process id of the runner; the launcher ends with it
    #[arg(long)]
    parent: Option<u32>,
    /// Folder to run in
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Program and arguments
    #[arg(last = true, required_unless_present = "serve")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone)]
pub struct CpuList(pub Vec<u32>);

pub fn cpu_list(text: &str) -> Result<CpuList, String> {
    topology::parse_list(text)
        .map(CpuList)
        .ok_or_else(|| "expected a list of logical CPUs such as 0-3,8".to_owned())
}

pub fn execute(args: Args, _context: &Context) -> Result<Exit, Failure> {
    if let (true, Some(parent)) = (args.serve, args.parent) {
        return launch_server::serve(parent).map(|()| Exit::Done).map_err(Failure::infrastructure);
    }
    let launched = launch(&LaunchArgs {
        report: args.report.expect("clap requires it without --serve"),
        cpus: args.cpus.0,
        grace: Duration::from_millis(args.grace_ms),
        parent: args.parent,
        directory: args.directory,
        env: BTreeMap::new(),
        command: args.command,
    });
    launched.map(|()| Exit::Done).map_err(Failure::infrastructure)
}

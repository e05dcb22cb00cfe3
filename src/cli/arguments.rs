//! What can be typed: the commands and the options that all of them take.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::Format;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a task failed or the run was stopped
  2    bad usage or config, a refused key included
  3    infrastructure or orchestrator failed
  4    resources left behind
  70   a bug in bench
  130  interrupted
  Where several apply: 4, then 130, 3, 1, 0.";

/// Runs any benchmark on any cloud's instance types from one JSON file, and leaves nothing running.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Args)]
pub struct Global {
    /// What stdout holds: text for people, or exactly one JSON value (errors too)
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    pub output: Format,
    /// Folder for runs, state and keys; results stand beside it
    #[arg(long, env = "BENCH_HOME", default_value = ".bench", global = true)]
    pub home: PathBuf,
    /// More log lines on stderr: -v info, -vv debug, -vvv everything, libraries too (BENCH_LOG takes tracing filters)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a benchmark as a config says, from plan to results
    Run(Box<super::run::Args>),
    /// Show where runs stand
    Status(super::status::Args),
    /// Stop a run
    Stop(super::stop::Args),
    /// Look after the hosts of a run
    Host(super::host::Args),
    /// Print a run's results again
    Results(super::results::Args),
    /// Show what a config would make: hosts, task runners, tasks and cost. Creates nothing
    Plan(super::plan::Args),
    /// Check a config, or print its JSON Schema
    Config(super::config::Args),
    /// List and show provider backends
    Provider(super::provider::Args),
    /// Serve runs to task runners anywhere; look after its keys and database
    Orchestrator(super::orchestrator::Args),
    /// Remove what runs left in clouds: find it by state and by tag, delete it, look again
    Nuke(Box<super::nuke::Args>),
    /// Say what is there and what is missing on this machine, each with the fix
    Doctor(super::doctor::Args),
    /// Print a completion script for a shell
    Completions(super::completions::Args),
    /// Run tasks on this host: claim, measure, upload
    Runner(Box<super::runner::Args>),
    /// Run the CPU and memory kernels (used by the task runner)
    #[command(hide = true)]
    Kernels(super::kernels::Args),
    /// Start, measure and end one process of a workload (used by the task runner)
    #[command(hide = true)]
    Launch(super::launch::Args),
    /// Run Terraform in a folder and write down how it ends (used by `bench run`)
    #[command(hide = true)]
    Supervise(super::supervise::Args),
}

impl Command {
    /// Whether the command was told to log all that it does.
    pub fn debug(&self) -> bool {
        match self {
            Self::Run(args) => args.debug,
            Self::Runner(args) => args.debug,
            _ => false,
        }
    }
}

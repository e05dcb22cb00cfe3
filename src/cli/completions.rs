//! `bench completions`: a script that completes commands and options.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Cli;
use super::{Context, Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench completions bash > /etc/bash_completion.d/bench")]
pub struct Args {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

pub fn execute(args: Args, _context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bench", &mut script);
    // A reader that went away is not an error.
    let _ = std::io::stdout().write_all(&script);
    Ok(Exit::Done)
}

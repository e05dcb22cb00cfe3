//! `bench completions`: a script that completes commands and options.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

use super::arguments::Cli;
use super::output::View;
use super::{Context, Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bench completions bash > /etc/bash_completion.d/bench")]
pub struct Args {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// The script alone for people and shells; beside the shell's name in JSON.
#[derive(Serialize)]
struct Completions {
    shell: String,
    script: String,
}

impl View for Completions {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.script.as_bytes())
    }
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bench", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    context.output.show(&Completions { shell: args.shell.to_string(), script });
    Ok(Exit::Done)
}

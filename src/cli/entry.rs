//! From the process's arguments to its exit code.

use std::io::IsTerminal;
use std::panic;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use super::arguments::{Cli, Command, Global};
use super::{Context, Exit, Failure, Format, Output, output};

/// How many `-v` the option `--debug` of a command stands for.
const DEBUG: u8 = 2;

/// Parses, starts logging, runs one command and maps its result to an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage_error(&error).code()),
    };
    let context = context(&cli);
    start_logging(context.verbose);
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| execute(cli.command, &context)));
    let exit = match outcome {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            context.output.fail(&failure);
            failure.exit
        }
        // The panic hook has already printed what and where.
        Err(_) => {
            let error = anyhow::anyhow!("bench met a condition it believed impossible");
            let failure = Failure::new(Exit::Bug, error)
                .hint("please report it with the lines above; RUST_BACKTRACE=1 adds where it came from");
            context.output.fail(&failure);
            Exit::Bug
        }
    };
    let written = if output::is_cut() { Exit::Infrastructure } else { Exit::Done };
    ExitCode::from(Exit::most_important([exit, written]).code())
}

fn execute(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => super::run::execute(*args, context),
        Command::Status(args) => super::status::execute(args, context),
        Command::Stop(args) => super::stop::execute(args, context),
        Command::Host(args) => super::host::execute(args, context),
        Command::Results(args) => super::results::execute(args, context),
        Command::Nuke(args) => super::nuke::execute(*args, context),
        Command::Doctor(args) => super::doctor::execute(args, context),
        Command::Config(args) => super::config::execute(args, context),
        Command::Plan(args) => super::plan::execute(args, context),
        Command::Provider(args) => super::provider::execute(args, context),
        Command::Orchestrator(args) => super::orchestrator::execute(args, context),
        Command::Completions(args) => super::completions::execute(args, context),
        Command::Kernels(args) => super::kernels::execute(args, context),
        Command::Runner(args) => super::runner::execute(*args, context),
        Command::Launch(args) => super::launch::execute(args, context),
        Command::Supervise(args) => super::supervise::execute(args, context),
    }
}

fn context(cli: &Cli) -> Context {
    let Global { output, home, verbose } = &cli.global;
    let verbose = if cli.command.debug() { DEBUG.max(*verbose) } else { *verbose };
    Context { output: Output { format: *output }, home: home.clone(), verbose }
}

/// Help and version are answers; anything else is bad usage, in JSON where JSON was asked for.
fn usage_error(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A reader that went away is no reason to fail.
        let _ = error.print();
        return Exit::Done;
    }
    if asks_for_json(std::env::args_os().map(|a| a.to_string_lossy().into_owned())) {
        let text = error.to_string();
        let message = text.trim_end().strip_prefix("error: ").unwrap_or(&text).to_owned();
        Output { format: Format::Json }.fail(&Failure::usage(anyhow::anyhow!(message)));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

/// Arguments that do not parse may still say which form the error should have.
fn asks_for_json(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.collect();
    arguments.iter().any(|a| a == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

/// Logs go to stderr: warnings by default, more with `-v` or by `BENCH_LOG`.
fn start_logging(verbose: u8) {
    let level = match verbose {
        // What is wrong with a server's certificate stands in the error of the request.
        0 => "warn,rustls_platform_verifier=off",
        1 => "warn,bench=info",
        // What libraries tell of connections would bury what this program does.
        2 => "warn,bench=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("BENCH_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let stderr = std::io::stderr;
    // Colours are for terminals, where NO_COLOR (https://no-color.org) does not forbid them.
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(colours).init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn debug_raises_the_logging_of_its_command_and_never_lowers_it() {
        let verbose = |line: &str| context(&Cli::try_parse_from(line.split(' ')).expect("it parses")).verbose;
        let runner =
            "bench runner --orchestrator-url http://127.0.0.1:1 --run-id r --provider p --instance-type t";
        assert_eq!(verbose(runner), 0);
        assert_eq!(verbose(&format!("{runner} --debug")), 2);
        assert_eq!(verbose(&format!("{runner} --debug -vvv")), 3);
        assert_eq!(verbose("bench run config.json -v"), 1);
        assert_eq!(verbose("bench run config.json --debug"), 2);
    }

    #[test]
    fn json_is_recognised_in_arguments_that_do_not_parse() {
        let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        assert!(asks_for_json(args("bench --output json pln")));
        assert!(asks_for_json(args("bench pln --output=json")));
        assert!(!asks_for_json(args("bench pln --output human")));
    }
}

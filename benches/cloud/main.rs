//! What `bench` adds to Terraform: real Terraform and its AWS provider on moto, through the release binary.
//!
//! ```text
//!  cargo bench --bench cloud                      everything, medians of three rounds: 25 minutes
//!  cargo bench --bench cloud -- mixed             one figure: mixed, three, twenty, init or five
//!  cargo bench --bench cloud -- --quick           one round of each
//! ```
//!
//! | name | compared |
//! |---|---|
//! | `mixed` | two AWS provider instances and `loopback` in one run / the slowest of them in a run of its own |
//! | `three` | three AWS provider instances in one run / one of them; beside it the same by Terraform alone |
//! | `twenty` | 20 instances: `terraform apply` inside a run / by hand; `bench nuke` / `terraform destroy` by hand |
//! | `init` | what a second run does in place of `terraform init` / the cheapest `terraform init` by hand |
//! | `five` | `bench nuke` of five provider instances / five `terraform destroy` side by side |
//!
//! How a time is taken:
//!
//! - **Provisioning** (`mixed`, `three`) is from the journal's first `set_up_provider` to its last `hosts_up`: from the
//!   moment at which the run begins with its provider instances until Terraform has made all hosts. What comes before
//!   (config, credentials, orchestrator) is once a run, and what comes after is the hosts' own boot, which moto has not.
//! - **Terraform inside a run** (`twenty`) is from `logs/job.json`, written before its start, to `logs/exit.json`,
//!   written after its end.
//! - **Init inside a run** is from the ledger's intent to Terraform's start: files rendered and written, providers
//!   brought. It is measured in runs after a first one.
//! - **Nuke** is its process from start to end without the time in which it lists, or waits for its second listing
//!   (`listing_seconds` of its report).
//! - **By hand** is the process from start to end, in folders that `bench plan --render` wrote, with `-parallelism=30`.
//!
//! The sides of a figure take turns. All is in one home folder, as on a user's machine: runs after the first one find
//! their providers, and take a look at what earlier ones left.
//!
//! It needs `terraform`, `moto_server` and `aws` in `PATH`, and the AWS provider: from the registry, or from a mirror
//! that `TF_CLI_CONFIG_FILE` names. Ports are free ones, nothing stays behind.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its figures")]

mod figures;
mod hand;
mod master;
mod needs;
mod servers;
mod times;
mod world;

use std::process::ExitCode;

use figures::{FIGURES, Figure};
use world::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let chosen = match choose(&arguments) {
        Ok(chosen) => chosen,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 1 } else { 3 };
    if let Err(missing) = needs::check() {
        eprintln!("this benchmark cannot be run here: {missing}");
        return ExitCode::from(2);
    }
    let world = World::new();
    if let Err(missing) = needs::check_provider(&world) {
        eprintln!("this benchmark cannot be run here: {missing}");
        return ExitCode::from(2);
    }
    println!("medians of {rounds}; seconds beside the ratios");
    println!("{:<72} {:>6}   {:<8}", "figure", "found", "bar");
    for (_, figure) in chosen {
        figure(&world, rounds);
    }
    ExitCode::SUCCESS
}

/// The named figures, or all.
fn choose(arguments: &[String]) -> Result<Vec<(&'static str, Figure)>, String> {
    let names: Vec<&String> = arguments.iter().filter(|argument| *argument != "--quick").collect();
    let known: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no figure `{unknown}`: {}, or --quick", known.join(", ")));
    }
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| *chosen == name);
    Ok(FIGURES.into_iter().filter(|(name, _)| is_chosen(name)).collect())
}

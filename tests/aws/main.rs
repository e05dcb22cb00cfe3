//! Whole runs on AWS: the real `bench`, Terraform and provider against moto, whose instances boot: each one's
//! user-data is really executed, with stand-ins only for what a machine's image or Docker would bring.
//!
//! Left out, and said so, where terraform, python, moto, the AWS CLI, AWS's provider or the right to make namespaces is
//! missing; with `BENCH_REQUIRE_AWS` set that is a failure.

#![expect(clippy::print_stderr, reason = "says what is left out and why")]

#[path = "../common/mod.rs"]
mod common;

mod cloud;
mod runs;
mod tools;
mod trouble;
mod whole;
mod world;

use std::process::ExitCode;
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Trial};
use tools::Tools;

/// They wait for the cloud for most of their time.
const AT_ONCE: usize = 3;

type Test = fn(&'static Tools);

macro_rules! tests {
    ($($module:ident::$name:ident,)*) => {
        [$((stringify!($name), $module::$name as Test)),*]
    };
}

/// A machine that makes users needs more than one, which nobody but root can give it.
fn left_to_root(name: &str) -> bool {
    let made_in_the_cloud = [
        "an_orchestrator_that_the_run_makes_in_the_cloud_serves_it_until_nuke_ends_it",
        "an_orchestrator_that_is_idle_ends_itself_but_not_under_a_run",
    ];
    let left = made_in_the_cloud.contains(&name) && !nix::unistd::geteuid().is_root();
    if left {
        eprintln!("left out: {name}: it makes a user, which takes root");
    }
    left
}

fn main() -> ExitCode {
    static TOOLS: LazyLock<Result<Tools, String>> = LazyLock::new(tools::find);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    if !arguments.list
        && let Err(why) = &*TOOLS
    {
        assert!(std::env::var_os("BENCH_REQUIRE_AWS").is_none(), "{why}, and it may not be left out");
        eprintln!("left out: whole runs on AWS: {why}");
    }
    // The slow ones first.
    let tests = tests![
        whole::an_orchestrator_that_is_idle_ends_itself_but_not_under_a_run,
        trouble::hosts_that_hang_are_named_with_their_stage_replaced_once_and_given_up,
        trouble::a_region_without_capacity_is_given_up_in_bounded_time,
        whole::an_orchestrator_that_the_run_makes_in_the_cloud_serves_it_until_nuke_ends_it,
        trouble::an_api_that_refuses_three_calls_of_ten_only_takes_longer,
        trouble::a_region_that_refuses_half_way_sinks_no_other_and_its_first_host_does_the_tasks,
        whole::two_regions_and_this_machine_measure_side_by_side_and_leave_nothing,
    ];
    let trial = |(name, test): (&'static str, Test)| {
        let ignored = !arguments.list && (TOOLS.is_err() || left_to_root(name));
        let run = move || {
            test(TOOLS.as_ref()?);
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

//! Runs that die in chosen ways, one fault of `scripts/soak.py` each: real Terraform on moto, real signals, a proxy that
//! makes calls slow or refuses them. The script judges what lives afterwards, decoys, ledger, exit codes and reports.
//!
//! Left out, and said so, where terraform, AWS's provider, the AWS CLI, moto or boto3 is missing; with
//! `BENCH_REQUIRE_AWS` set that is a failure.

#![expect(clippy::print_stderr, reason = "says what is left out and why")]

mod common;

use std::process::Command;

use common::{describe, repository};

/// The exit code with which the script says that it cannot be tried here.
const CANNOT: i32 = 2;

fn survives(fault: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .arg(repository("scripts/soak.py"))
        .args(["--seed", "1", "--count", "1", "--lanes", "1", "--only", fault])
        .args(["--bench", env!("CARGO_BIN_EXE_bench")])
        .arg("--output")
        .arg(folder.path().join("soak.jsonl"))
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    if output.status.code() == Some(CANNOT) && std::env::var_os("BENCH_REQUIRE_AWS").is_none() {
        eprintln!("left out: {fault}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("   0 "), "{}", describe(&output));
    assert!(said.contains("1 faults: 0 leaks, 0 foreign deletions, 0 false"), "{}", describe(&output));
}

#[test]
fn a_master_killed_during_the_apply_is_resumed_without_a_second_of_anything() {
    survives("master_killed_then_resume");
}

#[test]
fn a_terraform_killed_with_its_master_is_resumed_without_a_second_of_anything() {
    survives("terraform_killed_then_resume");
}

#[test]
fn an_interrupt_with_machines_in_flight_leaves_none_of_them() {
    survives("interrupted_with_instances_in_flight");
}

#[test]
fn a_listing_that_is_refused_makes_nuke_say_that_its_scan_is_incomplete() {
    survives("listing_forbidden");
}

#[test]
fn a_subnet_of_somebody_else_in_our_network_lives_and_is_named() {
    survives("foreign_subnet");
}

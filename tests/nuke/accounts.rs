//! Where it looks, and where it does not touch anything.

use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use super::toy::Toy;

#[test]
fn credentials_of_another_account_touch_nothing() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    std::fs::write(toy.cloud().join("account"), "2").unwrap();
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, toy.calls("delete"), toy.living().len()), (4, 0, 6), "{:#}", answer.report);
    let why = answer.report["refused"][0]["why"].as_str().unwrap();
    assert!(why.contains("account 2") && why.contains("ledger's is 1"), "{why}");
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_even_asked() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    let output = toy.command(&["nuke"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), toy.calls("")), (Some(2), 0), "{told}");
    assert!(told.contains("--yes") && told.contains("--dry-run"), "{told}");
    assert_eq!(toy.living().len(), 6);
}

#[test]
fn every_region_that_was_used_is_visited_and_all_regions_finds_the_rest() {
    let toy = Toy::new();
    for region in ["north", "south"] {
        toy.intend("r1", region);
    }
    for region in ["north", "south", "west"] {
        toy.make_run("r1", region);
    }
    assert_eq!(toy.nuke(&[]).code, 0);
    let left = toy.living();
    assert!(left.len() == 6 && left.iter().all(|path| path.starts_with("west/")), "{left:?}");
    let answer = toy.nuke(&["--all-regions"]);
    assert_eq!((answer.code, toy.living().len()), (0, 0), "{:#}", answer.report);
    assert_eq!(answer.outcome("m-r1"), "deleted");
}

#[test]
fn a_backend_that_is_no_longer_there_is_no_reason_to_say_that_nothing_is_left() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    let mut command = toy.sandbox.bench(&["nuke", "--yes"]);
    let output = command.env("BENCH_OWNER", "me").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("backend toy") && !said.contains("nothing left"), "{said}");
}

#[test]
fn a_run_whose_master_lives_is_left_to_it() {
    let toy = Toy::new();
    for run in ["r1", "r2"] {
        toy.intend(run, "north");
        toy.make_run(run, "north");
    }
    let folder = toy.home().join("runs/r1");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("master.lock")).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let answer = toy.nuke(&[]);
    assert_eq!(answer.code, 4, "{:#}", answer.report);
    assert!(toy.lives("north", "machine", "m-r1") && !toy.lives("north", "machine", "m-r2"));
    assert!(answer.report["refused"].to_string().contains("bench stop r1"), "{:#}", answer.report);
    drop(lock);
    assert_eq!((toy.nuke(&[]).code, toy.living().len()), (0, 0));
}

#[test]
fn the_quick_look_names_what_is_left_and_what_it_costs() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    let (code, clean) = doctor(&toy);
    assert!(code == 0 && clean["state"] == "ok", "{clean}");
    toy.make_run("r1", "north");
    let (_, leak) = doctor(&toy);
    assert_eq!(leak["state"], "warning");
    assert!(
        leak["found"].as_str().unwrap().contains("run r1 left 3 resources behind, 0.2601 USD/h"),
        "{leak}"
    );
    assert_eq!(leak["fix"], "bench nuke --run-id r1");
    assert_eq!(toy.calls("delete"), 0);
}

fn doctor(toy: &Toy) -> (i32, serde_json::Value) {
    let output = toy.command(&["doctor", "--output", "json"]).output().unwrap();
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    let leaks = checks.iter().find(|check| check["name"] == "earlier runs");
    (output.status.code().unwrap(), leaks.cloned().unwrap_or(json!(null)))
}

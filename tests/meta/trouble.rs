//! What goes wrong while it is made.

use std::time::Duration;

use bench::master::meta::{MetaError, MetaStep};
use bench::terraform::State;
use serde_json::json;

use crate::setup::{Place, terraform_is_there, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_fails_is_taken_back_and_says_what_to_do() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let master = place.master(json!({ "boot": "fail" }), |_| {});
    let error = master.stack.open().await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("make some room"), "{text}");
    assert_eq!(master.told.steps().last(), Some(&MetaStep::Destroying));
    assert!(place.record().is_none());
    let state = State::read(&place.home().root().join("meta/terraform.tfstate")).unwrap().unwrap();
    assert_eq!(state.resources, []);
    let ledger = fs_err::read_to_string(place.home().root().join("ledger.jsonl")).unwrap();
    assert!(ledger.contains("\"destroyed\""), "{ledger}");
    // And the next attempt is a first one again.
    let opened = place.master(json!({}), |_| {}).stack.open().await.unwrap();
    opened.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_answers_is_named_and_later_replaced() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let soon = Duration::from_secs(2);
    let master = place.master(json!({ "boot": "hang" }), |setup| setup.patience.boot = soon);
    let opened = master.stack.open().await.unwrap();
    let error = opened.ready().await.unwrap_err();
    let text = error.to_string();
    let log = place.machine().join("log").display().to_string();
    assert!(text.contains("machine-tester") && text.contains(&log), "{text}");
    assert!(text.contains("bench nuke --run-id meta-tester"), "{text}");
    drop(opened);

    // The next run finds the machine there, waits once more, and has it replaced.
    let master = place.master(json!({}), |setup| setup.patience.boot = Duration::from_secs(4));
    let opened = master.stack.open().await.unwrap();
    opened.ready().await.unwrap();
    assert_eq!(place.record().unwrap().generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_master_left_at_work_is_waited_for_and_used() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let master = place.master(json!({ "gate": place.gate() }), |_| {});
    let dies = tokio::spawn(master.stack.open());
    until("the machine is being made", || place.boots() == 1).await;
    dies.abort();
    assert!(dies.await.is_err());
    let next = place.master(json!({ "gate": place.gate() }), |_| {});
    let told = next.told.clone();
    let opened = tokio::spawn(next.stack.open());
    until("the next master adopts it", || told.steps().contains(&MetaStep::Adopting)).await;
    fs_err::write(place.gate(), "").unwrap();
    let opened = opened.await.unwrap().unwrap();
    opened.ready().await.unwrap();
    assert_eq!(place.boots(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_terraform_that_died_lost_is_swept_before_it_is_made_again() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let master = place.master(json!({ "gate": place.gate() }), |_| {});
    let dies = tokio::spawn(master.stack.open());
    until("the machine is being made", || place.boots() == 1 && place.machine().join("pid").exists()).await;
    dies.abort();
    assert!(dies.await.is_err());
    let first = fs_err::read_to_string(place.machine().join("pid")).unwrap();
    let folder = place.home().root().join("meta");
    let process = fs_err::read_to_string(folder.join("logs/process")).unwrap();
    let terraform = process.lines().nth(1).unwrap().split(' ').next().unwrap();
    let pid = nix::unistd::Pid::from_raw(terraform.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("its end is written down", || folder.join("logs/exit.json").exists()).await;
    // What a cloud's machine in the making is to the state: nothing.
    fs_err::remove_file(folder.join("terraform.tfstate")).unwrap();
    fs_err::write(place.gate(), "").unwrap();

    let opened = place.master(json!({}), |_| {}).stack.open().await.unwrap();
    opened.ready().await.unwrap();
    assert_eq!(place.boots(), 1, "a folder of its own, not the lost one's");
    until("the end of what ran on the lost machine", || {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", first.trim())).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_while_it_is_made_leaves_nothing() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let master = place.master(json!({ "gate": place.gate() }), |_| {});
    let opened = tokio::spawn(master.stack.open());
    until("the machine is being made", || place.boots() == 1).await;
    master.interrupt.send_replace(1);
    let error = opened.await.unwrap().err().unwrap();
    assert!(matches!(error, MetaError::Interrupted), "{error}");
    let state = State::read(&place.home().root().join("meta/terraform.tfstate")).unwrap().unwrap();
    assert_eq!(state.resources, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_make_one_only_what_answers_is_used() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let master = place.master(json!({}), |setup| setup.may_make = false);
    let error = master.stack.open().await.err().unwrap().to_string();
    assert!(error.contains("--orchestrator-url"), "{error}");
    assert!(!place.machine().exists());
}

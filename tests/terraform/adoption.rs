//! The caller dies, Terraform lives on, the next caller adopts it.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use bench::terraform::{Adopted, EventKind, JobState, TerraformError};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::setup::{Run, Told, is_alive, quiet, signal, terraform_is_there, until};

const FOLDER: &str = "BENCH_TEST_RUN_FOLDER";

/// What a process does that is going to be killed: not a test of its own.
#[tokio::test]
#[ignore = "the caller of other tests, started by them"]
async fn caller() {
    let run = Run::at(std::env::var_os(FOLDER).expect("started by another test").into());
    let _ = run.workspace("here").apply(&mut quiet).await;
}

/// Starts a process that applies, in a process group of its own as a shell would. A job in the background of
/// a script ignores interrupts, and so would all that it starts.
fn start_caller(run: &Run) -> Child {
    Command::new("env")
        .arg("--default-signal=INT")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "adoption::caller", "--ignored"])
        .env(FOLDER, &run.root)
        .process_group(0)
        .spawn()
        .unwrap()
}

fn terraform(state: &JobState) -> Option<i32> {
    match state {
        JobState::Running { process: Some(process), .. } => Some(process.pid),
        _ => None,
    }
}

/// Two hosts are half made, and stay so until the gate opens.
async fn half_way(run: &Run) -> (bench::terraform::Workspace, Child) {
    let workspace = run.prepared("here", json!({ "gate": run.gate() })).await;
    let caller = start_caller(run);
    until("hosts are being made", || run.runners().len() == 3).await;
    (workspace, caller)
}

async fn is_adopted(run: &Run, workspace: &bench::terraform::Workspace) {
    assert!(terraform(&workspace.state().unwrap()).is_some(), "{:?}", workspace.state());
    let busy = workspace.apply(&mut quiet).await.unwrap_err();
    assert!(matches!(busy, TerraformError::Busy { .. }), "{busy}");
    run.open_gate();
    let mut told = Told::default();
    let Adopted::Applied(applied) = workspace.adopt(&mut told.watch()).await.unwrap() else {
        panic!("not an apply")
    };
    assert_eq!((applied.progress.created, applied.instances.len()), (4, 2));
    assert!(matches!(told.0[0].kind, EventKind::Version { .. }), "told from the beginning");
    // Once more, after its end: the same answer.
    let again = workspace.adopt(&mut quiet).await.unwrap();
    assert!(matches!(again, Adopted::Applied(again) if again == applied));
    assert_eq!(workspace.apply(&mut quiet).await.unwrap().progress.planned, 0);
    assert_eq!(run.runners().len(), 3);
    assert_eq!(workspace.destroy(&mut quiet).await.unwrap().progress.destroyed, 4);
}

#[tokio::test]
async fn terraform_outlives_a_killed_caller_and_is_adopted() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let (workspace, mut caller) = half_way(&run).await;
    caller.kill().unwrap();
    caller.wait().unwrap();
    is_adopted(&run, &workspace).await;
}

#[tokio::test]
async fn a_terminals_interrupt_does_not_reach_terraform() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let (workspace, mut caller) = half_way(&run).await;
    signal(-(caller.id() as i32), Signal::SIGINT);
    caller.wait().unwrap();
    is_adopted(&run, &workspace).await;
}

#[tokio::test]
async fn terraform_outlives_its_supervisor_too_and_then_nobody_knows_how_it_ended() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let (workspace, mut caller) = half_way(&run).await;
    let pid = terraform(&workspace.state().unwrap()).unwrap();
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let supervisor: i32 =
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(supervisor, caller.id() as i32);
    signal(supervisor, Signal::SIGKILL);
    caller.kill().unwrap();
    caller.wait().unwrap();
    until("the supervisor is gone", || !is_alive(supervisor as u32)).await;
    let busy = workspace.apply(&mut quiet).await.unwrap_err();
    assert!(matches!(busy, TerraformError::Busy { .. }), "{busy}");
    run.open_gate();
    let lost = workspace.adopt(&mut quiet).await.unwrap_err();
    let TerraformError::Lost { progress, .. } = &lost else { panic!("{lost}") };
    assert_eq!(progress.created, 4);
    assert!(lost.needs_sweep());
    // Everything it made is in its state all the same.
    assert_eq!(workspace.apply(&mut quiet).await.unwrap().progress.planned, 0);
    assert_eq!(workspace.destroy(&mut quiet).await.unwrap().progress.destroyed, 4);
}

#[tokio::test]
async fn where_nothing_was_started_there_is_nothing_to_adopt() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    assert_eq!(run.workspace("never").adopt(&mut quiet).await.unwrap(), Adopted::Nothing);
    let workspace = run.prepared("here", json!({})).await;
    assert_eq!(workspace.adopt(&mut quiet).await.unwrap(), Adopted::Nothing);
}

//! Stopped on request, and killed against all advice.

use bench::terraform::{Interrupted, JobState, TerraformError};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::setup::{Run, quiet, signal, terraform_is_there, until};

#[tokio::test]
async fn one_interrupt_stops_gracefully_and_what_was_made_is_in_the_state() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.prepared("here", json!({ "gate": run.gate() })).await;
    let interrupting = async {
        until("hosts are being made", || run.runners().len() == 3).await;
        let first = workspace.interrupt().await.unwrap();
        (first, workspace.interrupt().await.unwrap())
    };
    let mut watcher = quiet;
    let (applied, (first, second)) = tokio::join!(workspace.apply(&mut watcher), interrupting);
    assert_eq!(first, Interrupted::Sent);
    // Terraform may have ended by then.
    assert!(matches!(second, Interrupted::Already | Interrupted::NotRunning), "{second:?}");
    let error = applied.unwrap_err();
    assert!(matches!(error, TerraformError::Interrupted { .. }), "{error}");
    assert!(error.needs_sweep());
    assert_eq!(workspace.interrupt().await.unwrap(), Interrupted::NotRunning);

    let (_, state) = workspace.recover().found.unwrap();
    let tainted: Vec<&str> = state
        .resources
        .iter()
        .filter(|resource| resource.tainted)
        .map(|resource| resource.address.as_str())
        .collect();
    assert_eq!(tainted, ["terraform_data.boot[\"one-0\"]", "terraform_data.boot[\"two-0\"]"]);
    assert_eq!(state.resources.len(), 4);
    // A healthy host is kept by taking the mark back.
    workspace.untaint(tainted[0]).await.unwrap();
    run.open_gate();
    let applied = workspace.apply(&mut quiet).await.unwrap();
    assert_eq!((applied.progress.created, applied.progress.destroyed), (1, 1));
    assert_eq!(workspace.destroy(&mut quiet).await.unwrap().progress.destroyed, 4);
    assert!(run.runners().is_empty());
}

#[tokio::test]
async fn a_killed_terraform_is_a_failure_after_which_a_sweep_is_due() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.prepared("here", json!({ "gate": run.gate() })).await;
    let killing = async {
        until("hosts are being made", || run.runners().len() == 3).await;
        let JobState::Running { process: Some(process), .. } = workspace.state().unwrap() else {
            panic!("{:?}", workspace.state())
        };
        signal(process.pid, Signal::SIGKILL);
    };
    let mut watcher = quiet;
    let (applied, ()) = tokio::join!(workspace.apply(&mut watcher), killing);
    let error = applied.unwrap_err();
    assert!(matches!(error, TerraformError::Failed { status: None, .. }), "{error:?}");
    assert!(error.needs_sweep());
}

//! Rendered, applied, applied again, destroyed.

use std::os::unix::fs::PermissionsExt as _;

use bench::terraform::{EventKind, JobState, Operation, State};
use serde_json::json;

use crate::setup::{Run, Told, is_alive, quiet, terraform_is_there};

#[tokio::test]
async fn hosts_are_made_once_and_destroyed_with_all_that_runs_on_them() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.prepared("here", json!({})).await;
    let mut told = Told::default();
    let applied = workspace.apply(&mut told.watch()).await.unwrap();

    assert!(matches!(told.0[0].kind, EventKind::Version { .. }), "{:?}", told.0[0]);
    assert!(told.0.iter().any(|event| matches!(event.kind, EventKind::ChangeSummary { add: 4, .. })));
    assert_eq!((applied.progress.planned, applied.progress.created, applied.progress.failed), (4, 4, 0));
    assert_eq!(applied.instances.keys().collect::<Vec<_>>(), ["one-0", "two-0"]);
    let two = &applied.instances["two-0"];
    assert_eq!((two.instance_type.as_str(), two.alias.as_str()), ("double", "two"));
    assert_eq!(applied.outputs["run_id"], "20261120-101500-test");
    let runners = run.runners();
    assert_eq!(runners.len(), 3);
    assert!(runners.iter().all(|pid| is_alive(*pid)), "{runners:?}");
    assert_eq!(workspace.state().unwrap(), JobState::Ended { operation: Operation::Apply, status: Some(0) });

    let again = workspace.apply(&mut quiet).await.unwrap();
    assert_eq!((again.progress.planned, again.instances), (0, applied.instances));

    let destroyed = workspace.destroy(&mut quiet).await.unwrap();
    assert_eq!((destroyed.progress.destroyed, destroyed.remaining), (4, vec![]));
    assert!(runners.iter().all(|pid| !is_alive(*pid)), "{runners:?}");
    assert_eq!(workspace.destroy(&mut quiet).await.unwrap().progress.destroyed, 0);
}

#[tokio::test]
async fn everything_written_is_private_and_the_state_is_copied() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.prepared("here", json!({})).await;
    workspace.apply(&mut quiet).await.unwrap();
    let mut folders = vec![workspace.folder().to_owned(), run.hosts().join("20261120-101500-test")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        }
    }
    assert!(files > 10, "{files} files were looked at");
    let copy = State::read(&run.root.join("copies/here.tfstate")).unwrap().unwrap();
    assert_eq!(copy.resources.len(), 4);
    assert_eq!(copy.belongs_to("20261120-101500-test"), Some(true));
    workspace.destroy(&mut quiet).await.unwrap();
}

#[tokio::test]
async fn provider_instances_of_one_backend_are_initialised_once_and_live_side_by_side() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let (left, right) = tokio::join!(run.prepared("left", json!({})), run.prepared("right", json!({})));
    let initialised = fs_err::read_dir(run.root.join("init"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(initialised.count(), 1);
    let (mut first, mut second) = (quiet, quiet);
    let (a, b) = tokio::join!(left.apply(&mut first), right.apply(&mut second));
    assert_eq!((a.unwrap().instances.len(), b.unwrap().instances.len()), (2, 2));
    assert_eq!(run.runners().len(), 6);
    left.destroy(&mut quiet).await.unwrap();
    assert_eq!(run.runners().len(), 3);
    right.destroy(&mut quiet).await.unwrap();
}

#[tokio::test]
async fn a_lost_state_is_put_back_from_its_copy_before_a_destroy() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.prepared("here", json!({})).await;
    workspace.apply(&mut quiet).await.unwrap();
    for name in ["terraform.tfstate", "terraform.tfstate.backup"] {
        let _ = fs_err::remove_file(workspace.folder().join(name));
    }
    fs_err::write(workspace.folder().join("terraform.tfstate"), "{\"version\": 4, \"ser").unwrap();
    let recovered = workspace.recover();
    assert_eq!(recovered.unreadable.len(), 1);
    let restored = workspace.restore_state().unwrap().unwrap();
    assert_eq!(restored.resources.len(), 4);
    let destroyed = workspace.destroy(&mut quiet).await.unwrap();
    assert_eq!(destroyed.progress.destroyed, 4);
    assert!(run.runners().is_empty());
}

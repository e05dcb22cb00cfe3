//! What fails is classed by the cloud's own code, and says what to do next.

use bench::terraform::{FailureClass, JobState, Operation, TerraformError, Tools};
use serde_json::json;

use crate::setup::{Run, quiet, terraform_is_there};

#[tokio::test]
async fn failures_are_classed_by_the_backends_table() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    for (code, class) in [
        ("TooManyHosts", FailureClass::Quota),
        ("NoRoomLeft", FailureClass::Capacity),
        ("NotLetIn", FailureClass::Credentials),
        ("SlowDown", FailureClass::Throttling),
        ("InvalidHostName", FailureClass::Invalid),
        ("NeverHeardOf", FailureClass::Unknown),
    ] {
        let workspace = run.prepared("here", json!({ "fail_with": code })).await;
        let error = workspace.apply(&mut quiet).await.unwrap_err();
        let TerraformError::Failed { status, diagnosis, progress, .. } = &error else { panic!("{error}") };
        assert_eq!((*status, diagnosis.class, diagnosis.code.as_deref()), (Some(1), class, Some(code)));
        assert_eq!((progress.failed, progress.errors.len()), (1, 1));
        let address = diagnosis.diagnostic.as_ref().and_then(|diagnostic| diagnostic.address.as_deref());
        assert_eq!(address, Some("terraform_data.fault[0]"));
        assert!(error.needs_sweep());
        assert!(!error.next_step().is_empty());
    }
    let workspace = run.workspace("here");
    let TerraformError::Failed { diagnosis, .. } = ({
        workspace.prepare(&run.rendered("here", json!({ "fail_with": "TooManyHosts" })).files).unwrap();
        workspace.apply(&mut quiet).await.unwrap_err()
    }) else {
        panic!("not a failure")
    };
    assert_eq!(diagnosis.next_step, "plan fewer hosts");
    workspace.destroy(&mut quiet).await.unwrap();
    assert!(run.runners().is_empty());
}

#[tokio::test]
async fn a_module_that_terraform_refuses_is_named_and_needs_no_sweep() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    let workspace = run.workspace("here");
    let mut rendered = run.rendered("here", json!({}));
    rendered.files.insert("broken.tf", "resource \"terraform_data\" {}\n");
    workspace.prepare(&rendered.files).unwrap();
    let error = workspace.init(&run.cache()).await.unwrap_err();
    let TerraformError::Failed { operation: Operation::Init, stderr, .. } = &error else { panic!("{error}") };
    assert!(stderr.contains("broken.tf"), "{stderr}");
    assert!(error.to_string().contains("Missing name for resource"), "{error}");
    assert!(!error.needs_sweep());
    // Corrected, it works: a failed init leaves nothing that is taken for a good one.
    let rendered = run.rendered("here", json!({}));
    workspace.prepare(&rendered.files).unwrap();
    workspace.init(&run.cache()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    if !terraform_is_there() {
        return;
    }
    let run = Run::new();
    run.prepared("here", json!({})).await;
    let good = Tools { bench: env!("CARGO_BIN_EXE_bench").into(), ..Tools::find().unwrap() };

    let mut no_terraform = good.clone();
    no_terraform.terraform.program = run.root.join("no-such-terraform");
    let error = run.workspace_with("here", &no_terraform).apply(&mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("no-such-terraform"), "{error}");
    assert!(!error.needs_sweep());

    let no_bench = Tools { bench: "/bin/false".into(), ..good };
    let workspace = run.workspace_with("here", &no_bench);
    let error = workspace.apply(&mut quiet).await.unwrap_err();
    assert!(matches!(error, TerraformError::Supervisor { .. }), "{error}");
    let state = workspace.state().unwrap();
    assert_eq!(state, JobState::Lost { operation: Operation::Apply, started: false });
}

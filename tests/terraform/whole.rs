//! The whole path: a real orchestrator, hosts by Terraform, real task runners on them, results.

use std::time::Duration;

use bench::api::{CreateRun, ResultsPolicy, RunStatus, TaskGroup, Workload, WorkloadKind};
use bench::client::Client;
use bench::orchestrator::storage::StorageTarget;
use bench::orchestrator::store::{Durability, StoreTarget};
use bench::orchestrator::{Limits, Running, ServerConfig, TlsMode, start};
use serde_json::json;

use crate::setup::{RUN_ID, Run, quiet, terraform_is_there};

async fn orchestrator(run: &Run) -> Running {
    let home = run.root.join("orchestrator");
    fs_err::create_dir(&home).unwrap();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: StoreTarget::Sqlite(home.join("orchestrator.db")),
        durability: Durability::OsBuffered,
        storage: StorageTarget::Folder(home.join("storage")),
        home,
        tls: TlsMode::Off,
        admin_key: None,
        limits: Limits::default(),
    };
    start(config).await.unwrap()
}

fn tasks() -> CreateRun {
    let group = |instance_type: &str, alias: &str, count| TaskGroup {
        provider: "here".into(),
        instance_type: instance_type.into(),
        alias: alias.parse().unwrap(),
        count,
        unsettled: false,
    };
    CreateRun {
        run_id: RUN_ID.parse().unwrap(),
        workload: Workload { name: "mock".into(), timeout_seconds: 60, kind: WorkloadKind::Mock },
        tasks: vec![group("single", "one", 2), group("double", "two", 4)],
        lease_seconds: 60,
        max_attempts: 4,
        max_failure_retries: 0,
        pending_timeout_seconds: 600,
        seed: 1,
        results: ResultsPolicy::Required,
    }
}

#[tokio::test]
async fn hosts_made_by_terraform_do_the_tasks_of_a_run() {
    if !terraform_is_there() {
        return;
    }
    let mut run = Run::new();
    let server = orchestrator(&run).await;
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    run.run_key = server.run_key(&RUN_ID.parse().unwrap(), expires);
    run.program = env!("CARGO_BIN_EXE_bench").into();
    run.tell_orchestrator(&server.url());

    let workspace = run.prepared("here", json!({})).await;
    workspace.apply(&mut quiet).await.unwrap();
    // The runners came first and wait for their run.
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&tasks()).await.unwrap();
    let id = RUN_ID.parse().unwrap();
    let finished = async {
        loop {
            let view = client.run(&id).await.unwrap();
            if view.status != RunStatus::Running {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let view = tokio::time::timeout(Duration::from_secs(120), finished).await.expect("the run ends");
    assert_eq!((view.status, view.tasks.completed, view.tasks.total), (RunStatus::Completed, 6, 6));
    workspace.destroy(&mut quiet).await.unwrap();
    assert!(run.runners().is_empty());
    server.shutdown().await;
}

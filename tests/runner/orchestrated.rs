//! Runners of the real binary against the real orchestrator.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bench::api::*;
use bench::client::Client;
use bench::orchestrator::storage::StorageTarget;
use bench::orchestrator::store::{Durability, StoreTarget};
use bench::orchestrator::{Limits, Running, ServerConfig, TlsMode, start};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::fake::{Runner, shell};

const RUN: &str = "test-run";

async fn serve(home: &Path, listen: SocketAddr, tls: TlsMode) -> Running {
    let config = ServerConfig {
        listen,
        home: home.to_owned(),
        database: StoreTarget::Sqlite(home.join("orchestrator.db")),
        durability: Durability::OsBuffered,
        storage: StorageTarget::Folder(home.join("storage")),
        tls,
        admin_key: None,
        limits: Limits::default(),
    };
    start(config).await.unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn run_of(script: &str, count: u32, lease_seconds: u32) -> CreateRun {
    let kind = WorkloadKind::Command(shell(script));
    CreateRun {
        run_id: RUN.parse().unwrap(),
        workload: Workload { name: "test".into(), timeout_seconds: 120, kind },
        tasks: vec![TaskGroup {
            provider: "local".into(),
            instance_type: "process".into(),
            alias: "here".parse().unwrap(),
            count,
            unsettled: false,
        }],
        lease_seconds,
        max_attempts: 4,
        max_failure_retries: 0,
        pending_timeout_seconds: 3600,
        seed: 1,
        results: ResultsPolicy::Required,
    }
}

fn runner(server: &Running, name: &str, more: &[&str]) -> Runner {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let key = server.run_key(&RUN.parse().unwrap(), expires);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["runner", "--output", "json", "--orchestrator-url", &server.url(), "--run-id", RUN]);
    command.args(["--provider", "local", "--instance-type", "process", "--alias", "here"]);
    command.args(["--runner-id", name, "--host", name, "--kill-grace-seconds", "0.5"]).args(more);
    if let Some(pin) = server.pin() {
        command.args(["--orchestrator-pin", &pin.to_string()]);
    }
    command.env("BENCH_RUN_KEY", key.expose()).env("BENCH_LOG", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Runner { child: command.spawn().unwrap() }
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_exists(path: &Path) {
    until("the workload", async || path.exists().then_some(())).await;
}

async fn finish(mut runner: Runner) -> (Option<i32>, serde_json::Value) {
    tokio::task::spawn_blocking(move || runner.finish()).await.unwrap()
}

/// `touch`es `ready`, then waits for `go`.
fn gated(folder: &Path) -> String {
    format!("touch {0}/ready; while ! [ -e {0}/go ]; do sleep 0.02; done", folder.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_early_runners_share_a_run_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), any_port(), TlsMode::SelfMade).await;
    let runners = ["one", "two"].map(|name| runner(&server, name, &[]));
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&run_of("echo $BENCH_TASK_NUMBER", 6, 60)).await.unwrap();
    let mut completed = 0;
    for runner in runners {
        let (code, end) = finish(runner).await;
        assert_eq!(code, Some(0));
        completed += end["completed"].as_u64().unwrap();
    }
    assert_eq!(completed, 6);
    let run = client.run(&RUN.parse().unwrap()).await.unwrap();
    assert_eq!((run.status, run.tasks.completed), (RunStatus::Completed, 6));
    for task in client.tasks(&RUN.parse().unwrap()).await.unwrap() {
        let log = client.task_log(task.id, 10_000).await.unwrap();
        assert!(log.contains(&format!("\n{}\n", task.number)), "{log}");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_with_control_characters_is_told() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), any_port(), TlsMode::Off).await;
    let client = Client::new(server.endpoint()).unwrap();
    let mut run = run_of(r#"echo '{"no \u0000 disk": 1}'"#, 1, 60);
    let WorkloadKind::Command(command) = &mut run.workload.kind else { unreachable!("it is a command") };
    command.output = Some(OutputSource { file: None, format: OutputFormat::Bmf, pattern: None });
    client.create_run(&run).await.unwrap();
    let (code, end) = finish(runner(&server, "one", &[])).await;
    assert_eq!((code, &end["failed"]), (Some(0), &1.into()));
    let task = &client.tasks(&RUN.parse().unwrap()).await.unwrap()[0];
    let message = task.error_message.as_deref().unwrap();
    assert!(message.contains("no \u{fffd} disk"), "{message}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_a_restart_of_the_orchestrator() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(home.path(), any_port(), TlsMode::Off).await;
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&run_of(&gated(folder.path()), 1, 60)).await.unwrap();
    let runner = runner(&server, "one", &[]);
    until_exists(&folder.path().join("ready")).await;
    let address = server.address();
    server.shutdown().await;
    std::fs::write(folder.path().join("go"), "").unwrap();
    let server = serve(home.path(), address, TlsMode::Off).await;
    let (code, end) = finish(runner).await;
    assert_eq!((code, &end["completed"]), (Some(0), &1.into()));
    let task = &client.tasks(&RUN.parse().unwrap()).await.unwrap()[0];
    assert_eq!((task.state, task.attempts), (TaskState::Completed, 1));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_ends_its_workloads_and_runners() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(home.path(), any_port(), TlsMode::Off).await;
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&run_of(&gated(folder.path()), 2, 4)).await.unwrap();
    let runner = runner(&server, "one", &[]);
    until_exists(&folder.path().join("ready")).await;
    client.stop_run(&RUN.parse().unwrap()).await.unwrap();
    let (code, end) = finish(runner).await;
    assert_eq!((code, &end["lost"], &end["reason"]), (Some(0), &1.into(), &"done".into()));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_killed_runner_and_a_returned_one_are_done_by_others() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(home.path(), any_port(), TlsMode::Off).await;
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&run_of(&gated(folder.path()), 1, 2)).await.unwrap();
    let ready = folder.path().join("ready");
    let returning = runner(&server, "one", &["--stop-grace-seconds", "0"]);
    until_exists(&ready).await;
    returning.signal(Signal::SIGTERM);
    assert_eq!(finish(returning).await.1["released"], 1);

    std::fs::remove_file(&ready).unwrap();
    let killed = runner(&server, "two", &[]);
    until_exists(&ready).await;
    killed.signal(Signal::SIGKILL);
    finish(killed).await;

    std::fs::write(folder.path().join("go"), "").unwrap();
    let (code, end) = finish(runner(&server, "three", &[])).await;
    assert_eq!((code, &end["completed"]), (Some(0), &1.into()));
    let task = &client.tasks(&RUN.parse().unwrap()).await.unwrap()[0];
    let outcomes: Vec<_> =
        client.attempts(task.id).await.unwrap().iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Released, AttemptOutcome::Lost, AttemptOutcome::Completed]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_stood_still_beyond_its_lease_speaks_for_nothing_any_more() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve(home.path(), any_port(), TlsMode::Off).await;
    let client = Client::new(server.endpoint()).unwrap();
    client.create_run(&run_of(&gated(folder.path()), 1, 2)).await.unwrap();
    let ready = folder.path().join("ready");
    let still = runner(&server, "still", &[]);
    until_exists(&ready).await;
    still.signal(Signal::SIGSTOP);
    let run = RUN.parse().unwrap();
    until("the lease to run out", async || {
        (client.run(&run).await.unwrap().tasks.pending == 1).then_some(())
    })
    .await;

    std::fs::remove_file(&ready).unwrap();
    let other = runner(&server, "other", &[]);
    until_exists(&ready).await;
    still.signal(Signal::SIGCONT);
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(finish(other).await.1["completed"], 1);
    let (code, end) = finish(still).await;
    assert_eq!((code, &end["completed"], &end["lost"]), (Some(0), &0.into(), &1.into()));
    let task = &client.tasks(&run).await.unwrap()[0];
    let attempts = client.attempts(task.id).await.unwrap();
    let told: Vec<_> =
        attempts.iter().map(|attempt| (attempt.runner_id.as_str(), attempt.accepted)).collect();
    assert_eq!(told, [("still", false), ("other", true)]);
    server.shutdown().await;
}

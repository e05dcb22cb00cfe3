//! The real program: what it survives, and how it says what is wrong.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::api::{ClaimRequest, ClaimResponse, CreateRun, EventKind, HeartbeatRequest};
use bench::client::{Client, Endpoint, Secret};

use futures::StreamExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{claim, claimed, create, run_id, sha256};

const KEY: &str = "a key of the tests, long enough";

pub struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(home: &Path) -> Process {
        Process::spawn(&mut command(home))
    }

    pub fn spawn(command: &mut Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says where it listens").unwrap();
        let url = first.strip_prefix("orchestrator: ").unwrap_or_else(|| panic!("{first}")).trim().to_owned();
        Process { child, url }
    }

    pub fn client(&self) -> Client {
        Client::new(Endpoint { url: self.url.clone(), key: Secret::new(KEY), pin: None }).unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already where the test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["orchestrator", "--listen", "127.0.0.1:0", "--home"]).arg(home).env("BENCH_API_KEY", KEY);
    command
}

#[tokio::test]
async fn one_that_stood_still_longer_than_a_lease_takes_none_back() {
    let home = tempfile::tempdir().unwrap();
    let running = Process::start(home.path());
    let client = running.client();
    client.create_run(&CreateRun { lease_seconds: 4, ..create("r", 2) }).await.unwrap();
    let (task, lease) = claimed(&client, "r", "runner").await;
    let pid = Pid::from_raw(running.child.id().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    // What is tested: time passes while it stands still.
    tokio::time::sleep(Duration::from_secs(6)).await;
    kill(pid, Signal::SIGCONT).unwrap();

    let mut events = client.events(&run_id("r"), 0);
    loop {
        match events.next().await.expect("the run goes on").unwrap().kind {
            EventKind::LeasesExtended => break,
            EventKind::TaskLost => panic!("it took a lease back that nobody could renew"),
            _ => {}
        }
    }
    let beat = HeartbeatRequest { fence: lease.fence, status: "x".into(), progress: None, message: None };
    client.heartbeat(task.id, &beat).await.unwrap();
}

#[tokio::test]
async fn a_claim_that_was_answered_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let asked = ClaimRequest { request_id: Some("once".into()), ..claim("runner", 0) };
    let first = Process::start(home.path());
    first.client().create_run(&create("r", 3)).await.unwrap();
    let ClaimResponse::Assigned { task, lease, .. } =
        first.client().claim(&run_id("r"), &asked).await.unwrap()
    else {
        panic!("no task")
    };
    first.kill();

    let second = Process::start(home.path());
    let run = second.client().run(&run_id("r")).await.unwrap();
    assert_eq!((run.tasks.total, run.tasks.claimed), (3, 1));
    let again = second.client().claim(&run_id("r"), &asked).await.unwrap();
    let ClaimResponse::Assigned { task: same, lease: kept, .. } = again else { panic!("{again:?}") };
    assert_eq!((same.id, kept.fence, kept.attempt), (task.id, lease.fence, lease.attempt));
    second.kill();
}

#[tokio::test]
async fn sigterm_ends_it_in_order() {
    let home = tempfile::tempdir().unwrap();
    let mut process = Process::start(home.path());
    let pid = nix::unistd::Pid::from_raw(process.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_taken_port_is_named() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["orchestrator", "--listen", &address, "--home"]).arg(home.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("taken"), "{stderr}");
}

#[test]
fn keys_are_shown_derived_and_rotated() {
    let home = tempfile::tempdir().unwrap();
    let key = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(["orchestrator", "key"]).args(arguments).arg("--home").arg(home.path());
        command.env_remove("BENCH_API_KEY").output().unwrap()
    };
    assert_eq!(key(&["show"]).status.code(), Some(2), "there are none yet");
    let now = jiff::Timestamp::now();
    bench::orchestrator::auth::KeyringFile::open(home.path(), now).unwrap();
    let before = key(&["show", "--reveal"]).stdout;
    assert!(key(&["rotate"]).status.success());
    let after = key(&["show", "--reveal"]).stdout;
    assert!(!before.is_empty() && before != after);
    let run_key = String::from_utf8(key(&["run-key", "r"]).stdout).unwrap();
    assert!(run_key.starts_with("rk."), "{run_key}");
    let shown = String::from_utf8(key(&["show"]).stdout).unwrap();
    assert_eq!(shown.lines().count(), 2, "{shown}");
}

#[tokio::test]
async fn a_backup_made_while_it_serves_can_be_restored() {
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("copy.db");
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.arg("orchestrator").args(arguments).arg("--home").arg(home.path()).output().unwrap()
    };
    let process = Process::start(home.path());
    process.client().create_run(&create("kept", 1)).await.unwrap();
    let made = bench(&["backup", copy.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    process.client().create_run(&create("later", 1)).await.unwrap();
    let busy = bench(&["restore", copy.to_str().unwrap()]);
    assert_eq!(busy.status.code(), Some(3), "it is still running");
    process.kill();

    let restored = bench(&["restore", copy.to_str().unwrap()]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let process = Process::start(home.path());
    let runs = process.client().runs().await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), ["kept"]);
}

/// A file system of 2 MB in a mount namespace of its own; `None` where the machine allows none.
fn start_on_a_small_disk(home: &Path) -> Option<Process> {
    let probe = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none"];
    let allowed = Command::new("unshare").args(probe).arg(home).output().expect("util-linux's unshare");
    if !allowed.status.success() {
        return None;
    }
    let script =
        r#"mount -t tmpfs -o size=2m none "$1" && exec "$2" orchestrator --listen 127.0.0.1:0 --home "$1""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(home);
    Some(Process::spawn(command.arg(env!("CARGO_BIN_EXE_bench")).env("BENCH_API_KEY", KEY)))
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
async fn a_full_disk_is_said_and_what_was_asked_works_once_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(process) = start_on_a_small_disk(home.path()) else {
        assert!(std::env::var_os("CI").is_none(), "this machine allows no user namespaces");
        return eprintln!("skipped: this machine allows no user namespaces");
    };
    let client = process.client();
    client.create_run(&create("small", 2)).await.unwrap();
    // The same folder as the process sees it.
    let inside = format!("/proc/{}/root{}", process.child.id(), home.path().display());
    let filler = Path::new(&inside).join("filler");
    std::fs::write(&filler, vec![1; 4 << 20]).unwrap_err();

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ready = async || http.get(format!("{}/ready", process.url)).send().await.unwrap().status();
    assert_eq!(ready().await, 503);
    let url = format!("{}/api/v1/runs", process.url);
    let big = create("big", 50_000);
    let answer = http.post(&url).bearer_auth(KEY).json(&big).send().await.unwrap();
    assert_eq!(answer.status(), 507);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["code"], "storage_full", "{body}");
    assert!(body["message"].as_str().unwrap().contains("no room"), "{body}");
    let program = vec![1; 1 << 20];
    let place = format!("{}/api/v1/binaries/{}", process.url, sha256(&program));
    // On a connection of its own: it ends with what was not read any more.
    let another = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(another.put(&place).bearer_auth(KEY).body(program).send().await.unwrap().status(), 507);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(ready().await, 200);
    let again = http.post(&url).bearer_auth(KEY).json(&create("big", 1_000)).send().await.unwrap();
    assert_eq!(again.status(), 201, "nothing of the refused one was kept");
    assert_eq!(client.run(&run_id("small")).await.unwrap().tasks.total, 2);
}

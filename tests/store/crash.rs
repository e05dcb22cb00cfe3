//! `kill -9` in the middle of the work: what was answered is there afterwards, once.
//!
//! The test starts itself again as the process to be killed, which writes a line for every answer it got.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bench::api::{CompleteRequest, HeartbeatRequest, ResultsPolicy, TaskId, TaskState};
use bench::orchestrator::store::{Claimed, Options, Scope, Store, StoreTarget, TaskPage, open};

use crate::fixture::{claim, run};

/// Names the file for the process that is to be killed.
const VICTIM: &str = "BENCH_TEST_STORE_VICTIM";
const ROUNDS: usize = 4;
/// Answers after which the victim is killed; another number in each round, to hit another moment.
const ANSWERS: usize = 150;

fn target(file: &Path) -> StoreTarget {
    StoreTarget::Sqlite(file.to_owned())
}

/// Not a test of its own: the process that [`answered_changes_survive_kill_9`] kills.
#[tokio::test]
async fn victim() {
    let Some(file) = std::env::var_os(VICTIM) else { return };
    let store = open(&target(Path::new(&file)), Options::default()).await.unwrap();
    let id: bench::api::RunId = "r1".parse().unwrap();
    let workers: Vec<_> =
        (0..16).map(|worker| tokio::spawn(work(store.clone(), id.clone(), worker))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Claims, beats, and completes every second task; writes `claimed ID FENCE` or `completed ID FENCE` once answered.
async fn work(store: Arc<dyn Store>, id: bench::api::RunId, worker: usize) {
    let say = |word: &str, task: TaskId, fence: i64| {
        let mut out = std::io::stderr().lock();
        writeln!(out, "{word} {task} {fence}").unwrap();
    };
    for round in 0.. {
        let name = format!("{}-{worker}-{round}", std::process::id());
        let Ok(Claimed::Assigned(task, lease)) = store.claim(&id, claim(&name, &name, None)).await else {
            return;
        };
        say("claimed", task.id, lease.fence);
        if round % 3 == 0 {
            let fence = lease.fence;
            let beat = HeartbeatRequest { fence, status: "measure".into(), progress: None, message: None };
            store.heartbeat(Scope::Admin, task.id, beat).await.unwrap();
        }
        if round % 2 == 0 {
            let complete = CompleteRequest { fence: lease.fence, sha256: None };
            store.complete(Scope::Admin, task.id, complete).await.unwrap();
            say("completed", task.id, lease.fence);
        }
    }
}

/// Runs a victim, kills it after so many answers, and gives the answers.
fn kill_after(answers: usize, file: &Path) -> Vec<(String, TaskId, i64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(VICTIM, file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard: Vec<String> = lines.by_ref().take(answers).map(Result::unwrap).collect();
    child.kill().unwrap();
    // What it had said before it died counts too; the last line may be cut off.
    heard.extend(lines.map_while(Result::ok));
    child.wait().unwrap();
    heard
        .iter()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let word = words.next().filter(|word| ["claimed", "completed"].contains(word))?;
            Some((word.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect()
}

#[tokio::test]
async fn answered_changes_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestrator.db");
    let mut spec = run("r1", &[("a", 20_000)]);
    spec.results = ResultsPolicy::Optional;
    let store = open(&target(&file), Options::default()).await.unwrap();
    store.create_run(spec.clone()).await.unwrap();
    store.close().await;

    let mut claimed: HashMap<TaskId, i64> = HashMap::new();
    let mut completed: HashMap<TaskId, i64> = HashMap::new();
    for round in 0..ROUNDS {
        let answers = kill_after(ANSWERS + 37 * round, &file);
        assert!(answers.len() >= ANSWERS, "the victim worked: {} answers", answers.len());
        for (word, task, fence) in answers {
            let into = if word == "claimed" { &mut claimed } else { &mut completed };
            assert_eq!(into.insert(task, fence), None, "task {task} was {word} twice");
        }
        let store = open(&target(&file), Options::default()).await.unwrap();
        let page = TaskPage { limit: 20_000, ..TaskPage::default() };
        let tasks = store.tasks(&spec.run_id, page).await.unwrap();
        let states: HashMap<TaskId, TaskState> = tasks.iter().map(|task| (task.id, task.state)).collect();
        for (task, fence) in &claimed {
            if completed.contains_key(task) {
                assert_eq!(states[task], TaskState::Completed, "an answered completion was lost");
            } else if states[task] != TaskState::Completed {
                store.lease(Scope::Admin, *task, *fence).await.expect("an answered claim was lost");
            }
        }
        let counts = store.run(&spec.run_id).await.unwrap().tasks;
        let of = |state| states.values().filter(|found| **found == state).count() as u64;
        assert_eq!(counts.completed, of(TaskState::Completed));
        assert_eq!((counts.claimed, counts.pending), (of(TaskState::Claimed), of(TaskState::Pending)));
        assert_eq!(counts.running, of(TaskState::Running), "beats that were lost are not counted");
        store.close().await;
    }
}

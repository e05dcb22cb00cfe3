//! The claim loop under trouble: what is lost, what is repeated, and that no process stays.

use std::path::Path;

use axum::http::StatusCode;
use bench::api::{ErrorCode, FailKind};
use bench::runner::procs;
use nix::sys::signal::Signal;

use super::fake::{Fake, shell_task, wait_for};

/// Writes its process id to `file` and stays for minutes, with a child that does the same.
fn long_script(file: &Path) -> String {
    format!("sh -c 'echo $$ >> {0}; exec sleep 600' & echo $$ >> {0}; sleep 600", file.display())
}

fn pids(file: &Path) -> Vec<u32> {
    wait_for("the workload", || {
        let text = std::fs::read_to_string(file).ok()?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 2 && text.ends_with('\n')).then_some(pids)
    })
}

fn all_gone(pids: &[u32]) {
    wait_for("the end of the workload's processes", || {
        pids.iter().all(|&pid| procs::parent(pid).is_none()).then_some(())
    });
}

#[test]
fn tasks_are_claimed_run_uploaded_and_completed_until_there_are_none() {
    let fake = Fake::start([shell_task(1, "echo one"), shell_task(2, "echo two >&2; exit 3")]);
    let mut runner = fake.runner(&[]);
    let (code, end) = runner.finish();
    assert_eq!(code, Some(0));
    assert_eq!((&end["completed"], &end["failed"], &end["reason"]), (&1.into(), &1.into(), &"done".into()));
    let inner = fake.lock();
    assert_eq!(inner.completed[0].0, 1);
    let (task, failure) = &inner.failed[0];
    assert_eq!((*task, failure.error_type), (2, FailKind::Exit));
    assert!(failure.error_message.contains("status 3") && failure.error_message.contains("two"));
    assert!(failure.sha256.is_some(), "what was measured before the failure is kept");
    assert_eq!(inner.gone, ["runner-1"]);
    let ids: std::collections::BTreeSet<_> = inner.claims.iter().map(|claim| &claim.request_id).collect();
    assert_eq!(ids.len(), inner.claims.len(), "each new claim has an id of its own");
}

#[test]
fn a_lost_answer_is_asked_for_again_and_nothing_is_done_twice() {
    let fake = Fake::start([shell_task(1, "echo $$")]);
    for kind in ["claim", "upload", "result", "complete"] {
        fake.lock().trouble.insert(kind, 2);
    }
    let (code, end) = fake.runner(&[]).finish();
    assert_eq!((code, &end["completed"]), (Some(0), &1.into()));
    let inner = fake.lock();
    assert_eq!(inner.completed.len(), 1);
    assert_eq!(inner.claims[0].request_id, inner.claims[1].request_id);
    assert_eq!(inner.claims[0].request_id, inner.claims[2].request_id);
}

#[test]
fn a_result_that_is_found_bad_fails_its_task_at_once_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("undelivered");
    let fake = Fake::start([shell_task(1, "echo precious")]);
    fake.lock().refuse_results = Some((StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::BadResult));
    let (code, end) = fake.runner(&["--undelivered", kept.to_str().unwrap()]).finish();
    assert_eq!((code, &end["failed"]), (Some(0), &1.into()));
    let inner = fake.lock();
    assert_eq!(inner.results_sent, 1, "what is bad stays bad");
    let (_, failure) = &inner.failed[0];
    assert_eq!(failure.error_type, FailKind::Output);
    let said = &failure.error_message;
    assert!(said.contains("as the test wants it"), "the orchestrator's reason: {said}");
    let file = std::fs::read_dir(&kept).unwrap().next().expect("the archive is kept").unwrap().path();
    assert!(said.contains(file.to_str().unwrap()), "where it is kept: {said}");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()));
    assert_eq!(tar.entries().unwrap().count(), 3);
}

#[test]
fn an_orchestrator_without_room_is_asked_a_bounded_number_of_times() {
    let fake = Fake::start([shell_task(1, "true")]);
    fake.lock().refuse_results = Some((StatusCode::INSUFFICIENT_STORAGE, ErrorCode::StorageFull));
    let (code, end) = fake.runner(&[]).finish();
    assert_eq!((code, &end["failed"]), (Some(0), &1.into()));
    let inner = fake.lock();
    assert!((2..20).contains(&inner.results_sent), "sent {} times", inner.results_sent);
}

#[test]
fn a_runner_that_comes_before_its_run_waits_for_it() {
    let fake = Fake::start([shell_task(1, "true")]);
    fake.lock().run_exists = false;
    let mut runner = fake.runner(&[]);
    wait_for("the second claim", || (fake.lock().claims.len() >= 2).then_some(()));
    assert!(runner.child.try_wait().unwrap().is_none());
    fake.lock().run_exists = true;
    assert_eq!(runner.finish().1["completed"], 1);
}

#[test]
fn a_task_that_was_taken_away_is_ended_and_the_next_one_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file)), shell_task(2, "true")]);
    fake.lock().heartbeat_seconds = 1.0;
    let mut runner = fake.runner(&[]);
    let pids = pids(&file);
    fake.take_away(1);
    all_gone(&pids);
    let (code, end) = runner.finish();
    assert_eq!((code, &end["lost"], &end["completed"]), (Some(0), &1.into(), &1.into()));
    assert!(fake.lock().failed.is_empty());
}

#[test]
fn a_runner_that_slept_past_its_lease_ends_its_task_when_it_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file))]);
    fake.lock().heartbeat_seconds = 0.5;
    let mut runner = fake.runner(&[]);
    let pids = pids(&file);
    runner.signal(Signal::SIGSTOP);
    // Longer than the lease of four beats; nothing else can be waited for here.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let beats = fake.lock().beats.len();
    runner.signal(Signal::SIGCONT);
    all_gone(&pids);
    assert_eq!(runner.finish().1["lost"], 1);
    assert_eq!(fake.lock().beats.len(), beats, "no beat for a lease that ran out");
}

#[test]
fn without_an_orchestrator_the_task_ends_with_its_lease_and_the_runner_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file))]);
    fake.lock().heartbeat_seconds = 0.5;
    let mut runner = fake.runner(&[]);
    let pids = pids(&file);
    fake.lock().trouble.insert("heartbeat", u32::MAX);
    fake.lock().trouble.insert("claim", 5);
    all_gone(&pids);
    let (code, end) = runner.finish();
    assert_eq!((code, &end["lost"], &end["reason"]), (Some(0), &1.into(), &"done".into()));
}

#[test]
fn a_signal_lets_a_short_task_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, go) = (folder.path().join("ready"), folder.path().join("go"));
    let script = format!("echo > {}; while ! [ -e {} ]; do sleep 0.02; done", ready.display(), go.display());
    let fake = Fake::start([shell_task(1, &script), shell_task(2, "true")]);
    let mut runner = fake.runner(&["--stop-grace-seconds", "60"]);
    wait_for("the workload", || ready.exists().then_some(()));
    runner.signal(Signal::SIGTERM);
    std::fs::write(&go, "").unwrap();
    let (code, end) = runner.finish();
    assert_eq!((code, &end["completed"], &end["reason"]), (Some(0), &1.into(), &"stopped".into()));
    assert_eq!(fake.lock().queue.len(), 1, "no further task was claimed");
    assert_eq!(fake.lock().gone, ["runner-1"]);
}

#[test]
fn a_signal_gives_a_long_task_back_and_a_second_one_does_so_at_once() {
    for (grace, signals) in [("0.1", 1), ("600", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let fake = Fake::start([shell_task(1, &long_script(&file))]);
        let mut runner = fake.runner(&["--stop-grace-seconds", grace]);
        let pids = pids(&file);
        for number in 0..signals {
            // Two pending signals of one kind are one: send different ones.
            runner.signal(if number == 0 { Signal::SIGTERM } else { Signal::SIGINT });
        }
        let (code, end) = runner.finish();
        assert_eq!((code, &end["released"], &end["reason"]), (Some(0), &1.into(), &"stopped".into()));
        all_gone(&pids);
        let inner = fake.lock();
        assert_eq!(inner.released[0].1.reason, "sigterm");
        assert!(inner.failed.is_empty());
        assert_eq!(inner.gone, ["runner-1"]);
    }
}

#[test]
fn a_killed_runner_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file))]);
    let runner = fake.runner(&[]);
    let pids = pids(&file);
    runner.signal(Signal::SIGKILL);
    all_gone(&pids);
}

#[test]
fn the_end_of_the_masters_pipe_ends_the_runner_and_its_workload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file))]);
    let mut runner = fake.runner(&["--parent-pipe"]);
    let pids = pids(&file);
    drop(runner.child.stdin.take());
    all_gone(&pids);
    let (code, end) = runner.finish();
    assert_eq!((code, &end["reason"]), (Some(0), &"orphaned".into()));
    assert!(fake.lock().gone.is_empty(), "nobody is there to hear it");
}

#[test]
fn an_idle_runner_ends_at_once_when_told() {
    let fake = Fake::start([]);
    fake.lock().keep_waiting = true;
    let mut runner = fake.runner(&["--no-exit"]);
    wait_for("a claim", || (!fake.lock().claims.is_empty()).then_some(()));
    runner.signal(Signal::SIGINT);
    let (code, end) = runner.finish();
    assert_eq!((code, &end["reason"]), (Some(0), &"stopped".into()));
}

#[test]
fn a_workload_that_was_signalled_together_with_its_runner_is_no_failed_benchmark() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let fake = Fake::start([shell_task(1, &long_script(&file))]);
    let mut runner = fake.runner(&["--stop-grace-seconds", "600"]);
    let pids = pids(&file);
    runner.signal(Signal::SIGTERM);
    // The runner claims no more once it has heard; then the workload gets its own signal.
    for &pid in &pids {
        let of_runner = |&launcher: &u32| {
            let server = procs::parent(launcher);
            server.and_then(procs::parent) == Some(runner.child.id())
        };
        let launcher = procs::parent(pid).filter(of_runner);
        if let Some(launcher) = launcher {
            let launcher = nix::unistd::Pid::from_raw(launcher as i32);
            nix::sys::signal::kill(launcher, Signal::SIGTERM).unwrap();
        }
    }
    let (code, end) = runner.finish();
    assert_eq!((code, &end["released"], &end["failed"]), (Some(0), &1.into(), &0.into()));
    all_gone(&pids);
}

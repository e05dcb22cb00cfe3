//! The cases. Each gets a store without runs.

use std::collections::HashSet;

use bench::api::{
    AttemptOutcome, CompleteRequest, CreateRun, Deadline, ErrorCode, EventKind, FailKind, HostEvent,
    HostStage, RunStatus, RunnerState, TaskState,
};
use bench::orchestrator::store::{Claimed, Scope, TaskPage};

use crate::fixture::{Fixture, claim, digest, refusal, run, upload};

fn page(limit: u32) -> TaskPage {
    TaskPage { limit, ..TaskPage::default() }
}

async fn kinds(f: &Fixture, id: &bench::api::RunId) -> Vec<EventKind> {
    f.store.events(Some(id), 0, 10_000).await.unwrap().into_iter().map(|event| event.kind).collect()
}

pub async fn create_is_idempotent_and_conflicts_are_refused(f: Fixture) {
    let spec = run("r1", &[("a", 2), ("b", 3)]);
    let (view, new) = f.store.create_run(spec.clone()).await.unwrap();
    assert!(new);
    assert_eq!((view.tasks.total, view.tasks.pending, view.seed), (5, 5, 7));
    let (again, new) = f.store.create_run(spec.clone()).await.unwrap();
    assert!(!new);
    assert_eq!(again, view);
    let mut other = spec;
    other.seed = 8;
    assert_eq!(refusal(f.store.create_run(other).await), ErrorCode::RunConflict);
    assert_eq!(f.store.runs().await.unwrap(), std::slice::from_ref(&view));
    assert_eq!(f.store.run(&view.run_id).await.unwrap(), view);
    assert_eq!(f.store.totals().await.unwrap().pending, 5);
}

pub async fn specifications_out_of_range_are_refused(f: Fixture) {
    let good = run("r1", &[("a", 2)]);
    let mut bad = vec![run("r1", &[]), run("r1", &[("a", 0)]), run("r1", &[("a", 1), ("a", 1)])];
    bad.push(run("r1", &[("a", 600_000), ("b", 400_001)]));
    for change in [
        |run: &mut bench::api::CreateRun| run.lease_seconds = 0,
        |run: &mut bench::api::CreateRun| run.max_attempts = 101,
        |run: &mut bench::api::CreateRun| run.pending_timeout_seconds = 0,
        |run: &mut bench::api::CreateRun| run.tasks[0].provider = String::new(),
        |run: &mut bench::api::CreateRun| run.workload.name = "n".repeat(65),
    ] {
        let mut run = good.clone();
        change(&mut run);
        bad.push(run);
    }
    for spec in bad {
        assert_eq!(refusal(f.store.create_run(spec).await), ErrorCode::BadRequest);
    }
    assert!(f.store.runs().await.unwrap().is_empty());
    let mut long = claim("r", "h", None);
    long.runner_id = "x".repeat(129);
    assert_eq!(refusal(f.store.claim(&good.run_id, long).await), ErrorCode::BadRequest);
}

pub async fn a_task_goes_through_its_life(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", Some("a"))).await;
    assert_eq!((task.number, lease.attempt, lease.heartbeat_seconds), (1, 1, 15.0));
    assert_eq!(f.store.task(task.id).await.unwrap().state, TaskState::Claimed);
    f.beat(task.id, lease.fence).await.unwrap();
    let seen = f.store.task(task.id).await.unwrap();
    assert_eq!(
        (seen.state, seen.progress, seen.status.as_deref()),
        (TaskState::Running, Some(0.5), Some("measure"))
    );
    assert_eq!(seen.host.as_deref(), Some("h"));
    let active = f.store.attempts(task.id).await.unwrap();
    assert_eq!(active[0].outcome, AttemptOutcome::Active);

    let missing = CompleteRequest { fence: lease.fence, sha256: Some(digest('a')) };
    assert_eq!(
        refusal(f.store.complete(Scope::Admin, task.id, missing.clone()).await),
        ErrorCode::ResultMissing
    );
    f.store.record_upload(Scope::Admin, task.id, lease.fence, upload('a', false)).await.unwrap();
    assert_eq!(
        refusal(f.store.complete(Scope::Admin, task.id, missing.clone()).await),
        ErrorCode::ResultMissing
    );
    f.store.record_upload(Scope::Admin, task.id, lease.fence, upload('a', true)).await.unwrap();
    let info = f.store.lease(Scope::Admin, task.id, lease.fence).await.unwrap();
    assert_eq!(info.upload, Some(upload('a', true)));
    assert_eq!((info.alias.as_str(), info.number, info.attempt), ("a", 1, 1));
    let done = f.store.complete(Scope::Admin, task.id, missing).await.unwrap();
    assert_eq!(done.state, TaskState::Completed);
    assert_eq!(done, f.store.task(task.id).await.unwrap());

    let view = f.store.run(&id).await.unwrap();
    assert_eq!((view.status, view.tasks.completed), (RunStatus::Completed, 1));
    assert!(view.finished_at.is_some());
    let results = f.store.results(&id).await.unwrap();
    assert_eq!(results.len(), 1);
    assert!(results[0].accepted);
    assert_eq!((results[0].alias.as_str(), results[0].number, results[0].attempt), ("a", 1, 1));
    assert_eq!(results[0].upload, upload('a', true));
    assert_eq!(f.store.newest_upload(task.id).await.unwrap(), Some(upload('a', true)));
    assert_eq!(f.store.newest_upload(task.id + 1).await.unwrap(), None);
}

pub async fn a_run_that_is_created_several_times_at_once_is_created_once(f: Fixture) {
    let (same, other) = (run("r1", &[("a", 20_000)]), run("r1", &[("a", 1)]));
    let create = |run: &CreateRun| f.store.create_run(run.clone());
    let (first, again, other) = tokio::join!(create(&same), create(&same), create(&other));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!((first.1, again.1), (true, false));
    assert_eq!(first.0, again.0);
    assert_eq!(refusal(other), ErrorCode::RunConflict);
}

pub async fn a_claim_of_any_alias_gets_the_next_task_of_a_thousand_groups(f: Fixture) {
    let aliases: Vec<String> = (0..1000).map(|number| format!("a{number}")).collect();
    let groups: Vec<(&str, u32)> = aliases.iter().map(|alias| (alias.as_str(), 10)).collect();
    let id = f.create(&run("r1", &groups)).await;
    let mut before = None;
    for number in 0..30 {
        let (task, _) = f.claim(&id, claim(&format!("r{number}"), "h", None)).await;
        assert!(before.is_none_or(|before| task.id == before + 1), "{before:?}, then {}", task.id);
        before = Some(task.id);
    }
    // Of one alias all are found, few as are fetched at a time.
    for number in 30..39 {
        f.claim(&id, claim(&format!("r{number}"), "h", Some("a7"))).await;
    }
}

pub async fn a_claim_asked_again_gives_the_same_lease(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 3)])).await;
    let asked = claim("r", "h", None);
    let first = f.claim(&id, asked.clone()).await;
    assert_eq!(f.claim(&id, asked.clone()).await, first);
    assert_eq!(f.store.run(&id).await.unwrap().tasks.claimed, 1);
    // Another runner with the same words is another claim.
    let mut other = asked;
    other.runner_id = "r2".into();
    assert_ne!(f.claim(&id, other).await.0.id, first.0.id);
}

pub async fn a_runner_that_asks_anew_loses_its_old_lease(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 3)])).await;
    let (old, lease) = f.claim(&id, claim("r", "h", None)).await;
    let (again, new) = f.claim(&id, claim("r", "h", None)).await;
    assert_eq!((again.id, new.attempt), (old.id, 2), "the first pending task is the one that came back");
    assert!(new.fence > lease.fence);
    assert_eq!(refusal(f.beat(old.id, lease.fence).await), ErrorCode::StaleFence);
    let attempts = f.store.attempts(old.id).await.unwrap();
    assert_eq!(attempts[0].outcome, AttemptOutcome::Lost);
    assert_eq!(f.store.run(&id).await.unwrap().tasks.claimed, 1);
}

pub async fn stale_fences_are_refused(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    let (task, old) = f.claim(&id, claim("r1", "h1", None)).await;
    f.wait(61);
    assert!(f.beat(task.id, old.fence).await.is_ok(), "ran out, but nobody has taken it back");
    f.wait(61);
    assert_eq!(f.store.sweep().await.unwrap().leases_lost, 1);
    for _ in 0..2 {
        assert_eq!(refusal(f.beat(task.id, old.fence).await), ErrorCode::StaleFence);
        assert_eq!(refusal(f.complete(task.id, old.fence).await), ErrorCode::StaleFence);
        assert_eq!(refusal(f.fail(task.id, old.fence, FailKind::Exit).await), ErrorCode::StaleFence);
        assert_eq!(refusal(f.release(task.id, old.fence).await), ErrorCode::StaleFence);
        assert_eq!(refusal(f.store.lease(Scope::Admin, task.id, old.fence).await), ErrorCode::StaleFence);
        // The second time round somebody else has it.
        let (_, new) = f.claim(&id, claim("r2", "h2", None)).await;
        assert!(new.fence > old.fence);
    }
    assert_eq!(refusal(f.beat(task.id + 1, 1).await), ErrorCode::NotFound);
    assert_eq!(refusal(f.beat(-5, 1).await), ErrorCode::NotFound);
}

pub async fn completing_is_idempotent_by_digest(mut f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    let done = f.complete(task.id, lease.fence).await.unwrap();
    let same = CompleteRequest { fence: lease.fence, sha256: Some(digest('a')) };
    let other = CompleteRequest { fence: lease.fence, sha256: Some(digest('b')) };
    for _ in 0..2 {
        assert_eq!(f.store.complete(Scope::Admin, task.id, same.clone()).await.unwrap(), done);
        assert_eq!(
            refusal(f.store.complete(Scope::Admin, task.id, other.clone()).await),
            ErrorCode::DigestConflict
        );
        assert_eq!(refusal(f.fail(task.id, lease.fence, FailKind::Exit).await), ErrorCode::StaleFence);
        f.reopen().await;
    }
    assert_eq!(f.store.run(&id).await.unwrap().tasks.completed, 1);
}

pub async fn a_result_and_the_completion_are_delivered_at_once(mut f: Fixture) {
    let id = f.create(&run("r1", &[("a", 2)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    let request = |fence, c| CompleteRequest { fence, sha256: Some(digest(c)) };
    let deliver = |f: &Fixture, fence, c| {
        let store = f.store.clone();
        async move { store.deliver(Scope::Admin, task.id, upload(c, true), request(fence, c)).await }
    };
    assert_eq!(refusal(deliver(&f, lease.fence + 1, 'a').await), ErrorCode::StaleFence);
    let done = deliver(&f, lease.fence, 'a').await.unwrap();
    assert_eq!(done.state, TaskState::Completed);
    for _ in 0..2 {
        assert_eq!(deliver(&f, lease.fence, 'a').await.unwrap(), done);
        assert_eq!(refusal(deliver(&f, lease.fence, 'b').await), ErrorCode::DigestConflict);
        f.reopen().await;
    }
    let results = f.store.results(&id).await.unwrap();
    assert_eq!((results.len(), &results[0].upload), (1, &upload('a', true)));
}

pub async fn after_the_end_no_new_names_are_taken_down(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    f.claim(&id, claim("r1", "h1", None)).await;
    f.store.stop_run(&id).await.unwrap();
    assert_eq!(f.store.claim(&id, claim("r2", "h2", None)).await.unwrap(), Claimed::Done);
    let joined: HostEvent = serde_json::from_str(r#"{"provider": "p", "stage": "joined"}"#).unwrap();
    f.store.host_event(&id, "h3", joined).await.unwrap();
    assert_eq!(f.store.claim(&id, claim("r1", "h1", None)).await.unwrap(), Claimed::Done);
    let hosts = f.store.hosts(&id).await.unwrap();
    let names: Vec<&str> = hosts.iter().map(|host| host.host.as_str()).collect();
    assert_eq!(names, ["h1"]);
}

pub async fn results_may_be_optional(f: Fixture) {
    let mut spec = run("r1", &[("a", 2)]);
    spec.results = bench::api::ResultsPolicy::Optional;
    let id = f.create(&spec).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    let plain = CompleteRequest { fence: lease.fence, sha256: None };
    f.store.complete(Scope::Admin, task.id, plain.clone()).await.unwrap();
    f.store.complete(Scope::Admin, task.id, plain).await.unwrap();
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    let claimed_upload = CompleteRequest { fence: lease.fence, sha256: Some(digest('a')) };
    assert_eq!(
        refusal(f.store.complete(Scope::Admin, task.id, claimed_upload).await),
        ErrorCode::ResultMissing,
        "a digest that was never uploaded does not count"
    );
}

pub async fn failing_is_idempotent_and_retried_within_its_budget(f: Fixture) {
    let mut spec = run("r1", &[("a", 1)]);
    spec.max_failure_retries = 1;
    let id = f.create(&spec).await;
    let (task, first) = f.claim(&id, claim("r", "h", None)).await;
    let back = f.fail(task.id, first.fence, FailKind::Setup).await.unwrap();
    assert_eq!(back.state, TaskState::Pending);
    assert_eq!(f.fail(task.id, first.fence, FailKind::Setup).await.unwrap(), back);
    let (_, second) = f.claim(&id, claim("r", "h", None)).await;
    f.fail(task.id, first.fence, FailKind::Setup).await.unwrap();
    let gone = f.fail(task.id, second.fence, FailKind::Exit).await.unwrap();
    assert_eq!((gone.state, gone.reason.as_deref(), gone.attempts), (TaskState::Failed, Some("exit"), 2));
    assert_eq!(gone.error_message.as_deref(), Some("it broke"));
    assert_eq!(f.fail(task.id, second.fence, FailKind::Exit).await.unwrap(), gone);
    assert_eq!(f.store.run(&id).await.unwrap().status, RunStatus::Failed);
    let attempts = f.store.attempts(task.id).await.unwrap();
    let types: Vec<_> = attempts.iter().map(|attempt| attempt.error_type.as_deref().unwrap()).collect();
    assert_eq!(types, ["setup", "exit"]);
}

pub async fn a_lost_task_is_retried_then_failed(f: Fixture) {
    let mut spec = run("r1", &[("a", 1)]);
    spec.max_attempts = 2;
    let id = f.create(&spec).await;
    for attempt in 1..=2 {
        let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
        assert_eq!(lease.attempt, attempt);
        f.beat(task.id, lease.fence).await.unwrap();
        f.wait(61);
        assert_eq!(f.store.sweep().await.unwrap().leases_lost, 1);
    }
    let task = f.store.tasks(&id, page(10)).await.unwrap().remove(0);
    assert_eq!((task.state, task.reason.as_deref()), (TaskState::Failed, Some("lost")));
    assert_eq!(
        kinds(&f, &id).await,
        [
            EventKind::RunCreated,
            EventKind::TaskClaimed,
            EventKind::TaskStarted,
            EventKind::TaskLost,
            EventKind::TaskRetried,
            EventKind::TaskClaimed,
            EventKind::TaskStarted,
            EventKind::TaskLost,
            EventKind::TaskFailed,
            EventKind::RunFinished,
        ]
    );
}

pub async fn a_task_lost_with_three_hosts_is_poison(f: Fixture) {
    let mut spec = run("r1", &[("a", 1)]);
    spec.max_attempts = 100;
    let id = f.create(&spec).await;
    for host in ["h1", "h1", "h2", "h3"] {
        let (task, lease) = f.claim(&id, claim(host, host, None)).await;
        f.beat(task.id, lease.fence).await.unwrap();
        f.wait(61);
        f.store.sweep().await.unwrap();
    }
    let task = f.store.tasks(&id, page(10)).await.unwrap().remove(0);
    assert_eq!((task.reason.as_deref(), task.attempts), (Some("poison"), 4));
    assert!(task.error_message.unwrap().contains("h1, h2, h3"));
}

pub async fn releases_and_announced_losses_cost_nothing(f: Fixture) {
    let mut spec = run("r1", &[("a", 1)]);
    spec.max_attempts = 1;
    let id = f.create(&spec).await;
    for _ in 0..3 {
        let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
        let back = f.release(task.id, lease.fence).await.unwrap();
        assert_eq!(back.state, TaskState::Pending);
        assert_eq!(f.release(task.id, lease.fence).await.unwrap(), back);
    }
    f.claim(&id, claim("r", "spot", None)).await;
    let notice = HostEvent { stage: HostStage::SpotNotice, provider: "p".into(), alias: None, message: None };
    f.store.host_event(&id, "spot", notice).await.unwrap();
    f.wait(61);
    f.store.sweep().await.unwrap();
    let (task, lease) = f.claim(&id, claim("r2", "h2", None)).await;
    assert_eq!(lease.attempt, 5);
    f.complete(task.id, lease.fence).await.unwrap();
    assert_eq!(f.store.run(&id).await.unwrap().status, RunStatus::Completed);
}

pub async fn a_bad_host_is_drained_and_a_lone_one_is_not(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 10)])).await;
    for _ in 0..3 {
        let (task, lease) = f.claim(&id, claim("bad", "bad", None)).await;
        f.fail(task.id, lease.fence, FailKind::Spawn).await.unwrap();
    }
    assert!(!f.store.hosts(&id).await.unwrap()[0].drained, "there is no other host that could go on");
    let (task, lease) = f.claim(&id, claim("good", "good", None)).await;
    f.complete(task.id, lease.fence).await.unwrap();
    let (task, lease) = f.claim(&id, claim("bad", "bad", None)).await;
    f.fail(task.id, lease.fence, FailKind::Spawn).await.unwrap();
    let hosts = f.store.hosts(&id).await.unwrap();
    let drained: Vec<_> = hosts.iter().filter(|host| host.drained).map(|host| host.host.as_str()).collect();
    assert_eq!(drained, ["bad"]);
    assert_eq!(f.store.claim(&id, claim("bad", "bad", None)).await.unwrap(), Claimed::Done);
    f.claim(&id, claim("good", "good", None)).await;
    assert!(kinds(&f, &id).await.contains(&EventKind::HostDrained));
}

pub async fn a_failing_benchmark_drains_nobody(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 8)])).await;
    for _ in 0..4 {
        for host in ["h1", "h2"] {
            let (task, lease) = f.claim(&id, claim(host, host, None)).await;
            f.fail(task.id, lease.fence, FailKind::Exit).await.unwrap();
        }
    }
    assert!(f.store.hosts(&id).await.unwrap().iter().all(|host| !host.drained));
    let view = f.store.run(&id).await.unwrap();
    assert_eq!((view.status, view.tasks.failed), (RunStatus::Failed, 8));
}

pub async fn unclaimed_tasks_fail_after_their_deadline(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 2), ("b", 3)])).await;
    f.wait(3000);
    let (task, lease) = f.claim(&id, claim("r", "h", Some("a"))).await;
    f.wait(700);
    f.beat(task.id, lease.fence).await.unwrap();
    assert_eq!(f.store.sweep().await.unwrap().tasks_unclaimed, 3, "those of `b`, which nobody asked for");
    let view = f.store.run(&id).await.unwrap();
    assert_eq!((view.tasks.failed, view.tasks.pending), (3, 1));
    let failed = TaskPage { state: Some(TaskState::Failed), ..page(10) };
    let tasks = f.store.tasks(&id, failed).await.unwrap();
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.reason.as_deref() == Some("unclaimed")));
    assert_eq!(f.store.claim(&id, claim("x", "x", Some("b"))).await.unwrap(), Claimed::Done);
    f.complete(task.id, lease.fence).await.unwrap();
    let (task, lease) = f.claim(&id, claim("r", "h", Some("a"))).await;
    f.complete(task.id, lease.fence).await.unwrap();
    assert_eq!(f.store.run(&id).await.unwrap().status, RunStatus::Failed);
}

pub async fn stopping_cancels_what_has_not_ended(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 5)])).await;
    let (done, lease) = f.claim(&id, claim("r1", "h", None)).await;
    f.complete(done.id, lease.fence).await.unwrap();
    let (running, lease) = f.claim(&id, claim("r1", "h", None)).await;
    let view = f.store.stop_run(&id).await.unwrap();
    assert_eq!((view.status, view.tasks.cancelled, view.tasks.completed), (RunStatus::Cancelled, 4, 1));
    assert_eq!(f.store.stop_run(&id).await.unwrap(), view);
    assert_eq!(f.store.run(&id).await.unwrap(), view);
    assert_eq!(refusal(f.beat(running.id, lease.fence).await), ErrorCode::RunEnded);
    assert_eq!(f.store.claim(&id, claim("r1", "h", None)).await.unwrap(), Claimed::Done);
    let states: Vec<_> = f.store.tasks(&id, page(10)).await.unwrap();
    assert_eq!(states.iter().filter(|task| task.state == TaskState::Cancelled).count(), 4);
    assert_eq!(refusal(f.store.stop_run(&"none".parse().unwrap()).await), ErrorCode::NotFound);
}

pub async fn done_nothing_and_not_found_are_told_apart(f: Fixture) {
    let unknown = "later".parse().unwrap();
    assert_eq!(refusal(f.store.claim(&unknown, claim("r", "h", None)).await), ErrorCode::NotFound);
    let id = f.create(&run("r1", &[("a", 1), ("b", 1)])).await;
    let (task, lease) = f.claim(&id, claim("r1", "h", Some("a"))).await;
    assert_eq!(f.store.claim(&id, claim("r2", "h", Some("a"))).await.unwrap(), Claimed::Nothing);
    f.complete(task.id, lease.fence).await.unwrap();
    assert_eq!(f.store.claim(&id, claim("r2", "h", Some("a"))).await.unwrap(), Claimed::Done);
    assert_eq!(f.store.claim(&id, claim("r2", "h", Some("none"))).await.unwrap(), Claimed::Done);
    let mut elsewhere = claim("r2", "h", None);
    elsewhere.provider = "q".into();
    assert_eq!(f.store.claim(&id, elsewhere).await.unwrap(), Claimed::Done);
    f.claim(&id, claim("r2", "h", None)).await;
}

pub async fn scopes_are_checked(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    let other = f.create(&run("r2", &[("a", 1)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    let scope = Scope::Run(other);
    assert_eq!(refusal(f.store.lease(scope.clone(), task.id, lease.fence).await), ErrorCode::Forbidden);
    let complete = CompleteRequest { fence: lease.fence, sha256: None };
    assert_eq!(refusal(f.store.complete(scope, task.id, complete).await), ErrorCode::Forbidden);
    f.store.lease(Scope::Run(id), task.id, lease.fence).await.unwrap();
}

pub async fn events_tell_the_story_in_order(f: Fixture) {
    let one = f.create(&run("r1", &[("a", 1)])).await;
    let two = f.create(&run("r2", &[("a", 1)])).await;
    let (task, lease) = f.claim(&one, claim("r", "h", None)).await;
    f.beat(task.id, lease.fence).await.unwrap();
    f.beat(task.id, lease.fence).await.unwrap();
    f.complete(task.id, lease.fence).await.unwrap();
    assert_eq!(
        kinds(&f, &one).await,
        [
            EventKind::RunCreated,
            EventKind::TaskClaimed,
            EventKind::TaskStarted,
            EventKind::TaskUploaded,
            EventKind::TaskCompleted,
            EventKind::RunFinished,
        ]
    );
    assert_eq!(kinds(&f, &two).await, [EventKind::RunCreated]);
    let all = f.store.events(None, 0, 100).await.unwrap();
    assert_eq!(all.len(), 7);
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let rest = f.store.events(None, all[2].seq, 2).await.unwrap();
    assert_eq!(rest, all[3..5]);
    assert_eq!(*f.store.newest_event().borrow(), all[6].seq);
    let of_one = f.store.events(Some(&one), 0, 100).await.unwrap();
    for (count, expected) in
        [(1, &of_one[5..]), (4, &of_one[2..]), (6, &of_one), (7, &of_one), (u32::MAX, &of_one)]
    {
        let after = f.store.before_latest(&one, count).await.unwrap();
        assert_eq!(f.store.events(Some(&one), after, 100).await.unwrap(), expected, "the last {count}");
    }
    let unknown = f.store.before_latest(&"nobody".parse().unwrap(), 1).await;
    assert_eq!(refusal(unknown), ErrorCode::NotFound);
    let claimed = &all[2];
    assert_eq!(claimed.task_id, Some(task.id));
    assert_eq!((claimed.number, claimed.attempt), (Some(1), Some(1)));
    assert_eq!((claimed.host.as_deref(), claimed.runner_id.as_deref()), (Some("h"), Some("r")));
    assert_eq!(claimed.alias.as_ref().unwrap().as_str(), "a");
}

pub async fn a_restart_keeps_everything_and_extends_leases_once(mut f: Fixture) {
    let id = f.create(&run("r1", &[("a", 4)])).await;
    let asked = claim("r", "h", None);
    let (task, lease) = f.claim(&id, asked.clone()).await;
    f.beat(task.id, lease.fence).await.unwrap();
    let (other, released) = f.claim(&id, claim("r2", "h", None)).await;
    f.release(other.id, released.fence).await.unwrap();
    f.store.sweep().await.unwrap();
    let before = (f.store.run(&id).await.unwrap(), f.store.tasks(&id, page(10)).await.unwrap());
    f.store.close().await;
    f.wait(10_000);
    f.reopen().await;
    assert_eq!((f.store.run(&id).await.unwrap(), f.store.tasks(&id, page(10)).await.unwrap()), before);
    f.wait(59);
    assert_eq!(f.store.sweep().await.unwrap(), Default::default(), "extended by the time it was away");
    assert_eq!(f.claim(&id, asked).await.1.fence, lease.fence);
    f.wait(61);
    assert_eq!(f.store.sweep().await.unwrap().leases_lost, 1, "but once only");
    let extended = kinds(&f, &id).await.iter().filter(|kind| **kind == EventKind::LeasesExtended).count();
    assert_eq!(extended, 1);
    let (again, _) = f.claim(&id, claim("r3", "h3", None)).await;
    assert_eq!(again.id, task.id.min(other.id), "what came back keeps its place in the queue");
}

pub async fn hosts_and_runners_are_seen(mut f: Fixture) {
    let id = f.create(&run("r1", &[("a", 2)])).await;
    let boot = HostEvent {
        stage: HostStage::Boot,
        provider: "p".into(),
        alias: Some("a".parse().unwrap()),
        message: Some("starting".into()),
    };
    f.store.host_event(&id, "h2", boot).await.unwrap();
    let (task, lease) = f.claim(&id, claim("r1", "h1", None)).await;
    f.store.claim(&id, claim("r2", "h1", None)).await.unwrap();
    f.store.runner_gone(&id, "r2").await.unwrap();
    let hosts = f.store.hosts(&id).await.unwrap();
    let names: Vec<_> = hosts.iter().map(|host| (host.host.as_str(), host.stage)).collect();
    assert_eq!(names, [("h1", HostStage::Joined), ("h2", HostStage::Boot)]);
    assert_eq!(hosts[0].runners[0].task_id, Some(task.id));
    assert_eq!(hosts[0].runners[0].state, RunnerState::Busy);
    f.complete(task.id, lease.fence).await.unwrap();
    f.store.sweep().await.unwrap();
    f.reopen().await;
    let hosts = f.store.hosts(&id).await.unwrap();
    assert_eq!(hosts[0].runners[0].state, RunnerState::Idle);
    assert_eq!(hosts[1].message.as_deref(), Some("starting"));
    f.wait(91);
    assert_eq!(f.store.hosts(&id).await.unwrap()[0].runners[0].state, RunnerState::Silent);
    assert_eq!(refusal(f.store.hosts(&"none".parse().unwrap()).await), ErrorCode::NotFound);
}

pub async fn deadlines_are_moved_after_the_end_as_well(mut f: Fixture) {
    let at = |expires_at| Deadline { expires_at };
    let id = f.create(&run("r1", &[("a", 1)])).await;
    assert_eq!(f.store.deadline(&id, at(None)).await.unwrap(), at(None));
    assert_eq!(f.store.deadline(&id, at(Some(100))).await.unwrap(), at(Some(100)));
    f.store.stop_run(&id).await.unwrap();
    assert_eq!(f.store.deadline(&id, at(Some(50))).await.unwrap(), at(Some(50)), "the newest counts");
    f.reopen().await;
    assert_eq!(f.store.deadline(&id, at(None)).await.unwrap(), at(Some(50)));
    assert_eq!(f.store.run(&id).await.unwrap().status, RunStatus::Cancelled, "nothing else has changed");
    for bad in [-1, i64::MAX] {
        assert_eq!(refusal(f.store.deadline(&id, at(Some(bad))).await), ErrorCode::BadRequest);
    }
    let unknown = run("none", &[("a", 1)]).run_id;
    assert_eq!(refusal(f.store.deadline(&unknown, at(None)).await), ErrorCode::NotFound);
}

pub async fn lists_are_paged_and_filtered(f: Fixture) {
    f.create(&run("other", &[("a", 3)])).await;
    let id = f.create(&run("r1", &[("a", 20), ("b", 20)])).await;
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map_or(0, |task: &bench::api::TaskView| task.id);
        let part = f.store.tasks(&id, TaskPage { after, ..page(7) }).await.unwrap();
        if part.is_empty() {
            break;
        }
        seen.extend(part);
    }
    assert_eq!(seen.len(), 40);
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].position + 1 == pair[1].position));
    let numbers: HashSet<_> = seen.iter().map(|task| (task.alias.clone(), task.number)).collect();
    assert_eq!(numbers.len(), 40);
    for round in seen.chunks(2) {
        assert_ne!(round[0].alias, round[1].alias, "each repetition of all aliases comes before the next");
    }
    let of_b = TaskPage { alias: Some("b".into()), state: Some(TaskState::Pending), ..page(100) };
    assert_eq!(f.store.tasks(&id, of_b).await.unwrap().len(), 20);
    let running = TaskPage { state: Some(TaskState::Running), ..page(100) };
    assert!(f.store.tasks(&id, running).await.unwrap().is_empty());
}

pub async fn watches_move_with_the_queue_and_the_events(f: Fixture) {
    let mut queue = f.store.queue_changes();
    let mut events = f.store.newest_event();
    let id = f.create(&run("r1", &[("a", 1)])).await;
    queue.changed().await.unwrap();
    events.changed().await.unwrap();
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    events.changed().await.unwrap();
    queue.mark_unchanged();
    f.release(task.id, lease.fence).await.unwrap();
    queue.changed().await.unwrap();
    let newest = *events.borrow_and_update();
    assert_eq!(f.store.events(None, 0, 100).await.unwrap().last().unwrap().seq, newest);
    f.store.stop_run(&id).await.unwrap();
    queue.changed().await.unwrap();
}

pub async fn concurrent_claims_hand_out_every_task_once(f: Fixture) {
    const TASKS: u32 = 1500;
    let mut spec = run("r1", &[("a", TASKS / 3), ("b", TASKS / 3), ("c", TASKS / 3)]);
    spec.results = bench::api::ResultsPolicy::Optional;
    let id = f.create(&spec).await;
    let workers: Vec<_> = (0..30)
        .map(|worker| {
            let (store, id) = (f.store.clone(), id.clone());
            tokio::spawn(async move {
                let name = format!("r{worker}");
                let mut mine = Vec::new();
                while let Claimed::Assigned(task, lease) =
                    store.claim(&id, claim(&name, &name, None)).await.unwrap()
                {
                    mine.push(task.id);
                    let complete = CompleteRequest { fence: lease.fence, sha256: None };
                    store.complete(Scope::Admin, task.id, complete).await.unwrap();
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    assert_eq!(all.len(), TASKS as usize);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), TASKS as usize);
    let view = f.store.run(&id).await.unwrap();
    assert_eq!((view.status, view.tasks.completed), (RunStatus::Completed, u64::from(TASKS)));
    let completed = kinds(&f, &id).await.iter().filter(|kind| **kind == EventKind::TaskCompleted).count();
    assert_eq!(completed, TASKS as usize);
}

pub async fn a_large_run_is_created_and_stopped(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 30_000), ("b", 1000)])).await;
    let (first, _) = f.claim(&id, claim("r", "h", Some("b"))).await;
    assert_eq!(first.number, 1);
    let view = f.store.stop_run(&id).await.unwrap();
    assert_eq!(view.tasks.cancelled, 31_000);
    let cancelled = TaskPage { state: Some(TaskState::Cancelled), ..page(40_000) };
    assert_eq!(f.store.tasks(&id, cancelled).await.unwrap().len(), 31_000);
}

pub async fn closed_stores_refuse(f: Fixture) {
    let id = f.create(&run("r1", &[("a", 1)])).await;
    f.store.ping().await.unwrap();
    f.store.close().await;
    f.store.close().await;
    assert!(matches!(
        f.store.claim(&id, claim("r", "h", None)).await,
        Err(bench::orchestrator::store::StoreError::Closed)
    ));
    assert!(f.store.ping().await.is_err());
}

//! The rules by themselves: invariants under random sequences of calls.

use std::collections::HashMap;

use proptest::prelude::*;

use super::run_state::Tasks;
use super::*;
use crate::api::{
    AttemptOutcome, ClaimRequest, CompleteRequest, CreateRun, FailKind, FailRequest, HeartbeatRequest,
    ReleaseRequest, Settled, TaskId, TaskState,
};
use crate::orchestrator::store::contract::{Claimed, Upload};
use crate::orchestrator::store::order::interleaved;

const TASKS: u32 = 3;
const RUNNERS: u8 = 4;

/// A run with all its tasks in memory: two aliases of one type.
pub(super) fn run_with(max_attempts: u32, max_failure_retries: u32) -> RunState {
    let spec: CreateRun = serde_json::from_value(serde_json::json!({
        "run_id": "r",
        "workload": {"name": "w", "timeout_seconds": 60, "kind": "mock"},
        "tasks": [
            {"provider": "p", "instance_type": "t", "alias": "a", "count": TASKS},
            {"provider": "p", "instance_type": "t", "alias": "b", "count": TASKS},
        ],
        "lease_seconds": 60,
        "max_attempts": max_attempts,
        "max_failure_retries": max_failure_retries,
        "results": "optional",
    }))
    .expect("is a run");
    let mut run = RunState::create(&spec, spec_text(&spec).expect("is JSON"), 1, 1, 0);
    let rows: Vec<TaskRow> = (1..)
        .zip(interleaved(0, &[TASKS, TASKS]))
        .map(|(id, slot)| TaskRow::pending(id, slot.group, slot.number))
        .collect();
    for group in 0..2 {
        let of_group = rows.iter().filter(|task| task.group == group).cloned().collect();
        run.refill(group, of_group, true);
    }
    run
}

#[derive(Debug, Clone)]
enum Step {
    Claim { runner: u8, host: u8, request: u8 },
    Beat { task: u8, stale: i64 },
    Complete { task: u8, stale: i64 },
    Fail { task: u8, stale: i64, kind: FailKind },
    Release { task: u8, stale: i64 },
    Wait { seconds: u16 },
    Sweep,
    Extend { seconds: u16 },
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let task = 0..TASKS as u8 * 2;
    // Mostly the newest fence, now and then one before it or one that never was.
    let stale = prop_oneof![6 => Just(0i64), 1 => 1i64..4, 1 => Just(-1i64)];
    let kind = prop_oneof![Just(FailKind::Exit), Just(FailKind::Spawn), Just(FailKind::Environment)];
    prop_oneof![
        8 => (0..RUNNERS, 0..3u8, 0..3u8)
            .prop_map(|(runner, host, request)| Step::Claim { runner, host, request }),
        4 => (task.clone(), stale.clone()).prop_map(|(task, stale)| Step::Beat { task, stale }),
        2 => (task.clone(), stale.clone()).prop_map(|(task, stale)| Step::Complete { task, stale }),
        2 => (task.clone(), stale.clone(), kind).prop_map(|(task, stale, kind)| Step::Fail { task, stale, kind }),
        1 => (task, stale).prop_map(|(task, stale)| Step::Release { task, stale }),
        2 => (0..200u16).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Sweep),
        1 => (0..200u16).prop_map(|seconds| Step::Extend { seconds }),
        1 => prop_oneof![9 => Just(Step::Sweep), 1 => Just(Step::Stop)],
    ]
}

fn claim_by(runner: u8, host: u8, request: u8) -> ClaimRequest {
    ClaimRequest {
        provider: "p".into(),
        instance_type: "t".into(),
        alias: None,
        runner_id: format!("r{runner}"),
        host: Some(format!("h{host}")),
        request_id: (request > 0).then(|| format!("q{request}")),
        wait_seconds: 0,
    }
}

fn apply(run: &mut RunState, step: &Step, now: &mut i64) {
    let fence = |run: &RunState, task: u8, stale: i64| {
        let id = TaskId::from(task) + 1;
        (id, run.tasks.get(&id).map_or(0, |task| task.fence) - stale)
    };
    match step.clone() {
        Step::Claim { runner, host, request } => {
            run.claim(&claim_by(runner, host, request), *now);
        }
        Step::Beat { task, stale } => {
            let (id, fence) = fence(run, task, stale);
            let beat = HeartbeatRequest { fence, status: "measure".into(), progress: None, message: None };
            run.heartbeat(id, &beat, *now).ok();
        }
        Step::Complete { task, stale } => {
            let (id, fence) = fence(run, task, stale);
            run.complete(id, &CompleteRequest { fence, sha256: None }, *now).ok();
        }
        Step::Fail { task, stale, kind } => {
            let (id, fence) = fence(run, task, stale);
            let request = FailRequest { fence, error_type: kind, error_message: "e".into(), sha256: None };
            run.fail(id, &request, *now).ok();
        }
        Step::Release { task, stale } => {
            let (id, fence) = fence(run, task, stale);
            run.release(id, &ReleaseRequest { fence, reason: "sigterm".into() }, *now).ok();
        }
        Step::Wait { seconds } => *now += i64::from(seconds) * 1000,
        Step::Sweep => {
            run.sweep(*now);
        }
        Step::Extend { seconds } => run.extend_leases(i64::from(seconds) * 1000, *now),
        Step::Stop => run.stop(*now),
    }
}

/// What must hold after every step.
fn check(run: &RunState, before: &Tasks, attempts: &[AttemptRow]) {
    let mut tally: HashMap<(usize, &str), u64> = HashMap::new();
    for task in run.tasks.values() {
        *tally.entry((task.group, crate::orchestrator::store::words::Word::word(task.state))).or_default() +=
            1;
        let active = matches!(task.state, TaskState::Claimed | TaskState::Running);
        assert_eq!(task.lease.is_some(), active, "a lease exactly while handed out: {task:?}");
        let queued = run.groups[task.group].queue.contains(&task.id);
        if task.state != TaskState::Pending {
            assert!(!queued, "only pending tasks are queued: {task:?}");
        }
        assert!(task.spent() <= run.row.max_attempts, "within max_attempts: {task:?}");
        assert!(task.failures <= run.row.max_failure_retries + 1, "{task:?}");
        let accepted = attempts.iter().filter(|a| a.task == task.id && a.accepted).count();
        assert_eq!(
            accepted,
            usize::from(task.state == TaskState::Completed),
            "one accepted attempt: {task:?}"
        );
        if let Some(old) = before.get(&task.id) {
            assert!(task.fence >= old.fence, "fences grow");
            assert!(task.attempts == old.attempts || task.fence > old.fence, "a new attempt has a new fence");
            if old.state.is_final() {
                assert_eq!(task, old, "what has ended never changes");
            }
        }
        let ended = attempts.iter().filter(|a| a.task == task.id).count() as u32;
        assert_eq!(task.attempts, ended + u32::from(active), "every attempt is kept once");
    }
    for (runner, id) in &run.held {
        assert_eq!(run.tasks[id].lease.as_ref().map(|lease| &lease.runner_id), Some(runner));
    }
    if !run.row.status.is_final() {
        for (index, group) in run.groups.iter().enumerate() {
            let count = |state| tally.get(&(index, state)).copied().unwrap_or(0);
            assert_eq!(group.counts.pending, count("pending"));
            assert_eq!(group.counts.claimed, count("claimed"));
            assert_eq!(group.counts.running, count("running"));
            assert_eq!(group.counts.completed, count("completed"));
            assert_eq!(group.counts.failed, count("failed"));
            assert_eq!(group.queue.len() as u64, group.counts.pending);
            assert!(group.queue.first().is_none_or(|first| group.head <= *first));
        }
    }
    let counts = run.counts();
    assert_eq!(counts.ended() + counts.pending + counts.claimed + counts.running, counts.total);
    assert_eq!(run.row.status.is_final(), counts.ended() == counts.total, "ends with its last task");
    assert_eq!(counts.claimed + counts.running, run.held.len() as u64);
}

proptest! {
    #[test]
    fn random_calls_keep_the_invariants(
        steps in prop::collection::vec(step(), 1..120),
        max_attempts in 1u32..5,
        max_failure_retries in 0u32..3,
    ) {
        let mut run = run_with(max_attempts, max_failure_retries);
        let mut now = 1_000_000;
        let mut attempts = Vec::new();
        for step in &steps {
            let before = run.tasks.clone();
            apply(&mut run, step, &mut now);
            attempts.append(&mut run.dirty.attempts);
            check(&run, &before, &attempts);
        }
    }

    #[test]
    fn a_run_whose_runners_all_die_ends(hosts in 1u8..5, max_attempts in 1u32..8) {
        let mut run = run_with(max_attempts, 0);
        let mut now = 0;
        for round in 0..200u8 {
            for runner in 0..RUNNERS {
                run.claim(&claim_by(runner, runner % hosts, round % 3 + 1), now);
            }
            now += 61_000;
            run.sweep(now);
            if run.row.status.is_final() {
                break;
            }
        }
        prop_assert!(run.row.status.is_final(), "{:?}", run.counts());
        prop_assert!(run.dirty.attempts.iter().all(|attempt| attempt.outcome == AttemptOutcome::Lost));
    }
}

#[test]
fn a_refusal_changes_nothing() {
    let mut run = run_with(4, 0);
    run.claim(&claim_by(1, 1, 1), 0);
    run.dirty = Default::default();
    let before = run.tasks.clone();
    for id in 1..=6 {
        let beat = HeartbeatRequest { fence: 99, status: "x".into(), progress: None, message: None };
        assert!(run.heartbeat(id, &beat, 5).is_err());
        assert!(run.complete(id, &CompleteRequest { fence: 99, sha256: None }, 5).is_err());
    }
    assert_eq!(run.tasks, before);
    assert!(run.dirty.is_empty());
}

#[test]
fn a_report_about_another_archive_than_the_uploaded_one_is_told_so() {
    let mut run = run_with(4, 0);
    let Claimed::Assigned(task, lease) = run.claim(&claim_by(1, 1, 1), 0) else { panic!("no task") };
    let (ours, other) = ("a".repeat(64), "b".repeat(64));
    let completed = CompleteRequest { fence: lease.fence, sha256: Some(other.clone()) };
    let failed = FailRequest {
        fence: lease.fence,
        error_type: FailKind::Exit,
        error_message: String::new(),
        sha256: Some(other.clone()),
    };
    let refusals = |run: &mut RunState| {
        let complete = run.complete(task.id, &completed, 1).expect_err("its archive is not there");
        let fail = run.fail(task.id, &failed, 1).expect_err("its archive is not there");
        [complete, fail].map(|refusal| refusal.to_string())
    };
    for said in refusals(&mut run) {
        assert!(said.contains("not uploaded yet"), "{said}");
    }
    for (verified, word) in [(false, "announced"), (true, "uploaded")] {
        let upload = Upload { sha256: ours.clone(), size: 1, key: "k".into(), verified };
        run.record_upload(task.id, lease.fence, &upload, 1).expect("holds the lease");
        for said in refusals(&mut run) {
            assert!(said.contains(word) && said.contains(&ours) && said.contains(&other), "{said}");
            assert!(!said.contains("not uploaded yet"), "{said}");
        }
    }
}

#[test]
fn waiting_claims_are_woken_by_what_comes_back_and_by_nothing_else() {
    let mut run = run_with(4, 0);
    run.dirty.queue = false;
    let Claimed::Assigned(task, lease) = run.claim(&claim_by(1, 1, 1), 0) else { panic!("no task") };
    let beat = HeartbeatRequest { fence: lease.fence, status: "x".into(), progress: None, message: None };
    run.heartbeat(task.id, &beat, 1).expect("holds the lease");
    assert!(!run.dirty.queue, "a claim and a beat give them nothing to look for");
    let release = ReleaseRequest { fence: lease.fence, reason: "sigterm".into() };
    run.release(task.id, &release, 2).expect("holds the lease");
    assert!(run.dirty.queue);
}

#[test]
fn a_task_is_not_given_back_for_nothing_without_end() {
    let mut run = run_with(4, 0);
    let mut releases = 0;
    while let Claimed::Assigned(task, lease) = run.claim(&claim_by(1, 0, 0), 0) {
        let release = ReleaseRequest { fence: lease.fence, reason: "sigterm".into() };
        run.release(task.id, &release, 0).expect("holds the lease");
        releases += 1;
    }
    assert_eq!(releases, 2 * TASKS * (lease::MAX_FREE_RELEASES + 4));
    assert!(run.tasks.values().all(|task| task.reason.as_deref() == Some("released")));
}

#[test]
fn tasks_go_out_in_the_seeded_order() {
    let mut run = run_with(4, 0);
    let ids: Vec<TaskId> = (0..RUNNERS)
        .map(|runner| match run.claim(&claim_by(runner, 0, 1), 0) {
            Claimed::Assigned(task, _) => task.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn a_beat_stays_behind_until_everything_is_taken() {
    let mut run = run_with(4, 0);
    let Claimed::Assigned(task, lease) = run.claim(&claim_by(1, 1, 1), 0) else { panic!("no task") };
    assert_eq!(run.take_changes(Take::AllButBeats).tasks[0].state, TaskState::Claimed);
    let beat = HeartbeatRequest { fence: lease.fence, status: "x".into(), progress: None, message: None };
    run.heartbeat(task.id, &beat, 1).expect("holds the lease");
    let changes = run.take_changes(Take::AllButBeats);
    assert!(changes.tasks.is_empty() && changes.beats.is_empty());
    assert_eq!((changes.groups[0].counts.running, changes.events.len()), (1, 1), "known to all the same");
    assert!(!run.dirty.is_empty() && run.dirty.has_only_beats());
    assert_eq!(run.take_changes(Take::All).beats[0].state, TaskState::Running);
    assert!(run.dirty.is_empty());
}

#[test]
fn a_beat_goes_with_what_else_happens_to_its_task() {
    let mut run = run_with(4, 0);
    let Claimed::Assigned(task, lease) = run.claim(&claim_by(1, 1, 1), 0) else { panic!("no task") };
    let beat = HeartbeatRequest { fence: lease.fence, status: "x".into(), progress: None, message: None };
    run.heartbeat(task.id, &beat, 1).expect("holds the lease");
    run.complete(task.id, &CompleteRequest { fence: lease.fence, sha256: None }, 2).expect("holds the lease");
    let changes = run.take_changes(Take::AllButBeats);
    assert_eq!((changes.tasks.len(), changes.beats.len()), (1, 0));
    assert_eq!(changes.tasks[0].state, TaskState::Completed);
}

#[test]
fn counts_that_are_ahead_of_the_rows_are_put_right() {
    let mut run = run_with(4, 0);
    run.claim(&claim_by(1, 1, 1), 0);
    run.take_changes(Take::All);
    // The first beat was answered, its count saved, its row not.
    let group = run.tasks[&1].group;
    (run.groups[group].counts.claimed, run.groups[group].counts.running) = (0, 1);
    run.recount();
    assert_eq!((run.groups[group].counts.claimed, run.groups[group].counts.running), (1, 0));
    assert_eq!(run.take_changes(Take::All).groups.len(), 1);
    run.recount();
    assert!(run.dirty.is_empty(), "right already");
}

#[test]
fn who_finds_no_task_waits_until_the_provider_instance_has_settled() {
    let mut run = run_with(1, 0);
    run.groups.iter_mut().for_each(|group| group.settled = false);
    run.stop(1);
    let claim = claim_by(0, 0, 0);
    assert!(matches!(run.claim(&claim, 2), Claimed::Nothing), "its host may be in the making");
    let stay = Settled { hosts_stay: true, ..Settled::default() };
    run.settle("p", &stay, 3);
    assert!(matches!(run.claim(&claim, 4), Claimed::Nothing), "hosts that are kept are not sent home");
    run.settle("other", &Settled::default(), 5);
    assert!(matches!(run.claim(&claim, 6), Claimed::Nothing), "another provider instance has settled");
    run.settle("p", &Settled::default(), 7);
    assert!(matches!(run.claim(&claim, 8), Claimed::Done));
}

#[test]
fn tasks_of_an_alias_without_hosts_fail_and_the_others_stay() {
    let mut run = run_with(1, 0);
    let hopeless = vec!["b".parse().expect("an alias")];
    run.settle("p", &Settled { hopeless, message: "none came up".into(), hosts_stay: false }, 1);
    let counts: Vec<_> = run.groups.iter().map(|group| (group.counts.pending, group.counts.failed)).collect();
    assert_eq!(counts, [(u64::from(TASKS), 0), (0, u64::from(TASKS))]);
    let hopeless = vec!["a".parse().expect("an alias")];
    run.settle("p", &Settled { hopeless, ..Settled::default() }, 2);
    assert_eq!(run.row.status, crate::api::RunStatus::Failed, "a run that nobody works on has ended");
}

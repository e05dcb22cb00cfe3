//! The end of an attempt, and where its task goes from there.

use crate::api::{AttemptOutcome, EventKind, HostStage, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;
use crate::words::count;

use super::lease::MAX_FREE_RELEASES;
use super::rows::{AttemptRow, Ended};
use super::run_state::RunState;

/// A task that was lost with this many different hosts is poison: it kills what it touches.
pub(super) const POISON_HOSTS: usize = 3;

/// How an attempt ended.
pub(super) struct End {
    outcome: AttemptOutcome,
    error_type: Option<String>,
    error_message: Option<String>,
    sha256: Option<String>,
}

impl End {
    pub(super) fn completed(sha256: Option<String>) -> End {
        End { outcome: AttemptOutcome::Completed, error_type: None, error_message: None, sha256 }
    }

    pub(super) fn failed(kind: &str, message: &str, sha256: Option<String>) -> End {
        let outcome = AttemptOutcome::Failed;
        End { outcome, error_type: Some(kind.to_owned()), error_message: Some(message.to_owned()), sha256 }
    }

    pub(super) fn released(reason: &str) -> End {
        End {
            outcome: AttemptOutcome::Released,
            error_type: None,
            error_message: Some(reason.to_owned()),
            sha256: None,
        }
    }

    pub(super) fn lost(why: &str) -> End {
        End {
            outcome: AttemptOutcome::Lost,
            error_type: Some("lost".to_owned()),
            error_message: Some(why.to_owned()),
            sha256: None,
        }
    }

    pub(super) fn cancelled() -> End {
        End { outcome: AttemptOutcome::Cancelled, error_type: None, error_message: None, sha256: None }
    }
}

impl RunState {
    /// Ends the attempt under way: its lease is over, its fence stale, its row final. The task's state is
    /// for the caller to set.
    pub(super) fn end_attempt(&mut self, id: TaskId, now: Millis, end: End) {
        let task = self.tasks.row_mut(id);
        let lease = task.lease.take().expect("only tasks that are handed out have an attempt to end");
        self.held.swap_remove(&lease.runner_id);
        task.ended = Some(Ended {
            fence: task.fence,
            outcome: end.outcome,
            sha256: end.sha256,
            runner_id: lease.runner_id.clone(),
            host: lease.host.clone(),
        });
        task.fence += 1;
        let attempt = AttemptRow {
            task: id,
            attempt: task.attempts,
            runner_id: lease.runner_id,
            host: lease.host,
            outcome: end.outcome,
            claimed_at: lease.claimed_at,
            ended_at: now,
            error_type: end.error_type,
            error_message: end.error_message,
            upload: lease.upload,
            accepted: end.outcome == AttemptOutcome::Completed,
        };
        if end.outcome != AttemptOutcome::Lost
            && let Some(host) = self.seen(&attempt.runner_id, &attempt.host, now)
            && end.outcome == AttemptOutcome::Completed
        {
            host.completed += 1;
            // Saved when the host first proves itself or recovers; the count itself need not be exact.
            if host.completed == 1 || !host.quick_failures.is_empty() {
                host.quick_failures.clear();
                self.dirty.hosts.insert(attempt.host.clone());
            }
        }
        self.dirty.attempts.push(attempt);
    }

    /// Takes a lease back because its runner is gone, and decides what becomes of the task.
    pub(super) fn lose(&mut self, id: TaskId, now: Millis, why: &str) {
        let task = &self.tasks[&id];
        let Some(lease) = &task.lease else { return };
        let (host, claimed_at, beaten) = (lease.host.clone(), lease.claimed_at, lease.beat_at.is_some());
        self.end_attempt(id, now, End::lost(why));
        self.event(now, EventKind::TaskLost, Some(id), Some(why.to_owned()));
        let announced = self.hosts.get(&host).is_some_and(|host| host.stage == HostStage::SpotNotice);
        let max_attempts = self.row.max_attempts;
        let task = self.tasks.row_mut(id);
        // Announced ends are bounded like releases: both are told by whoever has a run's key.
        let free = announced && task.free < MAX_FREE_RELEASES;
        if free {
            task.free += 1;
        } else if !task.lost_hosts.iter().any(|known| **known == *host) {
            task.lost_hosts.push(host.to_string());
        }
        if task.lost_hosts.len() >= POISON_HOSTS {
            let hosts = task.lost_hosts.join(", ");
            let message = format!("lost with {POISON_HOSTS} different hosts: {hosts}");
            self.fail_task(id, now, "poison", Some(message));
        } else if task.spent() >= max_attempts {
            let message = format!("handed out {}, last to {host}: {why}", count(task.attempts, "time"));
            self.fail_task(id, now, "lost", Some(message));
        } else {
            self.put_back(id, now, EventKind::TaskRetried, "lost");
        }
        if !free {
            self.judge_host_after_loss(id, &host, beaten, now - claimed_at, now);
        }
        self.finish_run_if_over(now);
    }

    pub(super) fn put_back(&mut self, id: TaskId, now: Millis, kind: EventKind, detail: &str) {
        self.set_state(id, TaskState::Pending);
        self.event(now, kind, Some(id), Some(detail.to_owned()));
    }

    pub(super) fn fail_task(&mut self, id: TaskId, now: Millis, reason: &str, message: Option<String>) {
        let detail = message.as_deref().map_or(reason.to_owned(), |message| in_brief(reason, message));
        self.finish_task(id, TaskState::Failed, Some(reason.to_owned()));
        self.tasks.row_mut(id).error_message = message;
        self.event(now, EventKind::TaskFailed, Some(id), Some(detail));
    }

    pub(super) fn finish_task(&mut self, id: TaskId, state: TaskState, reason: Option<String>) {
        self.set_state(id, state);
        let task = self.tasks.row_mut(id);
        task.reason = reason;
        let group = task.group;
        self.dirty.queue |= self.groups[group].is_over();
    }
}

/// For a line in a log: the reason, the first sentence of the message and its last line, which for a process is
/// what it said last.
fn in_brief(reason: &str, message: &str) -> String {
    const MOST: usize = 300;
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let brief = match lines.next_back() {
        Some(last) => format!("{reason}: {first} {last}"),
        None => format!("{reason}: {first}"),
    };
    brief.chars().take(MOST).collect()
}

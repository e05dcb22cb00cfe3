//! What the passing of time changes.

use crate::api::{EventKind, RunStatus, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::Swept;
use crate::words::count;

use super::changes::BulkEnd;
use super::rows::{NewEvent, RunnerRow};
use super::run_state::RunState;

/// How stale the saved time of a runner or a group may become.
pub(super) const SAVE_PRESENCE_MS: Millis = 10_000;
/// Runners saved by one sweep at most, so that nobody waits long behind them; the others follow.
const SAVE_PRESENCE_AT_ONCE: usize = 2_000;

impl RunState {
    pub fn sweep(&mut self, now: Millis) -> Swept {
        let mut swept = Swept::default();
        if self.row.status != RunStatus::Running {
            return swept;
        }
        for id in self.expired(now) {
            self.lose(id, now, "its lease ran out");
            swept.leases_lost += 1;
        }
        for group in 0..self.groups.len() {
            swept.tasks_unclaimed += self.fail_unclaimed(group, now);
        }
        self.save_presence();
        self.finish_run_if_over(now);
        swept
    }

    fn expired(&mut self, now: Millis) -> Vec<TaskId> {
        // Leases are only ever made longer, so most sweeps need not look at them.
        if now < self.leases_until {
            return Vec::new();
        }
        self.leases_until = Millis::MAX;
        let mut expired = Vec::new();
        for &id in self.held.values() {
            let Some(lease) = &self.tasks[&id].lease else { continue };
            if lease.expires_at <= now {
                expired.push(id);
            } else {
                self.leases_until = self.leases_until.min(lease.expires_at);
            }
        }
        expired.sort_unstable();
        expired
    }

    fn fail_unclaimed(&mut self, index: usize, now: Millis) -> u64 {
        let group = &self.groups[index];
        if group.counts.pending == 0 || now - group.wanted_at < self.row.pending_timeout_ms {
            return 0;
        }
        let seconds = self.row.pending_timeout_ms / 1000;
        let ended = self.end_pending(index, TaskState::Failed, "unclaimed");
        let detail =
            format!("unclaimed: {}, no runner for them was seen for {seconds} s", count(ended, "task"));
        self.group_event(index, now, EventKind::TaskFailed, detail);
        ended
    }

    /// Ends all pending tasks of a group, in memory and out of it. Their rows change in the database by one
    /// statement, and one event speaks for all of them.
    pub(super) fn end_pending(&mut self, index: usize, state: TaskState, reason: &'static str) -> u64 {
        let group = &mut self.groups[index];
        let ended = std::mem::take(&mut group.counts.pending);
        *super::rows::count_of(&mut group.counts, state) += ended;
        let in_memory = std::mem::take(&mut group.queue);
        group.head = TaskId::MAX;
        group.fetched_to = TaskId::MAX;
        for id in in_memory {
            // A row with unsaved changes is saved first, as it is, and then ended like the others.
            if !self.dirty.has_task(id) {
                self.tasks.remove(&id);
            }
        }
        self.dirty.groups.insert(index);
        self.dirty.bulk.push(BulkEnd { group: index, state, reason: reason.into() });
        self.dirty.queue = true;
        ended
    }

    pub(super) fn group_event(&mut self, index: usize, now: Millis, kind: EventKind, detail: String) {
        let event = NewEvent {
            at: now,
            kind,
            task_id: None,
            alias: Some(self.groups[index].alias.clone()),
            number: None,
            attempt: None,
            host: None,
            runner_id: None,
            detail: Some(detail),
        };
        self.dirty.events.push(event);
    }

    /// Marks who was heard of for saving, where what was saved is too old.
    pub(super) fn save_presence(&mut self) {
        self.forget_excess();
        let stale = |runner: &RunnerRow| runner.seen_at - runner.saved_at >= SAVE_PRESENCE_MS;
        let stale = self.runners.iter_mut().filter(|(_, runner)| stale(runner));
        for (id, runner) in stale.take(SAVE_PRESENCE_AT_ONCE) {
            runner.saved_at = runner.seen_at;
            self.dirty.runners.insert(id.clone());
            self.dirty.hosts.insert(runner.host.clone());
            if let Some(&held) = self.held.get(id) {
                self.dirty.groups.insert(self.tasks[&held].group);
            }
        }
    }
}

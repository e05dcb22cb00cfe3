//! Runs: their making, their end, and the time the orchestrator was away.

use std::sync::Arc;

use crate::api::{
    CreateRun, Deadline, EventKind, RunStatus, RunView, Settled, TaskCounts, TaskId, TaskState,
};
use crate::orchestrator::store::clock::{Millis, timestamp};
use crate::orchestrator::store::words::Word;
use crate::words::count;

use super::attempt::End;
use super::rows::{GroupRow, RunKey, RunRow};
use super::run_state::RunState;

/// The text by which two specifications are compared: field by field in the order of the type, so equal
/// values give equal text.
pub fn spec_text(run: &CreateRun) -> Result<String, serde_json::Error> {
    serde_json::to_string(run)
}

impl RunState {
    /// A new run; `key` and `first_task` were allocated by the database.
    pub fn create(run: &CreateRun, spec: String, key: RunKey, first_task: TaskId, now: Millis) -> RunState {
        let total = run.tasks.iter().map(|group| group.count).sum();
        let row = RunRow {
            key,
            id: run.run_id.clone(),
            spec,
            workload: Arc::new(run.workload.clone()),
            lease_ms: Millis::from(run.lease_seconds) * 1000,
            max_attempts: run.max_attempts,
            max_failure_retries: run.max_failure_retries,
            pending_timeout_ms: Millis::from(run.pending_timeout_seconds) * 1000,
            results: run.results,
            seed: run.seed,
            status: RunStatus::Running,
            created_at: now,
            finished_at: None,
            deadline: None,
            first_task,
            total,
        };
        let groups = run
            .tasks
            .iter()
            .map(|group| GroupRow {
                provider: group.provider.clone(),
                instance_type: group.instance_type.clone(),
                alias: group.alias.clone(),
                counts: TaskCounts {
                    total: group.count.into(),
                    pending: group.count.into(),
                    ..TaskCounts::default()
                },
                head: first_task,
                wanted_at: now,
                settled: !group.unsettled,
                queue: Default::default(),
                fetched_to: first_task,
            })
            .collect();
        let mut state = RunState::new(row, groups);
        state.event(
            now,
            EventKind::RunCreated,
            None,
            Some(format!("{}, seed {}", count(total, "task"), run.seed)),
        );
        state.dirty.queue = true;
        state
    }

    pub fn view(&self) -> RunView {
        RunView {
            run_id: self.row.id.clone(),
            status: self.row.status,
            workload: (*self.row.workload).clone(),
            tasks: self.counts(),
            seed: self.row.seed,
            created_at: timestamp(self.row.created_at),
            finished_at: self.row.finished_at.map(timestamp),
        }
    }

    /// Cancels what has not ended. A run that has ended stays as it is.
    pub fn stop(&mut self, now: Millis) {
        if self.row.status != RunStatus::Running {
            return;
        }
        let mut active: Vec<TaskId> = self.held.values().copied().collect();
        active.sort_unstable();
        for id in active {
            self.end_attempt(id, now, End::cancelled());
            self.finish_task(id, TaskState::Cancelled, Some("stopped".to_owned()));
            self.event(now, EventKind::TaskCancelled, Some(id), Some("stopped".to_owned()));
        }
        for index in 0..self.groups.len() {
            if self.groups[index].counts.pending > 0 {
                let ended = self.end_pending(index, TaskState::Cancelled, "stopped");
                let detail = format!("stopped: {} not handed out", count(ended, "task"));
                self.group_event(index, now, EventKind::TaskCancelled, detail);
            }
        }
        self.end_run(RunStatus::Cancelled, EventKind::RunStopped, now);
    }

    /// Moves the deadline of the run's hosts, where there is a new one; also after the end of the run, since hosts
    /// may be kept. The newest that was said counts.
    pub fn move_deadline(&mut self, later: Deadline) -> Deadline {
        if later.expires_at.is_some() && later.expires_at != self.row.deadline {
            self.row.deadline = later.expires_at;
            self.dirty.run = true;
        }
        Deadline { expires_at: self.row.deadline }
    }

    pub(super) fn finish_run_if_over(&mut self, now: Millis) {
        if self.row.status != RunStatus::Running || !self.groups.iter().all(GroupRow::is_over) {
            return;
        }
        let failed = self.groups.iter().any(|group| group.counts.failed > 0);
        let status = if failed { RunStatus::Failed } else { RunStatus::Completed };
        self.end_run(status, EventKind::RunFinished, now);
    }

    fn end_run(&mut self, status: RunStatus, kind: EventKind, now: Millis) {
        self.row.status = status;
        self.row.finished_at = Some(now);
        self.dirty.run = true;
        self.dirty.queue = true;
        // No sweep looks at it any more.
        self.save_presence();
        self.event(now, kind, None, Some(status.word().to_owned()));
    }

    /// No host of the provider instance is being made any more: its runners may be told `done`. Pending tasks
    /// of hopeless aliases fail. Can be said again, also of a run that has ended.
    pub fn settle(&mut self, provider: &str, settled: &Settled, now: Millis) {
        for index in 0..self.groups.len() {
            if self.groups[index].provider != provider {
                continue;
            }
            self.groups[index].settled = !settled.hosts_stay;
            self.dirty.groups.insert(index);
            let hopeless = settled.hopeless.contains(&self.groups[index].alias);
            if hopeless && self.groups[index].counts.pending > 0 {
                let ended = self.end_pending(index, TaskState::Failed, "no_hosts");
                let detail = format!("no_hosts: {ended} tasks, {}", settled.message);
                self.group_event(index, now, EventKind::TaskFailed, detail);
            }
        }
        self.dirty.queue = true;
        self.finish_run_if_over(now);
    }

    /// The orchestrator was away for this long: nobody could renew a lease or claim a task meanwhile.
    pub fn extend_leases(&mut self, by: Millis, now: Millis) {
        if by <= 0 || self.row.status != RunStatus::Running {
            return;
        }
        for index in 0..self.groups.len() {
            self.groups[index].wanted_at += by;
            self.dirty.groups.insert(index);
        }
        let held: Vec<TaskId> = self.held.values().copied().collect();
        for id in &held {
            if let Some(lease) = self.tasks.row_mut(*id).lease.as_mut() {
                lease.expires_at += by;
                self.touch_by_beat(*id);
            }
        }
        if !held.is_empty() {
            let detail = format!("{} by {by} ms: the orchestrator was away", count(held.len(), "lease"));
            self.event(now, EventKind::LeasesExtended, None, Some(detail));
        }
    }
}

//! Bad hosts: one broken machine must not eat the queue, and a failing benchmark must not cost machines.
//!
//! A *quick failure* of a host is an attempt that, within [`QUICK_MS`] of its claim,
//! - failed for a reason that speaks of the machine (`setup`, `spawn`, `environment`, `runner`), or
//! - failed for a reason that speaks of the benchmark (`exit`, `timeout`, `output`) while another host of the
//!   same provider instance has completed a task, or
//! - was lost: its runner came back and asked anew, or never sent a beat before the lease ran out.
//!
//! [`DRAIN_AFTER`] of them in a row, of different tasks, drain the host: it gets no more tasks. But only
//! while another host is there that takes the same tasks, is not drained and was heard of within two leases:
//! on a single machine every task runs, and a benchmark that fails everywhere ends as so many results.

use crate::api::{EventKind, FailKind, HostStage, TaskId};
use crate::orchestrator::store::clock::Millis;

use super::rows::{HostRow, NewEvent};
use super::run_state::RunState;

pub(super) const QUICK_MS: Millis = 10_000;
pub(super) const DRAIN_AFTER: usize = 2;

impl RunState {
    pub(super) fn judge_host_after_failure(&mut self, id: TaskId, kind: FailKind, took: Millis, now: Millis) {
        let Some(host) = self.tasks[&id].host().cloned() else { return };
        let of_the_machine = match kind {
            FailKind::Setup | FailKind::Spawn | FailKind::Environment | FailKind::Runner => true,
            FailKind::Exit | FailKind::Timeout | FailKind::Output => self.works_elsewhere(&host),
        };
        if of_the_machine && took <= QUICK_MS {
            self.quick_failure(id, &host, now);
        }
    }

    pub(super) fn judge_host_after_loss(
        &mut self,
        id: TaskId,
        host: &str,
        beaten: bool,
        took: Millis,
        now: Millis,
    ) {
        if took <= QUICK_MS || !beaten {
            self.quick_failure(id, host, now);
        }
    }

    fn quick_failure(&mut self, id: TaskId, name: &str, now: Millis) {
        let replaceable = self.has_other_host_for(self.tasks[&id].group, name, now);
        let Some(host) = self.hosts.get_mut(name) else { return };
        if host.drained || host.quick_failures.contains(&id) {
            return;
        }
        host.quick_failures.push(id);
        let excess = host.quick_failures.len().saturating_sub(DRAIN_AFTER);
        host.quick_failures.drain(..excess);
        let drain = host.quick_failures.len() >= DRAIN_AFTER && replaceable;
        host.drained = drain;
        self.dirty.hosts.insert(name.into());
        if drain {
            self.dirty.queue = true;
            let detail = format!("{DRAIN_AFTER} tasks in a row failed or were lost quickly on it");
            self.host_event_row(now, EventKind::HostDrained, name, Some(detail));
        }
    }

    /// Whether a host other than `name` has completed a task, of the same provider instance.
    fn works_elsewhere(&self, name: &str) -> bool {
        let Some(provider) = self.hosts.get(name).map(|host| &host.provider) else { return false };
        self.hosts
            .iter()
            .any(|(other, host)| **other != *name && host.completed > 0 && host.provider == *provider)
    }

    fn has_other_host_for(&self, group: usize, name: &str, now: Millis) -> bool {
        let group = &self.groups[group];
        let recent = now - 2 * self.row.lease_ms;
        self.runners.values().any(|runner| {
            *runner.host != *name
                && !runner.gone
                && runner.seen_at >= recent
                && runner.provider == group.provider
                && runner.instance_type == group.instance_type
                && runner.alias.as_ref().is_none_or(|alias| *alias == group.alias)
                && self.hosts.get(&runner.host).is_some_and(|host| !host.drained)
        })
    }

    pub(super) fn host_event_row(
        &mut self,
        now: Millis,
        kind: EventKind,
        host: &str,
        detail: Option<String>,
    ) {
        let event = NewEvent {
            at: now,
            kind,
            task_id: None,
            alias: self.hosts.get(host).and_then(|host| host.alias.clone()),
            number: None,
            attempt: None,
            host: Some(host.into()),
            runner_id: None,
            detail,
        };
        self.dirty.events.push(event);
    }
}

impl HostRow {
    pub fn new(provider: String, stage: HostStage, now: Millis) -> HostRow {
        HostRow {
            provider,
            alias: None,
            stage,
            message: None,
            drained: false,
            quick_failures: Vec::new(),
            completed: 0,
            seen_at: now,
        }
    }
}

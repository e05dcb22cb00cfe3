//! Hosts and runners: what they say about themselves and when they were heard of.

use crate::api::{EventKind, HostEvent, HostView, RunnerState, RunnerView};
use crate::orchestrator::store::clock::{Millis, timestamp};
use crate::orchestrator::store::words::Word;

use super::rows::HostRow;
use super::run_state::RunState;

impl RunState {
    pub fn host_event(&mut self, host: &str, event: HostEvent, now: Millis) {
        // Names are made up by whoever has the run's key: after its end no more of them are taken down.
        if self.row.status.is_final() && !self.hosts.contains_key(host) {
            return;
        }
        let row = self
            .hosts
            .entry(host.into())
            .or_insert_with(|| HostRow::new(event.provider.clone(), event.stage, now));
        row.stage = event.stage;
        row.seen_at = now;
        row.provider = event.provider;
        if event.alias.is_some() {
            row.alias = event.alias;
        }
        row.message.clone_from(&event.message);
        self.dirty.hosts.insert(host.into());
        let stage = event.stage.word().to_owned();
        let detail = match event.message {
            Some(message) => format!("{stage}: {message}"),
            None => stage,
        };
        self.host_event_row(now, EventKind::HostStage, host, Some(detail));
    }

    pub fn runner_gone(&mut self, runner_id: &str, now: Millis) {
        if let Some(runner) = self.runners.get_mut(runner_id) {
            runner.seen_at = now;
            runner.gone = true;
            self.dirty.runners.insert(runner_id.into());
        }
    }

    /// Notes that a runner was heard of; gives its host, if that is known.
    pub(super) fn seen(&mut self, runner_id: &str, host: &str, now: Millis) -> Option<&mut HostRow> {
        if let Some(runner) = self.runners.get_mut(runner_id) {
            runner.seen_at = now;
        }
        let host = self.hosts.get_mut(host)?;
        host.seen_at = now;
        Some(host)
    }

    /// Every host with its runners, by name.
    pub fn host_views(&self, now: Millis) -> Vec<HostView> {
        let mut views: Vec<HostView> = self
            .hosts
            .iter()
            .map(|(name, host)| HostView {
                host: name.to_string(),
                provider: host.provider.clone(),
                alias: host.alias.clone(),
                stage: host.stage,
                message: host.message.clone(),
                drained: host.drained,
                last_seen_at: timestamp(host.seen_at),
                runners: Vec::new(),
            })
            .collect();
        views.sort_by(|a, b| a.host.cmp(&b.host));
        for (id, runner) in &self.runners {
            if let Ok(index) = views.binary_search_by(|view| view.host.as_str().cmp(&runner.host)) {
                views[index].runners.push(self.runner_view(id, runner, now));
            }
        }
        for view in &mut views {
            view.runners.sort_by(|a, b| a.runner_id.cmp(&b.runner_id));
        }
        views
    }

    fn runner_view(&self, id: &str, runner: &super::RunnerRow, now: Millis) -> RunnerView {
        let task_id = self.held.get(id).copied();
        let state = match task_id {
            Some(_) => RunnerState::Busy,
            None if runner.gone => RunnerState::Gone,
            None if now - runner.seen_at > self.row.lease_ms.max(SILENT_AFTER_MS) => RunnerState::Silent,
            None => RunnerState::Idle,
        };
        RunnerView { runner_id: id.to_owned(), state, task_id, last_seen_at: timestamp(runner.seen_at) }
    }
}

/// A runner that waits for a task may be held back for 60 s by its long poll; with half of that again for the
/// way there and back, silence has begun.
const SILENT_AFTER_MS: Millis = 90_000;

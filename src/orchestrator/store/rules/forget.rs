//! Bounds on what a run remembers of runners and hosts: their names are made up by whoever has the run's key,
//! and must not fill the memory.

use std::collections::HashSet;

use crate::orchestrator::store::clock::Millis;

use super::rows::Name;
use super::run_state::RunState;

/// Beyond, of those that hold no task, those heard of longest ago are forgotten. Twice what a large run has.
const MAX_RUNNERS: usize = 20_000;
/// The same for hosts. Those that were drained stay, too.
const MAX_HOSTS: usize = 20_000;
/// Messages of all hosts together, bytes. Beyond, those of hosts heard of longest ago are dropped; the events
/// keep them.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

impl RunState {
    pub(super) fn forget_excess(&mut self) {
        if self.runners.len() > MAX_RUNNERS + self.held.len() {
            self.forget_runners();
        }
        if self.hosts.len() > MAX_HOSTS + self.held.len() {
            self.forget_hosts();
        }
        self.forget_messages();
    }

    fn forget_runners(&mut self) {
        let mut idle: Vec<(Millis, Name)> = self
            .runners
            .iter()
            .filter(|(id, _)| !self.held.contains_key(*id))
            .map(|(id, runner)| (runner.seen_at, id.clone()))
            .collect();
        idle.sort_unstable();
        for (_, id) in idle.into_iter().take(self.runners.len() - MAX_RUNNERS - self.held.len()) {
            self.runners.swap_remove(&id);
            self.dirty.runners.insert(id);
        }
    }

    fn forget_hosts(&mut self) {
        let busy: HashSet<&Name> = self.held.values().filter_map(|id| self.tasks[id].host()).collect();
        let mut idle: Vec<(Millis, Name)> = self
            .hosts
            .iter()
            .filter(|(name, host)| !host.drained && !busy.contains(name))
            .map(|(name, host)| (host.seen_at, name.clone()))
            .collect();
        idle.sort_unstable();
        for (_, name) in idle.into_iter().take(self.hosts.len() - MAX_HOSTS - self.held.len()) {
            self.hosts.swap_remove(&name);
            self.dirty.hosts.insert(name);
        }
    }

    fn forget_messages(&mut self) {
        let length = |message: &Option<String>| message.as_ref().map_or(0, String::len);
        let mut total: usize = self.hosts.values().map(|host| length(&host.message)).sum();
        if total <= MAX_MESSAGE_BYTES {
            return;
        }
        let mut hosts: Vec<_> = self.hosts.iter_mut().filter(|(_, host)| host.message.is_some()).collect();
        hosts.sort_unstable_by_key(|(_, host)| host.seen_at);
        for (name, host) in hosts {
            if total <= MAX_MESSAGE_BYTES {
                break;
            }
            total -= length(&host.message.take());
            self.dirty.hosts.insert(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::api::{HostEvent, HostStage};

    use super::super::tests::run_with;
    use super::*;

    fn host_event(run: &mut RunState, host: usize, message: Option<String>) {
        let event = HostEvent { stage: HostStage::Boot, provider: "local".into(), alias: None, message };
        run.host_event(&format!("h{host}"), event, host as Millis);
    }

    #[test]
    fn made_up_hosts_do_not_fill_the_memory_and_those_that_work_stay() {
        let mut run = run_with(4, 0);
        host_event(&mut run, 0, None);
        run.hosts.get_mut("h0").expect("just met").drained = true;
        for host in 1..MAX_HOSTS + 100 {
            host_event(&mut run, host, None);
        }
        run.sweep(1);
        assert_eq!(run.hosts.len(), MAX_HOSTS);
        assert!(run.hosts.contains_key("h0"), "a drained host stays drained");
        assert!(!run.hosts.contains_key("h1"), "heard of longest ago");
        assert!(run.dirty.hosts.contains("h1"), "forgotten in the database, too");
    }

    #[test]
    fn messages_of_hosts_are_bounded_together() {
        let mut run = run_with(4, 0);
        let count = MAX_MESSAGE_BYTES / 20_000 + 10;
        for host in 0..count {
            host_event(&mut run, host, Some("x".repeat(20_000)));
        }
        run.sweep(1);
        let kept: usize = run.hosts.values().filter_map(|host| host.message.as_ref()).map(String::len).sum();
        assert!(kept <= MAX_MESSAGE_BYTES, "{kept}");
        assert_eq!(run.hosts.len(), count);
        assert!(run.hosts[format!("h{}", count - 1).as_str()].message.is_some(), "the newest stays");
        assert!(run.hosts["h0"].message.is_none());
    }
}

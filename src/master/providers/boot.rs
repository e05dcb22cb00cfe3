//! PURE. Which hosts of a provider instance are there: what Terraform made against what the orchestrator has
//! heard.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::api::{Alias, HostStage, HostView, RunnerState};
use crate::master::record::HostRecord;

/// A host that was made and has not reached the orchestrator with a task runner.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    pub host: HostRecord,
    /// The last stage of its boot that it told of.
    pub stage: Option<HostStage>,
    /// What it said about it, for a failure the end of its log.
    pub message: Option<String>,
}

/// The hosts that have not arrived. A host is known by its id; where a module gives other ids than its hosts
/// do, as many as there are strangers of their alias count as arrived.
pub fn missing(made: &[HostRecord], heard: &[HostView], provider: &str) -> Vec<Missing> {
    let ours = || heard.iter().filter(|view| view.provider == provider);
    let mut strangers: HashMap<&str, usize> = HashMap::new();
    for view in ours().filter(|view| has_arrived(view) && !made.iter().any(|host| host.id == view.host)) {
        if let Some(alias) = &view.alias {
            *strangers.entry(alias.as_str()).or_default() += 1;
        }
    }
    let mut absent = Vec::new();
    for host in made {
        let view = ours().find(|view| view.host == host.id);
        if view.is_some_and(has_arrived) {
            continue;
        }
        match strangers.get_mut(host.alias.as_str()).filter(|count| view.is_none() && **count > 0) {
            Some(count) => *count -= 1,
            None => absent.push(Missing {
                host: host.clone(),
                stage: view.map(|view| view.stage),
                message: view.and_then(|view| view.message.clone()),
            }),
        }
    }
    absent
}

fn has_arrived(view: &HostView) -> bool {
    let reached = match view.stage {
        HostStage::Boot | HostStage::Runner | HostStage::Failed => false,
        HostStage::Joined | HostStage::Ready | HostStage::SpotNotice | HostStage::Leaving => true,
    };
    reached || !view.runners.is_empty()
}

/// The aliases for which no task runner is there that could take a task.
pub fn unserved<'a>(aliases: &'a [Alias], heard: &[HostView], provider: &str) -> Vec<&'a Alias> {
    let works = |view: &HostView| {
        view.runners.iter().any(|runner| matches!(runner.state, RunnerState::Idle | RunnerState::Busy))
    };
    let served = |alias: &Alias| {
        heard.iter().any(|v| v.provider == provider && v.alias.as_ref() == Some(alias) && works(v))
    };
    aliases.iter().filter(|alias| !served(alias)).collect()
}

/// How long something has stood as it stands. `K` names it, `S` is how it stands.
#[derive(Debug)]
pub struct Standstill<K, S> {
    since: HashMap<K, (S, Instant)>,
}

impl<K, S> Default for Standstill<K, S> {
    fn default() -> Self {
        Standstill { since: HashMap::new() }
    }
}

impl<K: std::hash::Hash + Eq + Clone, S: PartialEq + Clone> Standstill<K, S> {
    /// Those of `now` that have not changed for `limit`. What is not among them any more is forgotten.
    pub fn longer_than(&mut self, limit: Duration, stands: &[(K, S)], now: Instant) -> Vec<K> {
        self.since.retain(|key, _| stands.iter().any(|(other, _)| other == key));
        let mut still = Vec::new();
        for (key, state) in stands {
            let entry = self.since.entry(key.clone()).or_insert_with(|| (state.clone(), now));
            if entry.0 != *state {
                *entry = (state.clone(), now);
            }
            if now.duration_since(entry.1) >= limit {
                still.push(key.clone());
            }
        }
        still
    }

    pub fn forget(&mut self, key: &K) {
        self.since.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RunnerView;

    fn host(key: &str, id: &str) -> HostRecord {
        HostRecord {
            key: key.into(),
            id: id.into(),
            alias: key.rsplit_once('-').unwrap().0.into(),
            instance_type: "t".into(),
            public_ip: None,
            private_ip: None,
        }
    }

    fn view(host: &str, alias: &str, stage: HostStage, runners: &[RunnerState]) -> HostView {
        let runner = |(n, state): (usize, &RunnerState)| RunnerView {
            runner_id: format!("{host}-{n}"),
            state: *state,
            task_id: None,
            last_seen_at: jiff::Timestamp::UNIX_EPOCH,
        };
        HostView {
            host: host.into(),
            provider: "p".into(),
            alias: Some(alias.parse().unwrap()),
            stage,
            message: None,
            drained: false,
            last_seen_at: jiff::Timestamp::UNIX_EPOCH,
            runners: runners.iter().enumerate().map(runner).collect(),
        }
    }

    fn keys(made: &[HostRecord], heard: &[HostView]) -> Vec<(String, Option<HostStage>)> {
        missing(made, heard, "p").into_iter().map(|absent| (absent.host.key, absent.stage)).collect()
    }

    #[test]
    fn hosts_that_boot_or_were_never_heard_of_are_missing_with_their_stage() {
        let made = [host("a-0", "i-0"), host("a-1", "i-1"), host("a-2", "i-2"), host("b-0", "i-3")];
        let heard = [
            view("i-0", "a", HostStage::Ready, &[]),
            view("i-1", "a", HostStage::Runner, &[]),
            view("i-3", "b", HostStage::Runner, &[RunnerState::Idle]),
        ];
        let expected = [("a-1".to_owned(), Some(HostStage::Runner)), ("a-2".to_owned(), None)];
        assert_eq!(keys(&made, &heard), expected);
        assert_eq!(
            missing(&made, &heard, "other").len(),
            4,
            "another provider instance's hosts do not count"
        );
    }

    #[test]
    fn hosts_under_other_names_count_for_their_alias_only() {
        let made = [host("a-0", "/machines/0"), host("a-1", "/machines/1"), host("b-0", "/machines/2")];
        let heard = [view("vm-x", "a", HostStage::Ready, &[]), view("vm-y", "b", HostStage::Boot, &[])];
        assert_eq!(keys(&made, &heard), [("a-1".to_owned(), None), ("b-0".to_owned(), None)]);
    }

    #[test]
    fn an_alias_is_served_as_long_as_one_of_its_runners_is_heard_of() {
        let aliases: Vec<Alias> = ["a", "b"].map(|name| name.parse().unwrap()).into();
        let mut heard = vec![view("i-0", "a", HostStage::Ready, &[RunnerState::Silent, RunnerState::Busy])];
        assert_eq!(unserved(&aliases, &heard, "p"), [&aliases[1]]);
        heard[0].runners[1].state = RunnerState::Gone;
        assert_eq!(unserved(&aliases, &heard, "p").len(), 2);
    }

    #[test]
    fn a_standstill_begins_anew_with_every_change() {
        let mut standstill = Standstill::default();
        let (start, limit) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(standstill.longer_than(limit, &[("a", 1)], at(0)).is_empty());
        assert!(standstill.longer_than(limit, &[("a", 2)], at(9)).is_empty());
        assert!(standstill.longer_than(limit, &[("a", 2)], at(18)).is_empty());
        assert_eq!(standstill.longer_than(limit, &[("a", 2)], at(19)), ["a"]);
        assert!(standstill.longer_than(limit, &[], at(20)).is_empty());
        assert!(standstill.longer_than(limit, &[("a", 2)], at(21)).is_empty());
    }
}

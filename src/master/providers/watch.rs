//! Hosts from their making to the end of the run: those that do not come are replaced once, then given up;
//! tasks that nobody is left for are failed, so that the run ends.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::boot::{Missing, Standstill, missing, unserved};
use super::fleet::Line;
use super::terraform::TerraformProvider;
use crate::api::{Alias, HostStage, Settled};
use crate::master::leave::{Leave, asked};
use crate::master::progress::MasterEvent;
use crate::master::record::HostRecord;

/// Between two looks at hosts that boot.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at hosts that work: only a machine that was lost shows here.
const GUARD_EVERY: Duration = Duration::from_secs(10);

impl TerraformProvider {
    /// Stays until the run is over. Says what kept hosts from coming.
    pub(super) async fn watch(
        &self,
        hosts: Vec<HostRecord>,
        may_replace: bool,
        line: &Line,
    ) -> Option<String> {
        let mut leave = line.leave.clone();
        let waited = self.wait_for_hosts(hosts, may_replace, line, &mut leave).await;
        let Waited::Settled { absent, served } = waited else { return None };
        let hopeless: Vec<Alias> =
            self.aliases.iter().filter(|alias| !served.contains(alias.as_str())).cloned().collect();
        let message = match absent.as_slice() {
            [] => format!("no host of `{}` came up for them", self.name),
            absent => absent.iter().map(describe).collect::<Vec<_>>().join("; "),
        };
        self.settle(hopeless, &message, &mut leave).await;
        self.guard(&mut leave).await;
        (!absent.is_empty()).then_some(message)
    }

    async fn wait_for_hosts(
        &self,
        mut hosts: Vec<HostRecord>,
        may_replace: bool,
        line: &Line,
        leave: &mut watch::Receiver<Leave>,
    ) -> Waited {
        let mut standstill = Standstill::default();
        let mut replaced: HashSet<String> = HashSet::new();
        let mut given_up: Vec<Missing> = Vec::new();
        loop {
            // An orchestrator that is away says nothing about hosts: the time until then does not count.
            if let Ok(heard) = self.orchestrator.hosts(&self.intent.run_id).await {
                let absent: Vec<Missing> = missing(&hosts, &heard, &self.name)
                    .into_iter()
                    .filter(|absent| !given_up.iter().any(|gone| gone.host.key == absent.host.key))
                    .collect();
                if absent.is_empty() {
                    return Waited::settled(&hosts, given_up);
                }
                let late = self.late(&absent, &mut standstill);
                let (lost, again): (Vec<Missing>, Vec<Missing>) =
                    late.into_iter().partition(|absent| !may_replace || replaced.contains(&absent.host.key));
                lost.iter().for_each(|absent| self.tell_missing(absent, false));
                given_up.extend(lost);
                if !again.is_empty() {
                    again.iter().for_each(|absent| self.tell_missing(absent, true));
                    replaced.extend(again.iter().map(|absent| absent.host.key.clone()));
                    again.iter().for_each(|absent| standstill.forget(&absent.host.key));
                    match self.replace(&again, line, leave).await {
                        Ok(newer) => hosts = newer,
                        Err(why) => given_up.extend(again.into_iter().map(|absent| Missing {
                            message: Some(format!("it could not be replaced: {why}")),
                            ..absent
                        })),
                    }
                    continue;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = asked(leave) => return Waited::RunOver,
            }
        }
    }

    /// Those that failed, and those that have stood at one stage for too long.
    fn late(
        &self,
        absent: &[Missing],
        standstill: &mut Standstill<String, Option<HostStage>>,
    ) -> Vec<Missing> {
        let stands: Vec<_> = absent.iter().map(|absent| (absent.host.key.clone(), absent.stage)).collect();
        let still = standstill.longer_than(self.boot_timeout, &stands, Instant::now());
        let is_late =
            |absent: &&Missing| absent.stage == Some(HostStage::Failed) || still.contains(&absent.host.key);
        absent.iter().filter(is_late).cloned().collect()
    }

    /// Makes these hosts anew; gives all hosts as they are then.
    async fn replace(
        &self,
        hosts: &[Missing],
        line: &Line,
        leave: &mut watch::Receiver<Leave>,
    ) -> Result<Vec<HostRecord>, String> {
        let state = self.workspace.recover().found.map(|(_, state)| state).unwrap_or_default();
        let addresses: Vec<String> =
            hosts.iter().flat_map(|absent| state.addresses_of(&absent.host.key, &absent.host.id)).collect();
        if addresses.is_empty() {
            return Err("the state does not know it".to_owned());
        }
        match self.bring_up(&addresses, leave).await {
            Ok(Some(applied)) => Ok(self.came_up(&applied, line)),
            Ok(None) => Err("the run is over".to_owned()),
            Err(error) => Err(format!("{}; {}", crate::cause_chain(&error), error.next_step())),
        }
    }

    fn tell_missing(&self, absent: &Missing, replaced: bool) {
        self.progress.tell(&MasterEvent::HostMissing {
            name: self.name.clone(),
            host: describe(absent),
            replaced,
        });
    }

    /// Tells the orchestrator until it has heard it, or the run is over.
    async fn settle(&self, hopeless: Vec<Alias>, message: &str, leave: &mut watch::Receiver<Leave>) {
        let settled = Settled { hopeless, message: message.to_owned(), hosts_stay: self.keep };
        loop {
            match self.orchestrator.settle(&self.intent.run_id, &self.name, &settled).await {
                Ok(_) => return,
                Err(error) => tracing::info!(
                    error = crate::cause_chain(&error),
                    "could not say that {} has settled; trying again",
                    self.name
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = asked(leave) => return,
            }
        }
    }

    /// Looks after the hosts until the run is over. Tasks of an alias whose task runners have all been silent
    /// for too long would wait for nobody.
    async fn guard(&self, leave: &mut watch::Receiver<Leave>) {
        let mut standstill = Standstill::default();
        let pause = GUARD_EVERY.min(self.boot_timeout / 2).max(LOOK_EVERY);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = asked(leave) => return,
            }
            let Ok(heard) = self.orchestrator.hosts(&self.intent.run_id).await else {
                standstill = Standstill::default();
                continue;
            };
            let silent: Vec<(Alias, ())> =
                unserved(&self.aliases, &heard, &self.name).into_iter().map(|a| (a.clone(), ())).collect();
            let hopeless = standstill.longer_than(self.boot_timeout, &silent, Instant::now());
            if !hopeless.is_empty() {
                let message = format!("no task runner of `{}` is left for them", self.name);
                self.settle(hopeless, &message, leave).await;
            }
        }
    }
}

/// How waiting for hosts ended.
enum Waited {
    RunOver,
    Settled { absent: Vec<Missing>, served: HashSet<String> },
}

impl Waited {
    fn settled(hosts: &[HostRecord], absent: Vec<Missing>) -> Waited {
        let came = |host: &&HostRecord| !absent.iter().any(|gone| gone.host.key == host.key);
        let served = hosts.iter().filter(came).map(|host| host.alias.clone()).collect();
        Waited::Settled { absent, served }
    }
}

/// `host i-1 (c7g-0) did not come up, last heard at stage runner`.
fn describe(absent: &Missing) -> String {
    let stage = match absent.stage {
        Some(stage) => format!("last heard at stage {stage}"),
        None => "never heard of".to_owned(),
    };
    let message = absent.message.as_deref().map(|text| format!(": {}", last_lines(text))).unwrap_or_default();
    format!("host {} ({}) did not come up, {stage}{message}", absent.host.id, absent.host.key)
}

/// Enough of a log's end to know what went wrong.
fn last_lines(text: &str) -> String {
    const LINES: usize = 5;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

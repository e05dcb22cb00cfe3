//! Handing a task out.

use crate::api::{AssignedTask, ClaimRequest, EventKind, HostStage, Lease, RunStatus, TaskId, TaskState};
use crate::orchestrator::store::clock::{Millis, timestamp};
use crate::orchestrator::store::contract::Claimed;

use super::rows::{HeldLease, HostRow, Name, RunnerRow};
use super::run_state::RunState;

/// A lease lives for four beats: three may be lost on the way before it runs out.
const BEATS_PER_LEASE: f64 = 4.0;

/// Before any time the clock can show.
const NEVER: Millis = 0;

impl RunState {
    /// Indices of the groups whose tasks this claim may get.
    pub fn groups_for(&self, claim: &ClaimRequest) -> Vec<usize> {
        let fits = |group: &usize| {
            let group = &self.groups[*group];
            group.provider == claim.provider && group.instance_type == claim.instance_type
        };
        match &claim.alias {
            Some(alias) => self.by_alias.get(alias).copied().filter(fits).into_iter().collect(),
            None => (0..self.groups.len()).filter(fits).collect(),
        }
    }

    /// Hands out the first pending task that fits.
    ///
    /// The same request id again gives the same lease, renewed. A runner that asks with another request id
    /// while it holds a lease has evidently lost its task (it was restarted): that lease is taken back as
    /// lost at once, so that a task which kills its runner uses up its attempts.
    pub fn claim(&mut self, claim: &ClaimRequest, now: Millis) -> Claimed {
        let groups = self.groups_for(claim);
        // Names are made up by whoever has the run's key: after its end no more of them are taken down.
        if self.row.status.is_final() && !self.runners.contains_key(&*claim.runner_id) {
            return self.dismiss(claim, &groups);
        }
        for &group in &groups {
            self.groups[group].wanted_at = now;
        }
        let (host, drained) = self.meet_host(claim, now);
        let runner = self.meet_runner(claim, &host, now);
        if let Some(&id) = self.held.get(&runner) {
            let held = &self.tasks[&id].lease;
            let asked_before = held.as_ref().and_then(|lease| lease.request_id.as_deref());
            if asked_before.is_some() && asked_before == claim.request_id.as_deref() {
                return self.renewed(id, now);
            }
            self.lose(id, now, "its runner asked for another task");
        }
        if drained || self.row.status != RunStatus::Running {
            return self.dismiss(claim, &groups);
        }
        let first = groups.iter().filter_map(|group| self.groups[*group].queue.first().copied()).min();
        match first {
            Some(id) => self.hand_out(id, claim, runner, host, now),
            None if groups.iter().all(|group| self.groups[*group].is_over()) => self.dismiss(claim, &groups),
            None => Claimed::Nothing,
        }
    }

    /// Nothing is left for this runner. It is told so once no host of its provider instance is being made.
    fn dismiss(&mut self, claim: &ClaimRequest, groups: &[usize]) -> Claimed {
        if groups.iter().any(|group| !self.groups[*group].settled) {
            return Claimed::Nothing;
        }
        if let Some((_, name, runner)) = self.runners.get_full_mut(&*claim.runner_id)
            && !runner.gone
        {
            runner.gone = true;
            self.dirty.runners.insert(name.clone());
        }
        Claimed::Done
    }

    fn hand_out(
        &mut self,
        id: TaskId,
        claim: &ClaimRequest,
        runner: Name,
        host: Name,
        now: Millis,
    ) -> Claimed {
        self.set_state(id, TaskState::Claimed);
        let expires_at = now + self.row.lease_ms;
        self.leases_until = self.leases_until.min(expires_at);
        let task = self.tasks.row_mut(id);
        task.fence += 1;
        task.attempts += 1;
        task.lease = Some(HeldLease {
            runner_id: runner.clone(),
            host,
            request_id: claim.request_id.as_deref().map(Name::from),
            claimed_at: now,
            expires_at,
            beat_at: None,
            status: None,
            progress: None,
            message: None,
            upload: None,
        });
        self.held.insert(runner, id);
        self.event(now, EventKind::TaskClaimed, Some(id), None);
        self.assigned(id)
    }

    fn renewed(&mut self, id: TaskId, now: Millis) -> Claimed {
        let expires_at = now + self.row.lease_ms;
        let task = self.tasks.row_mut(id);
        if let Some(lease) = &mut task.lease {
            lease.expires_at = lease.expires_at.max(expires_at);
        }
        self.touch_by_beat(id);
        self.assigned(id)
    }

    fn assigned(&self, id: TaskId) -> Claimed {
        let task = &self.tasks[&id];
        let expires_at = task.lease.as_ref().map_or(0, |lease| lease.expires_at);
        let assigned = AssignedTask {
            id,
            alias: self.groups[task.group].alias.clone(),
            number: task.number,
            workload: self.row.workload.clone(),
        };
        let lease = Lease {
            attempt: task.attempts,
            fence: task.fence,
            expires_at: timestamp(expires_at),
            heartbeat_seconds: self.row.lease_ms as f64 / 1000.0 / BEATS_PER_LEASE,
        };
        Claimed::Assigned(assigned, lease)
    }

    /// Notes that this host is there; gives its name, as everybody shares it, and whether it is drained. In memory:
    /// the next sweep saves it.
    fn meet_host(&mut self, claim: &ClaimRequest, now: Millis) -> (Name, bool) {
        let name = claim.host.as_deref().unwrap_or(&claim.runner_id);
        if let Some((_, name, host)) = self.hosts.get_full_mut(name) {
            host.seen_at = now;
            return (name.clone(), host.drained);
        }
        let name = Name::from(name);
        let mut row = HostRow::new(claim.provider.clone(), HostStage::Joined, now);
        row.alias.clone_from(&claim.alias);
        self.hosts.insert(name.clone(), row);
        (name, false)
    }

    /// The same for the runner.
    fn meet_runner(&mut self, claim: &ClaimRequest, host: &Name, now: Millis) -> Name {
        let known = self.runners.get_full_mut(&*claim.runner_id);
        if let Some((_, name, runner)) = known {
            if runner.host == *host && !runner.gone {
                runner.seen_at = now;
            } else {
                *runner = RunnerRow::from_claim(claim, host, now);
            }
            return name.clone();
        }
        let name = if **host == claim.runner_id { host.clone() } else { Name::from(&*claim.runner_id) };
        self.runners.insert(name.clone(), RunnerRow::from_claim(claim, host, now));
        name
    }
}

impl super::GroupRow {
    /// No task of it can come back.
    pub fn is_over(&self) -> bool {
        self.counts.ended() == self.counts.total
    }
}

impl RunnerRow {
    fn from_claim(claim: &ClaimRequest, host: &Name, now: Millis) -> RunnerRow {
        RunnerRow {
            host: host.clone(),
            provider: claim.provider.clone(),
            instance_type: claim.instance_type.clone(),
            alias: claim.alias.clone(),
            seen_at: now,
            gone: false,
            saved_at: NEVER,
        }
    }
}

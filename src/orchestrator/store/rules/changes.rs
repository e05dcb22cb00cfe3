//! What a rule changed, and the part of it that is taken out to be saved.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::api::{RunId, RunStatus, TaskCounts, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;

use super::rows::{AttemptRow, HostRow, Name, NewEvent, RunKey, RunnerRow, TaskRow};
use super::run_state::RunState;

/// Ends every pending task of a group at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkEnd {
    pub group: usize,
    pub state: TaskState,
    pub reason: Cow<'static, str>,
}

/// In no order.
type TaskIds = HashSet<TaskId, RandomState>;

/// What changed in a run since it was last saved. The rows themselves stand in the run.
#[derive(Debug, Default)]
pub struct Dirty {
    pub run: bool,
    pub groups: BTreeSet<usize>,
    pub tasks: TaskIds,
    /// Tasks in whose rows only that changed what a heartbeat carries.
    pub beats: TaskIds,
    pub attempts: Vec<AttemptRow>,
    pub hosts: HashSet<Name>,
    pub runners: HashSet<Name>,
    pub events: Vec<NewEvent>,
    pub bulk: Vec<BulkEnd>,
    /// Waiting claims should look again.
    pub queue: bool,
}

/// Which changes to take out of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    All,
    /// Rows that only a heartbeat touched stay behind: mostly something else happens to them soon, and they
    /// are saved once for both.
    AllButBeats,
}

/// Changes of one run on their way to the database: whole rows, as they were when they were taken.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changes {
    pub run: RunKey,
    pub run_id: RunId,
    pub row: Option<RunChange>,
    pub tasks: Vec<Arc<TaskRow>>,
    /// Rows in which only that changed what a heartbeat carries.
    pub beats: Vec<Arc<TaskRow>>,
    pub attempts: Vec<AttemptRow>,
    pub bulk: Vec<BulkEnd>,
    pub groups: Vec<GroupChange>,
    /// `None`: forgotten.
    pub hosts: Vec<(Name, Option<HostRow>)>,
    /// `None`: forgotten.
    pub runners: Vec<(Name, Option<RunnerRow>)>,
    /// Numbered when they are saved, and kept apart from then on.
    #[serde(skip)]
    pub events: Vec<NewEvent>,
    /// Whether there is nothing to write.
    #[serde(skip)]
    pub empty: bool,
    #[serde(skip)]
    pub queue: bool,
}

/// The part of a run's row that changes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RunChange {
    pub status: RunStatus,
    pub finished_at: Option<Millis>,
    pub deadline: Option<i64>,
}

/// The part of a group's row that changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupChange {
    pub group: usize,
    pub counts: TaskCounts,
    pub head: TaskId,
    pub wanted_at: Millis,
    pub settled: bool,
}

impl Dirty {
    /// For the changes that come next, which are mostly about as many.
    fn with_room_for_as_much(&self) -> Dirty {
        Dirty {
            tasks: TaskIds::with_capacity_and_hasher(self.tasks.len(), RandomState::default()),
            attempts: Vec::with_capacity(self.attempts.len()),
            events: Vec::with_capacity(self.events.len()),
            ..Dirty::default()
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.beats.is_empty() && self.has_only_beats()
    }

    /// Whether there is nothing to write but heartbeats, if that.
    pub fn has_only_beats(&self) -> bool {
        !self.run
            && self.groups.is_empty()
            && self.tasks.is_empty()
            && self.attempts.is_empty()
            && self.hosts.is_empty()
            && self.runners.is_empty()
            && self.events.is_empty()
            && self.bulk.is_empty()
    }

    pub fn has_task(&self, id: TaskId) -> bool {
        self.tasks.contains(&id) || self.beats.contains(&id)
    }
}

impl RunState {
    /// Takes out what is to be saved now; what stays is dirty still.
    pub fn take_changes(&mut self, take: Take) -> Changes {
        let dirty = &mut self.dirty;
        let beats = match take {
            Take::All => TaskIds::default(),
            Take::AllButBeats => std::mem::take(&mut dirty.beats),
        };
        let next = Dirty { beats, ..dirty.with_room_for_as_much() };
        let taken = std::mem::replace(dirty, next);
        let task = |id: TaskId| self.tasks.get(&id).cloned();
        let group = |index: usize| {
            let group = &self.groups[index];
            let (counts, head, wanted_at) = (group.counts, group.head, group.wanted_at);
            GroupChange { group: index, counts, head, wanted_at, settled: group.settled }
        };
        let (status, finished_at, deadline) = (self.row.status, self.row.finished_at, self.row.deadline);
        let row = RunChange { status, finished_at, deadline };
        let host = |name: Name| {
            let row = self.hosts.get(&name).cloned();
            (name, row)
        };
        let runner = |id: Name| {
            let row = self.runners.get(&id).cloned();
            (id, row)
        };
        Changes {
            empty: taken.is_empty(),
            run: self.row.key,
            run_id: self.row.id.clone(),
            row: taken.run.then_some(row),
            tasks: taken.tasks.into_iter().filter_map(task).collect(),
            beats: taken.beats.into_iter().filter_map(task).collect(),
            attempts: taken.attempts,
            bulk: taken.bulk,
            groups: taken.groups.into_iter().map(group).collect(),
            hosts: taken.hosts.into_iter().map(host).collect(),
            runners: taken.runners.into_iter().map(runner).collect(),
            events: taken.events,
            queue: taken.queue,
        }
    }
}

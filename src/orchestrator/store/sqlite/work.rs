//! Commits put together: the newest of each row, so that rows which changed several times are written once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::api::TaskId;
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::rules::{
    AttemptRow, BulkEnd, Changes, GroupChange, HostRow, Name, RunChange, RunKey, RunnerRow, TaskRow,
};

use super::record::{Commit, EventBatch};

/// What the tables are to take in, in one transaction.
#[derive(Debug, Default)]
pub struct Work {
    pub runs: BTreeMap<RunKey, RunWork>,
    pub events: Vec<Arc<EventBatch>>,
    pub alive: Option<Millis>,
    /// Number of the newest record in it.
    pub newest: u64,
    /// Changes that went into it, and one more for each KiB of them: a measure of the memory they take and of the
    /// work they are.
    pub size: usize,
}

#[derive(Debug, Default)]
pub struct RunWork {
    pub row: Option<RunChange>,
    pub tasks: BTreeMap<TaskId, Arc<TaskRow>>,
    pub attempts: Vec<AttemptRow>,
    /// Comes after the tasks.
    pub bulk: Vec<BulkEnd>,
    pub groups: BTreeMap<usize, GroupChange>,
    /// `None`: forgotten.
    pub hosts: HashMap<Name, Option<HostRow>>,
    /// `None`: forgotten.
    pub runners: HashMap<Name, Option<RunnerRow>>,
}

/// Puts a commit behind those that are there: together with the last of them where they may be mixed. Gives the
/// size that it added, of which `bytes` is a part.
pub fn queue(waiting: &mut VecDeque<Work>, commit: Commit, number: u64, bytes: usize) -> usize {
    if waiting.back().is_none_or(Work::is_closed) {
        waiting.push_back(Work::default());
    }
    let last = waiting.back_mut().expect("was put there if it was missing");
    let before = last.size;
    last.add(commit, number);
    last.size += bytes / 1024;
    last.size - before
}

impl Work {
    /// Whether later changes must not be mixed with these: what ends a whole group ends the tasks that were
    /// pending then, not those that are put back later.
    fn is_closed(&self) -> bool {
        self.runs.values().any(|run| !run.bulk.is_empty())
    }

    fn add(&mut self, commit: Commit, number: u64) {
        for changes in commit.changes {
            self.size += changes.tasks.len() + changes.beats.len() + changes.attempts.len() + 1;
            self.runs.entry(changes.run).or_default().add(changes);
        }
        self.size += commit.events.len();
        self.events.extend(commit.events);
        self.alive = commit.alive.or(self.alive);
        self.newest = number;
    }
}

impl RunWork {
    fn add(&mut self, changes: Changes) {
        self.row = changes.row.or(self.row);
        self.tasks.extend(changes.tasks.into_iter().chain(changes.beats).map(|task| (task.id, task)));
        self.attempts.extend(changes.attempts);
        self.bulk.extend(changes.bulk);
        self.groups.extend(changes.groups.into_iter().map(|group| (group.group, group)));
        self.hosts.extend(changes.hosts);
        self.runners.extend(changes.runners);
    }
}

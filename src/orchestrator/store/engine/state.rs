//! The rows that the writer holds in memory: every run that has not ended, and runs that were just asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use crate::api::{RunId, TaskId};
use crate::orchestrator::store::rules::{Changes, RunKey, RunState, Take};

#[derive(Debug, Default)]
pub struct State {
    runs: HashMap<RunKey, RunState>,
    by_id: HashMap<RunId, RunKey>,
    /// First task of each run: the ids of a run's tasks follow each other.
    by_first_task: BTreeMap<TaskId, RunKey>,
    /// Whether every run that has not ended is here.
    pub loaded: bool,
    /// Rows that were loaded for one look or have been handed over to be saved; they go when nothing is under
    /// way any more.
    visitors: Vec<(RunKey, TaskId)>,
    /// Runs that may have unsaved changes.
    touched: BTreeSet<RunKey>,
    /// Since when there are heartbeats that were answered and not saved.
    pub beats_since: Option<Instant>,
}

impl State {
    pub fn insert(&mut self, run: RunState) -> RunKey {
        let key = run.row.key;
        self.by_id.insert(run.row.id.clone(), key);
        self.by_first_task.insert(run.row.first_task, key);
        self.touched.insert(key);
        self.runs.insert(key, run);
        key
    }

    pub fn remove(&mut self, key: RunKey) {
        if let Some(run) = self.runs.remove(&key) {
            self.by_id.remove(&run.row.id);
            self.touched.remove(&key);
            self.by_first_task.remove(&run.row.first_task);
        }
    }

    pub fn clear(&mut self) {
        *self = State::default();
    }

    pub fn key_of(&self, id: &RunId) -> Option<RunKey> {
        self.by_id.get(id).copied()
    }

    pub fn key_of_task(&self, task: TaskId) -> Option<RunKey> {
        let (_, key) = self.by_first_task.range(..=task).next_back()?;
        self.runs[key].owns(task).then_some(*key)
    }

    pub fn contains(&self, key: RunKey) -> bool {
        self.runs.contains_key(&key)
    }

    pub fn run(&mut self, key: RunKey) -> &mut RunState {
        self.touched.insert(key);
        self.runs.get_mut(&key).expect("keys are taken from the state they are used on")
    }

    /// Takes out what is to be saved of one run now, and notes which of its rows are not needed any more then.
    pub fn take_changes(&mut self, key: RunKey, take: Take) -> Changes {
        let run = self.runs.get_mut(&key).expect("keys are taken from the state they are used on");
        let changes = run.take_changes(take);
        if run.dirty.is_empty() {
            self.touched.remove(&key);
        }
        self.visitors.extend(changes.tasks.iter().chain(&changes.beats).map(|task| (key, task.id)));
        changes
    }

    /// Runs that may have unsaved changes, by key.
    pub fn touched(&self) -> Vec<RunKey> {
        self.touched.iter().copied().collect()
    }

    /// Whether anything waits to be saved that may not wait for the heartbeats.
    pub fn is_due(&self) -> bool {
        let is_due = |run: &RunState| run.dirty.queue || !run.dirty.has_only_beats();
        self.touched.iter().any(|key| is_due(&self.runs[key]))
    }

    /// The runs in which whole groups ended.
    pub fn with_bulk(&self) -> Vec<RunKey> {
        self.touched.iter().copied().filter(|key| !self.runs[key].dirty.bulk.is_empty()).collect()
    }

    pub fn runs_mut(&mut self) -> impl Iterator<Item = &mut RunState> {
        self.touched.extend(self.runs.keys());
        self.runs.values_mut()
    }

    pub fn any_running(&self) -> bool {
        self.runs.values().any(|run| !run.row.status.is_final())
    }

    /// Marks a row for [`State::tidy`].
    pub fn visited(&mut self, key: RunKey, task: TaskId) {
        self.visitors.push((key, task));
    }

    /// Forgets what the batch needed and the next one will not: looked-at rows and runs that ended.
    pub fn tidy(&mut self) {
        for (key, task) in std::mem::take(&mut self.visitors) {
            if let Some(run) = self.runs.get_mut(&key) {
                run.let_go(task);
            }
        }
        let ended = |run: &&RunState| run.row.status.is_final() && run.dirty.is_empty();
        let ended: Vec<RunKey> = self.runs.values().filter(ended).map(|run| run.row.key).collect();
        for key in ended {
            self.remove(key);
        }
    }
}

//! The rows in memory: every run that has not ended, and runs that were just asked for. And who waits until what
//! changed in them is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::api::{ClaimRequest, RunId, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::{Claimed, Scope, StoreError};
use crate::orchestrator::store::rules::{Changes, Keyed, Ruled, RunKey, RunState, Take};

use super::batch::{Answer, Batch};

#[derive(Debug, Default)]
pub struct State {
    runs: Keyed<RunKey, RunState>,
    by_id: Keyed<RunId, RunKey>,
    /// First task of each run: the ids of a run's tasks follow each other.
    by_first_task: BTreeMap<TaskId, RunKey>,
    /// Whether every run that has not ended is here.
    pub loaded: bool,
    /// Rows that were loaded for one look or have been handed over to be saved; they go when nothing is under
    /// way any more.
    visitors: Vec<(RunKey, TaskId)>,
    /// Runs that may have unsaved changes.
    touched: BTreeSet<RunKey>,
    /// Since when there are heartbeats that were answered and not handed over to be saved.
    pub beats_since: Option<Instant>,
    /// Whether lists would miss heartbeats that were answered.
    pub unsaved_beats: bool,
    pub batches: Batches,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub struct Batches {
    /// With what is unsaved now.
    gathering: Arc<Batch>,
    /// Answers that stand on it.
    waiting: usize,
    /// Somebody waits for it who changed nothing.
    due: bool,
    /// Is being committed.
    under_way: Option<Arc<Batch>>,
    /// A transaction is open that keeps others out: it ends with this batch, and every answer waits for that.
    pub in_turn: bool,
    /// Nothing is committed any more.
    ended: bool,
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

    /// Forgets all rows. Whoever waits goes on waiting.
    pub fn clear(&mut self) {
        *self = State { batches: std::mem::take(&mut self.batches), ..State::default() };
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
        // What the end of a run took from its runners stays with it: they ask about it once more.
        if !run.row.status.is_final() {
            self.visitors.extend(changes.tasks.iter().chain(&changes.beats).map(|task| (key, task.id)));
        }
        changes
    }

    /// The same of all runs, by key.
    pub fn take_all_changes(&mut self, take: Take) -> Vec<Changes> {
        let touched: Vec<RunKey> = self.touched.iter().copied().collect();
        touched.into_iter().map(|key| self.take_changes(key, take)).collect()
    }

    /// Whether anything waits to be saved that may not wait for the heartbeats.
    pub fn is_due(&self) -> bool {
        let is_due = |run: &RunState| run.dirty.queue || !run.dirty.has_only_beats();
        self.batches.due || self.batches.in_turn || self.touched.iter().any(|key| is_due(&self.runs[key]))
    }

    /// What is unsaved, if only heartbeats, is to be committed.
    pub fn demand_commit(&mut self) {
        self.batches.due = true;
    }

    /// An answer by these rows, which waits until they are durable, whoever changed them.
    pub fn answer<T>(&mut self, answer: Ruled<T>) -> Answer<T> {
        let stands_on = if self.is_due() {
            self.batches.waiting += 1;
            Some(self.batches.gathering.clone())
        } else {
            self.batches.under_way.clone()
        };
        Answer { answer, stands_on }
    }

    /// A heartbeat only promises that the lease lives on, and whoever sends it sends the next one soon: it is
    /// answered at once and saved a little later. What is lost with it in a crash is one beat of four, and a
    /// restart extends the lease. Where others may take the lease back, they must see the beat first.
    pub fn answer_beat<T>(&mut self, answer: Ruled<T>) -> Answer<T> {
        if self.batches.in_turn || answer.is_err() {
            return self.answer(answer);
        }
        self.unsaved_beats = true;
        self.beats_since.get_or_insert_with(Instant::now);
        Answer::at_once(answer)
    }

    /// The run of a task, if the row is here and the caller may speak of it.
    pub fn at_hand(&mut self, scope: &Scope, task: TaskId) -> Option<RunKey> {
        let key = self.key_of_task(task)?;
        let run = &self.runs[&key];
        let allowed = !matches!(scope, Scope::Run(id) if *id != run.row.id);
        (allowed && run.tasks.contains_key(&task)).then_some(key)
    }

    /// Hands a task out, if every row for that is here.
    pub fn claim_at_hand(&mut self, id: &RunId, claim: &ClaimRequest, now: Millis) -> Option<Claimed> {
        let key = self.key_of(id)?;
        let run = &self.runs[&key];
        let is_here = run.groups_for(claim).into_iter().all(|group| !run.needs_refill(group));
        is_here.then(|| self.run(key).claim(claim, now))
    }

    /// Groups of whose pending tasks more should be fetched soon.
    pub fn take_low(&mut self) -> Vec<(RunKey, usize)> {
        let low = |run: &mut RunState| {
            let key = run.row.key;
            std::mem::take(&mut run.low).into_iter().map(move |group| (key, group))
        };
        self.runs.values_mut().flat_map(low).collect()
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

    /// Forgets what the batch needed and the next one will not: looked-at rows, and runs that ended at `ended_by` or
    /// before.
    pub fn tidy(&mut self, ended_by: Millis) {
        for (key, task) in std::mem::take(&mut self.visitors) {
            if let Some(run) = self.runs.get_mut(&key) {
                run.let_go(task);
            }
        }
        let ended = |run: &&RunState| {
            run.row.status.is_final()
                && run.dirty.is_empty()
                && run.row.finished_at.is_none_or(|finished| finished <= ended_by)
        };
        let ended: Vec<RunKey> = self.runs.values().filter(ended).map(|run| run.row.key).collect();
        for key in ended {
            self.remove(key);
        }
    }
}

impl Batches {
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The answer to somebody whose batch is about to fail.
    pub fn failing<T>(&self) -> Answer<T> {
        Answer { answer: Err(StoreError::Closed), stands_on: Some(self.gathering.clone()) }
    }

    /// Begins the next batch, for changes that are not taken out with this one.
    pub fn hand_over(&mut self) -> Arc<Batch> {
        (self.waiting, self.due, self.in_turn) = (0, false, false);
        let batch = std::mem::take(&mut self.gathering);
        self.under_way = Some(batch.clone());
        batch
    }

    pub fn landed(&mut self) {
        self.under_way = None;
    }

    /// Everybody who waits, for a failure to be told.
    pub fn take(&mut self) -> [Arc<Batch>; 2] {
        let under_way = self.under_way.take().unwrap_or_default();
        let gathering = self.hand_over();
        self.under_way = None;
        [under_way, gathering]
    }

    /// From now on nobody waits here.
    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn have_ended(&self) -> bool {
        self.ended
    }
}

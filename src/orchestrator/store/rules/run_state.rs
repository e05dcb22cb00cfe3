//! One run as it is held in memory: its rows, and what changed in them.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::changes::Dirty;
use super::rows::{GroupRow, HostRow, Keyed, Name, Named, NewEvent, RunRow, RunnerRow, TaskRow, count_of};
use crate::api::{Alias, EventKind, TaskCounts, TaskId, TaskState};
use crate::orchestrator::store::clock::Millis;

/// Pending tasks of a group fetched at a time: a full batch of claims needs a few fetches, and a waiting queue holds
/// some tens of kilobytes in memory.
const FETCH: u32 = 512;
/// Groups for which that holds. With more of them fewer are fetched of each: a claim without an alias needs the next
/// task of every group.
const FETCH_GROUPS: u32 = 8;
/// Fewer than these are not worth a fetch.
const FETCH_LEAST: u32 = 8;

/// One run in memory: all its groups, hosts and runners, every task that is handed out, and some others.
#[derive(Debug)]
pub struct RunState {
    pub row: RunRow,
    pub groups: Vec<GroupRow>,
    pub by_alias: Keyed<Alias, usize>,
    pub tasks: Tasks,
    /// The task that each runner holds.
    pub held: Named<TaskId>,
    pub hosts: Named<HostRow>,
    pub runners: Named<RunnerRow>,
    pub dirty: Dirty,
    /// No lease ends before this.
    pub(super) leases_until: Millis,
    /// Groups of whose pending tasks few are in memory.
    pub low: BTreeSet<usize>,
}

/// Rows of tasks. What was taken out to be saved is shared with whoever saves it, until it changes again.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Tasks(Keyed<TaskId, Arc<TaskRow>>);

impl Tasks {
    /// For a rule to change. Rules change only tasks that are loaded.
    pub fn row_mut(&mut self, id: TaskId) -> &mut TaskRow {
        Arc::make_mut(self.0.get_mut(&id).expect("a rule changes only tasks that are loaded"))
    }
}

impl Deref for Tasks {
    type Target = Keyed<TaskId, Arc<TaskRow>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Tasks {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What another orchestrator changed in a run.
#[derive(Debug)]
pub struct RunNews {
    pub row: RunRow,
    pub groups: Vec<GroupRow>,
    pub tasks: Vec<TaskRow>,
    pub hosts: Vec<(Name, HostRow)>,
    pub runners: Vec<(Name, RunnerRow)>,
}

impl RunState {
    pub fn new(row: RunRow, groups: Vec<GroupRow>) -> RunState {
        let by_alias = groups.iter().enumerate().map(|(i, group)| (group.alias.clone(), i)).collect();
        RunState {
            row,
            groups,
            by_alias,
            tasks: Tasks::default(),
            held: Named::default(),
            hosts: Named::default(),
            runners: Named::default(),
            dirty: Dirty::default(),
            leases_until: Millis::MAX,
            low: BTreeSet::new(),
        }
    }

    /// Takes a row in that was read from the database; what is in memory already is newer and stays.
    pub fn take_in(&mut self, task: TaskRow) {
        if self.tasks.contains_key(&task.id) {
            return;
        }
        match (task.state, &task.lease) {
            (TaskState::Pending, _) if task.id < self.groups[task.group].fetched_to => {
                self.groups[task.group].queue.insert(task.id);
            }
            (_, Some(lease)) => {
                self.leases_until = self.leases_until.min(lease.expires_at);
                self.held.insert(lease.runner_id.clone(), task.id);
            }
            _ => {}
        }
        self.tasks.insert(task.id, Arc::new(task));
    }

    /// Takes in the pending tasks of a group that come next, in order; `done` when there are no more.
    pub fn refill(&mut self, group: usize, rows: Vec<TaskRow>, done: bool) {
        let last = rows.last().map_or(self.groups[group].fetched_to, |task| task.id + 1);
        self.groups[group].fetched_to = if done { TaskId::MAX } else { last };
        for task in rows {
            match self.tasks.get(&task.id) {
                // Was looked at before it was fetched: what is in memory is newer.
                Some(known) if known.state == TaskState::Pending => {
                    self.groups[group].queue.insert(task.id);
                }
                Some(_) => {}
                None => self.take_in(task),
            }
        }
    }

    /// Takes over what another orchestrator wrote: all groups, and the tasks, hosts and runners it changed.
    /// Pending tasks are forgotten, since it may have handed them out.
    pub fn refresh(&mut self, news: RunNews) {
        self.row.status = news.row.status;
        self.row.finished_at = news.row.finished_at;
        self.row.deadline = news.row.deadline;
        for (mine, mut theirs) in self.groups.iter_mut().zip(news.groups) {
            theirs.wanted_at = theirs.wanted_at.max(mine.wanted_at);
            *mine = theirs;
        }
        self.tasks.retain(|_, task| task.lease.is_some());
        for task in news.tasks {
            if let Some(old) = self.tasks.remove(&task.id)
                && let Some(lease) = &old.lease
                && self.held.get(&lease.runner_id) == Some(&task.id)
            {
                self.held.swap_remove(&lease.runner_id);
            }
            if task.lease.is_some() {
                self.take_in(task);
            }
        }
        for (name, mut theirs) in news.hosts {
            theirs.seen_at = theirs.seen_at.max(self.hosts.get(&name).map_or(0, |mine| mine.seen_at));
            self.hosts.insert(name, theirs);
        }
        for (id, mut theirs) in news.runners {
            theirs.seen_at = theirs.seen_at.max(self.runners.get(&id).map_or(0, |mine| mine.seen_at));
            self.runners.insert(id, theirs);
        }
    }

    /// Whether a claim on this group has to fetch pending tasks first.
    pub fn needs_refill(&self, group: usize) -> bool {
        let group = &self.groups[group];
        group.queue.is_empty() && group.counts.pending > 0 && group.fetched_to != TaskId::MAX
    }

    /// Forgets a row that was looked at and is neither handed out nor in the queue.
    pub fn let_go(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get(&id)
            && task.lease.is_none()
            && !self.dirty.has_task(id)
            && !self.groups[task.group].queue.contains(&id)
        {
            self.tasks.remove(&id);
        }
    }

    /// Counts the tasks that are handed out anew. A first heartbeat is answered before its row is saved, while
    /// the counts may be: after a crash they may be ahead of the rows.
    pub fn recount(&mut self) {
        let mut counted = vec![(0, 0); self.groups.len()];
        for task in self.held.values().map(|id| &self.tasks[id]) {
            let (claimed, running) = &mut counted[task.group];
            *(if task.state == TaskState::Running { running } else { claimed }) += 1;
        }
        for (index, (claimed, running)) in counted.into_iter().enumerate() {
            let counts = &mut self.groups[index].counts;
            if (counts.claimed, counts.running) != (claimed, running) {
                (counts.claimed, counts.running) = (claimed, running);
                self.dirty.groups.insert(index);
            }
        }
    }

    /// How many pending tasks of a group are fetched at a time; with fewer than half of them in memory more are.
    pub fn fetch_size(&self) -> u32 {
        let groups = u32::try_from(self.groups.len()).unwrap_or(u32::MAX).max(1);
        (FETCH * FETCH_GROUPS / groups).clamp(FETCH_LEAST, FETCH)
    }

    pub fn owns(&self, task: TaskId) -> bool {
        (self.row.first_task..self.row.first_task + TaskId::from(self.row.total)).contains(&task)
    }

    pub fn counts(&self) -> TaskCounts {
        let mut sum = TaskCounts::default();
        for group in &self.groups {
            sum.total += group.counts.total;
            sum.pending += group.counts.pending;
            sum.claimed += group.counts.claimed;
            sum.running += group.counts.running;
            sum.completed += group.counts.completed;
            sum.failed += group.counts.failed;
            sum.cancelled += group.counts.cancelled;
        }
        sum
    }

    /// Moves one task between states: its row, its group's counts and its queue stay in step.
    pub(super) fn set_state(&mut self, id: TaskId, to: TaskState) {
        self.count_state(id, to);
        self.touch(id);
    }

    /// The same for a change that is saved with the heartbeats.
    pub(super) fn set_state_by_beat(&mut self, id: TaskId, to: TaskState) {
        self.count_state(id, to);
        self.touch_by_beat(id);
    }

    fn count_state(&mut self, id: TaskId, to: TaskState) {
        let task = self.tasks.row_mut(id);
        let from = std::mem::replace(&mut task.state, to);
        let index = task.group;
        // As many as are claimed while one commit is under way.
        let few = self.fetch_size() as usize / 2;
        let group = &mut self.groups[index];
        *count_of(&mut group.counts, from) -= 1;
        *count_of(&mut group.counts, to) += 1;
        if from == TaskState::Pending {
            group.queue.remove(&id);
            group.head = group.head.max(id + 1).min(group.queue.first().copied().unwrap_or(TaskId::MAX));
            if group.queue.len() < few && group.fetched_to != TaskId::MAX {
                self.low.insert(index);
            }
        }
        if to == TaskState::Pending {
            group.queue.insert(id);
            group.head = group.head.min(id);
            self.dirty.queue = true;
        }
        self.dirty.groups.insert(index);
    }

    pub(super) fn touch(&mut self, id: TaskId) {
        self.dirty.beats.remove(&id);
        self.dirty.tasks.insert(id);
    }

    pub(super) fn touch_by_beat(&mut self, id: TaskId) {
        if !self.dirty.tasks.contains(&id) {
            self.dirty.beats.insert(id);
        }
    }

    /// Notes an event about the run, or about a task and whoever holds it or held it last.
    pub(super) fn event(
        &mut self,
        now: Millis,
        kind: EventKind,
        task: Option<TaskId>,
        detail: Option<String>,
    ) {
        let mut event = NewEvent {
            at: now,
            kind,
            task_id: task,
            alias: None,
            number: None,
            attempt: None,
            host: None,
            runner_id: None,
            detail,
        };
        if let Some(task) = task.and_then(|id| self.tasks.get(&id)) {
            event.alias = Some(self.groups[task.group].alias.clone());
            event.number = Some(task.number);
            event.attempt = (task.attempts > 0).then_some(task.attempts);
            event.host = task.host().cloned();
            event.runner_id = task.runner_id().cloned();
        }
        self.dirty.events.push(event);
    }
}

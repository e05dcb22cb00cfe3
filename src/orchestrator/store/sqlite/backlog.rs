//! What the journal has and the tables do not have yet: between the thread that commits and the one that writes the
//! tables.
//!
//! ```text
//!  committer ──add──▶ ┌─────────┐ ──next──▶ tables ──▶ SQLite
//!  reader, writer ◀──▶│ Backlog │ ◀──done──
//!          settle     └─────────┘
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::orchestrator::store::engine::{BackendError, NewRun};
use crate::orchestrator::store::rules::{RunKey, RunState};

use super::record::{Commit, EventBatch};
use super::work::{self, Work};

/// How long changes may wait for the tables: a task that is claimed, beaten and completed meanwhile is written once.
const SOON: Duration = Duration::from_secs(1);
/// With so much waiting (changes, and one more for each KiB of them) the tables take them in at once: what is written
/// together is synced together, and commits wait for the disk meanwhile.
const MANY: usize = 8192;
/// With so much waiting commits wait for the tables: bounds memory to some tens of megabytes.
const TOO_MANY: usize = 8 * MANY;

/// After so much the tables are brought to disk, which the journal waits for to begin a file anew. Seldom for
/// an orchestrator that is not busy, and not so much at once for one that is.
const WORTH_A_SYNC: usize = MANY;
/// How long the tables rest between two pieces of work that nobody waits for.
const REST: Duration = Duration::from_millis(1);

/// The tables could not take in what was committed. It is safe in the journal.
#[derive(Debug, Clone)]
pub struct NotTakenIn(Arc<BackendError>);

impl std::fmt::Display for NotTakenIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("could not write to the database what was committed before")
    }
}

impl std::error::Error for NotTakenIn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&**self.0)
    }
}

/// A run to be inserted, which waits for nothing.
pub struct Insert {
    pub new: Box<NewRun>,
    pub reply: oneshot::Sender<Result<Box<RunState>, BackendError>>,
}

/// What the tables have to do.
pub enum Next {
    TakeIn(VecDeque<Work>),
    Insert(Insert),
    End,
}

#[derive(Default)]
pub struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Oldest first; more than one only where they must not be mixed.
    waiting: VecDeque<Work>,
    /// Since when something waits; after a failure, since that.
    since: Option<Instant>,
    /// Of what waits, as [`Work::size`].
    size: usize,
    /// The same of what is being taken in.
    size_in_hand: usize,
    /// Newest record that was added.
    added: u64,
    /// Newest record that the tables have, and that they have on disk.
    taken_in: u64,
    kept: u64,
    /// Of what the tables have, and maybe not on disk.
    size_at_risk: usize,
    /// Events that the tables do not have yet.
    events: VecDeque<Arc<EventBatch>>,
    inserts: VecDeque<Insert>,
    /// Who waits for which record to be taken in.
    waiters: Vec<(u64, oneshot::Sender<Result<(), NotTakenIn>>)>,
    failure: Option<NotTakenIn>,
    ended: bool,
    /// Nobody takes anything in any more.
    abandoned: bool,
}

impl Backlog {
    /// For tables that have, on disk, everything up to the record `taken_in`.
    pub fn new(taken_in: u64) -> Backlog {
        let state = State { added: taken_in, taken_in, kept: taken_in, ..State::default() };
        Backlog { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Who panics while holding the lock leaves nothing half done behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a commit that is in the journal under this number, with its size there in bytes.
    pub fn add(&self, commit: Commit, number: u64, bytes: usize) {
        let mut state = self.lock();
        let before = state.size;
        state.events.extend(commit.events.iter().cloned());
        state.size += work::queue(&mut state.waiting, commit, number, bytes);
        state.added = number;
        // The first one begins the time that changes may wait.
        let first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        // Whoever rests meanwhile is not woken by each of them.
        if first || before < MANY && state.size >= MANY {
            self.changed.notify_all();
        }
    }

    /// Before a commit: waits while too much is waiting. Newest record that the tables have on disk; an error where
    /// they cannot take anything in, not even now.
    pub fn ready(&self) -> Result<u64, NotTakenIn> {
        let mut state = self.lock();
        if state.failure.is_some() || state.abandoned {
            let settled = state.settle();
            drop(state);
            self.changed.notify_all();
            if let Some(settled) = settled {
                settled.blocking_recv().unwrap_or_else(|_gone| Err(ended()))?;
            }
            state = self.lock();
        }
        while state.size + state.size_in_hand >= TOO_MANY && state.failure.is_none() && !state.abandoned {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state.kept)
    }

    /// Waits until the tables have everything that was added.
    pub async fn settle(&self) -> Result<(), NotTakenIn> {
        let Some(settled) = self.lock().settle() else { return Ok(()) };
        self.changed.notify_all();
        settled.await.unwrap_or_else(|_gone| Err(ended()))
    }

    pub fn insert(&self, insert: Insert) {
        let mut state = self.lock();
        if !state.abandoned {
            state.inserts.push_back(insert);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Events with numbers above `after`, of one run or of all, that the tables may not have yet. Ask before the
    /// tables are read, so that none is missed.
    pub fn events(&self, run: Option<RunKey>, after: i64) -> Vec<Arc<EventBatch>> {
        let wanted =
            |events: &&Arc<EventBatch>| events.last() > after && run.is_none_or(|run| run == events.run);
        self.lock().events.iter().filter(wanted).cloned().collect()
    }

    /// Nothing is added any more; the tables take in what is left.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The tables are not written any more, in order or not: whoever waits for them, or will, is told so.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.waiters.clear();
        state.inserts.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for something to do.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(insert) = state.inserts.pop_front() {
                return Next::Insert(insert);
            }
            let due = state.size >= MANY && state.failure.is_none();
            let wait = match state.since {
                Some(_) if due || state.ended || !state.waiters.is_empty() => Duration::ZERO,
                Some(since) => SOON.saturating_sub(since.elapsed()),
                None if state.ended => return Next::End,
                None => Duration::MAX,
            };
            if wait.is_zero() {
                state.since = None;
                state.size_in_hand = std::mem::take(&mut state.size);
                return Next::TakeIn(std::mem::take(&mut state.waiting));
            }
            state = match wait {
                Duration::MAX => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                wait => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Between two pieces of work: leaves the CPU to others for a moment, unless the tables fall behind or somebody
    /// waits for them.
    pub fn rest(&self) {
        drop(self.changed.wait_timeout_while(self.lock(), REST, |state| !state.is_pressed()));
    }

    /// The newest record that the tables have, when it is time to bring it to disk.
    pub fn to_be_kept(&self) -> Option<u64> {
        let state = self.lock();
        (state.size_at_risk >= WORTH_A_SYNC).then_some(state.taken_in)
    }

    /// The tables have everything up to this record on disk.
    pub fn kept(&self, number: u64) {
        let mut state = self.lock();
        (state.kept, state.size_at_risk) = (number, 0);
    }

    /// The tables have taken in `work`.
    pub fn taken_in(&self, work: VecDeque<Work>) {
        let mut state = self.lock();
        state.size_at_risk += std::mem::take(&mut state.size_in_hand);
        if let Some(last) = work.back() {
            state.taken_in = last.newest;
        }
        let newest_event = work.iter().flat_map(|work| &work.events).map(|events| events.last()).max();
        while state.events.front().is_some_and(|events| Some(events.last()) <= newest_event) {
            state.events.pop_front();
        }
        state.failure = None;
        let taken_in = state.taken_in;
        for (_, waiter) in state.waiters.extract_if(.., |(number, _)| *number <= taken_in) {
            // Whoever does not wait any more does not need to know.
            waiter.send(Ok(())).ok();
        }
        drop(state);
        self.changed.notify_all();
        // Many rows are freed here, while nobody waits for the lock.
        drop(work);
    }

    /// The tables have taken in nothing of `work`.
    pub fn failed(&self, work: VecDeque<Work>, cause: BackendError) {
        let failure = NotTakenIn(Arc::new(cause));
        let mut state = self.lock();
        for work in work.into_iter().rev() {
            state.waiting.push_front(work);
        }
        state.size += std::mem::take(&mut state.size_in_hand);
        // It is tried again: by and by, or when somebody asks.
        state.since = (!state.ended).then(Instant::now);
        for (_, waiter) in state.waiters.drain(..) {
            waiter.send(Err(failure.clone())).ok();
        }
        state.failure = Some(failure);
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    /// Whether the tables fall behind, or somebody waits for them.
    fn is_pressed(&self) -> bool {
        self.size >= MANY || !self.waiters.is_empty() || !self.inserts.is_empty() || self.ended
    }

    /// Resolves when everything that was added is taken in; nothing where it is already.
    fn settle(&mut self) -> Option<oneshot::Receiver<Result<(), NotTakenIn>>> {
        if self.taken_in == self.added && !self.abandoned {
            return None;
        }
        let (waiter, settled) = oneshot::channel();
        if !self.abandoned {
            self.waiters.push((self.added, waiter));
        }
        Some(settled)
    }
}

fn ended() -> NotTakenIn {
    NotTakenIn(Arc::new("the thread that writes the tables has ended".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(backlog: &Backlog) -> VecDeque<Work> {
        match backlog.next() {
            Next::TakeIn(work) => work,
            Next::Insert(_) | Next::End => panic!("there is work to be taken in"),
        }
    }

    #[test]
    fn the_tables_rest_however_much_they_have_in_hand_until_as_much_waits_again() {
        let backlog = Backlog::new(0);
        let add = |number| backlog.add(Commit::default(), number, MANY * 1024);
        add(1);
        let work = take(&backlog);
        assert!(!backlog.lock().is_pressed());
        add(2);
        assert!(backlog.lock().is_pressed());
        backlog.failed(work, "the disk is full".into());
        assert_eq!(backlog.lock().size, 2 * MANY, "what was in hand waits again");
    }

    #[test]
    fn a_rest_is_not_cut_short_by_commits() {
        let backlog = Backlog::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| backlog.rest());
            while !resting.is_finished() {
                backlog.add(Commit::default(), 1, 0);
            }
        });
        assert!(start.elapsed() >= REST);
    }
}

//! The loop: carry out what has gathered, hand the changes over to be committed, say when they are durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::error;

use crate::orchestrator::store::clock::{Clock, Millis};
use crate::orchestrator::store::rules::{Changes, RunState, Take};
use crate::orchestrator::store::stats::{StoreStats, count};

use super::backend::{Backend, BackendError, Commit, Committed};
use super::batch::{Batch, BatchFailed};
use super::command::{Command, refuse_all};
use super::create::Creations;
use super::state::State;

/// Commands taken at a time: bounds the memory of a batch and the wait of its first caller.
const MAX_BATCH: usize = 1024;
/// With so many answers waiting a commit does not wait for more: each one's share of the sync is small.
const WORTH_A_SYNC: usize = 48;
/// How long a heartbeat may stay unsaved: well below the shortest beat, and long enough that most rows that
/// were beaten are saved together with something else.
const BEATS_WAIT: Duration = Duration::from_millis(100);
/// How long a run that ended stays in memory: its runners hear of the end with their next calls, and would have to wait
/// for the tables, which may be busy with its many tasks.
const ENDED_STAY_MS: Millis = 60_000;
/// Whoever was alive this long ago is taken to be alive still: orchestrators note it once a second.
pub(super) const OTHERS_ARE_THERE_MS: Millis = 3000;

/// What the writer tells the others.
#[derive(Clone)]
pub struct Outlets {
    pub events: watch::Sender<i64>,
    pub queue: watch::Sender<u64>,
    pub stats: Arc<StoreStats>,
}

pub struct Writer<B> {
    pub(super) backend: B,
    rows: OwnRows,
    /// Told when a handler has left something to save.
    news: Arc<Notify>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outlets: Outlets,
    /// The next commit takes heartbeats, too.
    pub(super) with_beats: bool,
    under_way: Option<UnderWay>,
    pub(super) creations: Creations,
    /// How often everything was given up.
    failures: u64,
    queue_changed: bool,
    /// When the last sweep was: by the machine's clock, and by the store's.
    pub(super) last_sweep: Option<(Instant, Millis)>,
}

/// The writer's hold on the rows, which it shares with handlers. Never locked across an `await`.
struct OwnRows(Arc<Mutex<State>>);

impl OwnRows {
    /// Ends the writer where a rule has panicked: rows that it left half changed must not be saved.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no rule panics")
    }
}

impl Drop for OwnRows {
    /// However the writer ends, nobody waits for it afterwards.
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.batches.end();
        let gone = Arc::new(BatchFailed("the writer has ended".into()));
        for batch in state.batches.take() {
            batch.land(Err(gone.clone()));
        }
    }
}

/// A commit that has not landed yet.
struct UnderWay {
    outcome: oneshot::Receiver<Result<Committed, BackendError>>,
    handed_over: HandedOver,
}

struct HandedOver {
    batch: Arc<Batch>,
    queue_changed: bool,
}

/// What the loop has to turn to.
enum Next {
    Landed(Result<Committed, BackendError>),
    Created(Result<Box<RunState>, BackendError>),
    Commands,
    Beats,
    /// A handler has changed something by itself.
    News,
    /// Nobody is left who could ask for anything.
    End,
}

impl<B: Backend> Writer<B> {
    pub fn new(
        backend: B,
        clock: Arc<dyn Clock>,
        outlets: Outlets,
        rows: Arc<Mutex<State>>,
        news: Arc<Notify>,
    ) -> Writer<B> {
        Writer {
            backend,
            rows: OwnRows(rows),
            news,
            clock,
            outlets,
            with_beats: false,
            under_way: None,
            creations: Creations::default(),
            failures: 0,
            queue_changed: false,
            last_sweep: None,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.rows.lock()
    }

    /// Begins a transaction. Where others write too, the backend brings the rows up to date; nobody else looks
    /// at them there.
    pub(super) async fn begin(&mut self) -> Result<(), BackendError> {
        if !B::SHARED {
            return Ok(());
        }
        let mut state = std::mem::take(&mut *self.state());
        let begun = self.backend.begin(&mut state).await;
        *self.state() = state;
        begun
    }

    pub async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut close = None;
        while close.is_none() {
            match self.next(&mut commands, &mut batch).await {
                Next::Landed(outcome) => self.landed(outcome).await,
                Next::Created(made) => self.take_created(made).await,
                Next::Commands => close = self.take_batch(&mut batch).await,
                Next::Beats => self.state().demand_commit(),
                Next::News => {}
                Next::End => break,
            }
            if !B::SHARED && close.is_none() {
                close = self.gather(&mut commands, &mut batch).await;
            }
            self.go_on().await;
            // Where others write too, what was fetched is forgotten with the turn.
            if !B::SHARED
                && let Err(cause) = self.fetch_ahead().await
            {
                self.give_up(cause).await;
            }
        }
        commands.close();
        while self.creations.is_under_way() {
            let made = self.creations.come().await;
            self.take_created(made).await;
        }
        self.state().batches.end();
        if !B::SHARED {
            self.demand_commit();
            // Whoever waits for it is told if it fails.
            self.settle_all().await.ok();
        }
        self.backend.close().await;
        if let Some(done) = close {
            done.send(()).ok();
        }
    }

    async fn next(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        batch: &mut Vec<Command>,
    ) -> Next {
        let beats_since = self.state().beats_since.filter(|_| self.under_way.is_none());
        let beats_at = beats_since.map(|since| since + BEATS_WAIT);
        let (under_way, creations) = (&mut self.under_way, &mut self.creations);
        tokio::select! {
            biased;
            outcome = landing(under_way), if under_way.is_some() => Next::Landed(outcome),
            made = creations.come() => Next::Created(made),
            got = commands.recv_many(batch, MAX_BATCH) => if got == 0 { Next::End } else { Next::Commands },
            () = tokio::time::sleep_until(beats_at.unwrap_or_else(Instant::now).into()), if beats_at.is_some() => {
                Next::Beats
            }
            () = self.news.notified() => Next::News,
        }
    }

    /// Lets everybody who is ready to run do so, as long as more answers wait because of it and there are few:
    /// callers that were answered together come back together, and a sync is for all of them. A lone caller does
    /// not wait for it.
    async fn gather(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        batch: &mut Vec<Command>,
    ) -> Option<oneshot::Sender<()>> {
        let mut before = 0;
        while self.under_way.is_none() {
            let waiting = self.state().batches.waiting();
            if waiting == before || waiting >= WORTH_A_SYNC {
                break;
            }
            before = waiting;
            tokio::task::yield_now().await;
            while batch.len() < MAX_BATCH
                && let Ok(command) = commands.try_recv()
            {
                batch.push(command);
            }
            if !batch.is_empty()
                && let Some(done) = self.take_batch(batch).await
            {
                return Some(done);
            }
        }
        None
    }

    /// Carries a batch out. Gives the place for the answer if it says that the store is to be closed.
    async fn take_batch(&mut self, batch: &mut Vec<Command>) -> Option<oneshot::Sender<()>> {
        let close = take_close(batch);
        if let Err(cause) = self.carry_out_all(batch).await {
            let failure = self.give_up(cause).await;
            refuse_all(batch.drain(..), &failure);
        }
        close
    }

    async fn take_created(&mut self, made: Result<Box<RunState>, BackendError>) {
        if let Err(cause) = self.created(made).await {
            let failure = self.give_up(cause).await;
            self.creations.refuse_waiting(&failure);
        }
    }

    async fn carry_out_all(&mut self, batch: &mut Vec<Command>) -> Result<(), BackendError> {
        self.begin().await?;
        self.state().batches.in_turn = B::SHARED;
        // Taken from the end, so that those not reached stay where they are if the batch fails.
        batch.reverse();
        let loaded = self.state().loaded;
        if !loaded {
            self.take_up(OTHERS_ARE_THERE_MS).await?;
        }
        while let Some(command) = batch.pop() {
            self.carry_out(command).await?;
        }
        Ok(())
    }

    /// Hands over what is unsaved, unless a commit is under way or nobody waits for it.
    async fn go_on(&mut self) {
        // Again where it is over at once: a handler may have changed something meanwhile.
        while self.under_way.is_none() && !self.is_at_rest() {
            self.hand_over().await;
        }
    }

    /// Whether nobody waits for a commit. Then rows are let go that nobody needs.
    fn is_at_rest(&self) -> bool {
        let mut state = self.state();
        let due = state.is_due();
        if !due {
            state.tidy(self.ended_by());
        }
        !due
    }

    /// Runs that ended by then are not asked for much any more.
    fn ended_by(&self) -> Millis {
        if B::SHARED { Millis::MAX } else { self.clock.now_ms() - ENDED_STAY_MS }
    }

    /// Starts the commit of everything that is unsaved.
    async fn hand_over(&mut self) {
        let asked = std::mem::take(&mut self.with_beats);
        let (batch, changes) = {
            let mut state = self.state();
            let overdue = state.beats_since.is_some_and(|since| since.elapsed() >= BEATS_WAIT);
            let with_beats = asked || overdue || B::SHARED;
            if with_beats {
                state.beats_since = None;
            }
            count(&self.outlets.stats.batches, 1);
            let take = if with_beats { Take::All } else { Take::AllButBeats };
            (state.batches.hand_over(), state.take_all_changes(take))
        };
        let commit = match self.save_all(changes).await {
            Ok(()) => self.backend.commit().await,
            Err(cause) => Err(cause),
        };
        let queue_changed = std::mem::take(&mut self.queue_changed);
        let handed_over = HandedOver { batch, queue_changed };
        match commit {
            Ok(Commit::UnderWay(outcome)) => self.under_way = Some(UnderWay { outcome, handed_over }),
            Ok(Commit::Done(committed)) => self.succeeded(committed, &handed_over),
            Err(cause) => {
                self.give_up(cause).await;
            }
        }
    }

    async fn landed(&mut self, outcome: Result<Committed, BackendError>) {
        let Some(UnderWay { handed_over, .. }) = self.under_way.take() else { return };
        match outcome {
            Ok(committed) => self.succeeded(committed, &handed_over),
            // What was carried out meanwhile stands on what was not saved.
            Err(cause) => {
                self.give_up(cause).await;
            }
        }
    }

    fn succeeded(&mut self, committed: Committed, handed_over: &HandedOver) {
        if committed.wrote {
            count(&self.outlets.stats.commits, 1);
        }
        {
            // Noted before the rows are let go of: a heartbeat that comes in between would be missed by lists.
            let mut state = self.state();
            state.batches.landed();
            state.unsaved_beats = state.beats_since.is_some();
            state.tidy(self.ended_by());
        }
        self.publish(committed, handed_over.queue_changed);
        handed_over.batch.land(Ok(()));
    }

    /// Nothing of what is unsaved was saved, so the rows in memory are wrong: forget them and tell everybody.
    async fn give_up(&mut self, cause: BackendError) -> Arc<BatchFailed> {
        let mut cause = cause;
        if self.under_way.is_some() {
            let outcome = landing(&mut self.under_way).await;
            let earlier = self.under_way.take().map(|under_way| under_way.handed_over);
            match (outcome, earlier) {
                (Ok(committed), Some(earlier)) => self.succeeded(committed, &earlier),
                (Err(first), _) => cause = first,
                (Ok(_), None) => {}
            }
        }
        self.backend.rollback().await;
        self.queue_changed = false;
        let failure = Arc::new(BatchFailed(cause));
        let (waiting, failed) = {
            let mut state = self.state();
            state.clear();
            (state.batches.waiting(), state.batches.take())
        };
        error!(error = &*failure.0, answers = waiting, "could not save a batch of commands");
        self.failures += 1;
        for batch in failed {
            batch.land(Err(failure.clone()));
        }
        failure
    }

    /// Saves everything that is unsaved, and waits for it.
    pub(super) async fn settle_all(&mut self) -> Result<(), BackendError> {
        let failures = self.failures;
        self.wait_for_landing().await;
        self.go_on().await;
        self.wait_for_landing().await;
        if self.failures == failures { Ok(()) } else { Err("the rows it stands on were not saved".into()) }
    }

    async fn wait_for_landing(&mut self) {
        if self.under_way.is_some() {
            let outcome = landing(&mut self.under_way).await;
            self.landed(outcome).await;
        }
    }

    pub(super) async fn save_all(&mut self, changes: Vec<Changes>) -> Result<(), BackendError> {
        for changes in changes {
            self.save(changes).await?;
        }
        Ok(())
    }

    /// Saves one run's changes.
    pub(super) async fn save(&mut self, changes: Changes) -> Result<(), BackendError> {
        self.queue_changed |= changes.queue;
        if changes.empty {
            return Ok(());
        }
        self.backend.save(changes).await
    }

    pub(super) fn publish(&mut self, committed: Committed, queue_changed: bool) {
        if let Some(newest) = committed.newest_event {
            self.outlets.events.send_if_modified(|known| {
                let newer = newest > *known;
                *known = newest.max(*known);
                newer
            });
        }
        if queue_changed {
            self.outlets.queue.send_modify(|version| *version += 1);
        }
    }
}

async fn landing(under_way: &mut Option<UnderWay>) -> Result<Committed, BackendError> {
    match under_way {
        Some(under_way) => (&mut under_way.outcome).await?,
        None => std::future::pending().await,
    }
}

fn take_close(batch: &mut Vec<Command>) -> Option<oneshot::Sender<()>> {
    let at = batch.iter().position(|command| matches!(command, Command::Close { .. }))?;
    match batch.remove(at) {
        Command::Close { done } => Some(done),
        _ => None,
    }
}

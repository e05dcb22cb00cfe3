//! The loop: carry out what has gathered, hand the changes over to be committed, answer when they are durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::error;

use crate::orchestrator::store::clock::{Clock, Millis};
use crate::orchestrator::store::rules::{RunKey, Take};
use crate::orchestrator::store::stats::{StoreStats, count};

use super::backend::{Backend, BackendError, Commit, Committed};
use super::command::Command;
use super::held::{BatchFailed, Held};
use super::state::State;

/// Commands taken at a time: bounds the memory of a batch and the wait of its first caller.
const MAX_BATCH: usize = 1024;
/// With so many answers waiting a commit does not wait for more: each one's share of the sync is small.
const WORTH_A_SYNC: usize = 48;
/// How long a heartbeat may stay unsaved: well below the shortest beat, and long enough that most rows that
/// were beaten are saved together with something else.
const BEATS_WAIT: Duration = Duration::from_millis(100);
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
    /// Shared with the handle, which carries out heartbeats by itself. Never locked across an `await`.
    state: Arc<Mutex<State>>,
    /// Told when a heartbeat was carried out and none was unsaved.
    first_beat: Arc<Notify>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outlets: Outlets,
    /// Answers that wait for the next commit.
    pub(super) held: Vec<Box<dyn Held>>,
    /// Somebody waits for what is unsaved.
    pub(super) due: bool,
    /// The next commit takes heartbeats, too.
    pub(super) with_beats: bool,
    /// A transaction is open that keeps others out: it must end with this batch.
    in_turn: bool,
    under_way: Option<UnderWay>,
    /// How often everything was given up.
    failures: u64,
    queue_changed: bool,
    /// When the last sweep was: by the machine's clock, and by the store's.
    pub(super) last_sweep: Option<(Instant, Millis)>,
}

/// A commit that has not landed yet, and who waits for it.
struct UnderWay {
    outcome: oneshot::Receiver<Result<Committed, BackendError>>,
    waiting: Waiting,
}

struct Waiting {
    held: Vec<Box<dyn Held>>,
    started: Instant,
    queue_changed: bool,
}

/// What the loop has to turn to.
enum Next {
    Landed(Result<Committed, BackendError>),
    Commands,
    Beats,
    /// There is a time now at which the beats are due.
    FirstBeat,
    /// Nobody is left who could ask for anything.
    End,
}

impl<B: Backend> Writer<B> {
    pub fn new(
        backend: B,
        clock: Arc<dyn Clock>,
        outlets: Outlets,
        state: Arc<Mutex<State>>,
        first_beat: Arc<Notify>,
    ) -> Writer<B> {
        Writer {
            backend,
            state,
            first_beat,
            clock,
            outlets,
            held: Vec::new(),
            due: false,
            with_beats: false,
            in_turn: false,
            under_way: None,
            failures: 0,
            queue_changed: false,
            last_sweep: None,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a transaction. Where others write too, the backend brings the rows up to date, and nobody else looks at
    /// them meanwhile.
    pub(super) async fn begin(&mut self) -> Result<(), BackendError> {
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
                Next::Commands => {
                    close = self.take_batch(&mut batch).await;
                    if !B::SHARED && close.is_none() {
                        close = self.gather(&mut commands, &mut batch).await;
                    }
                }
                Next::Beats => self.due = true,
                Next::FirstBeat => continue,
                Next::End => break,
            }
            self.go_on().await;
        }
        commands.close();
        if !B::SHARED {
            (self.due, self.with_beats) = (true, true);
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
        let beats_since = self.state().beats_since;
        let beats_at = beats_since.filter(|_| self.under_way.is_none()).map(|since| since + BEATS_WAIT);
        let under_way = &mut self.under_way;
        tokio::select! {
            biased;
            outcome = landing(under_way), if under_way.is_some() => Next::Landed(outcome),
            got = commands.recv_many(batch, MAX_BATCH) => if got == 0 { Next::End } else { Next::Commands },
            () = tokio::time::sleep_until(beats_at.unwrap_or_else(Instant::now).into()), if beats_at.is_some() => {
                Next::Beats
            }
            () = self.first_beat.notified(), if beats_since.is_none() => Next::FirstBeat,
        }
    }

    /// Lets everybody who is ready to run do so, as long as new commands come of it and there are few: callers
    /// that were answered together come back together, and a sync is for all of them. A lone caller does not
    /// wait for it.
    async fn gather(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        batch: &mut Vec<Command>,
    ) -> Option<oneshot::Sender<()>> {
        while self.due && self.under_way.is_none() && self.held.len() < WORTH_A_SYNC {
            tokio::task::yield_now().await;
            while batch.len() < MAX_BATCH
                && let Ok(command) = commands.try_recv()
            {
                batch.push(command);
            }
            if batch.is_empty() {
                break;
            }
            if let Some(done) = self.take_batch(batch).await {
                return Some(done);
            }
        }
        None
    }

    /// Carries a batch out. Gives the place for the answer if it says that the store is to be closed.
    async fn take_batch(&mut self, batch: &mut Vec<Command>) -> Option<oneshot::Sender<()>> {
        count(&self.outlets.stats.batches, 1);
        count(&self.outlets.stats.commands, batch.len() as u64);
        let close = take_close(batch);
        if let Err(cause) = self.carry_out_all(batch).await {
            for unreached in batch.drain(..) {
                self.hold_refusal(unreached);
            }
            self.give_up(cause).await;
        }
        close
    }

    async fn carry_out_all(&mut self, batch: &mut Vec<Command>) -> Result<(), BackendError> {
        self.begin().await?;
        self.in_turn = B::SHARED;
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

    /// Hands over what waits, unless a commit is under way; answers those for whom nothing needs to be saved.
    async fn go_on(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        if self.due || self.in_turn {
            self.hand_over().await;
        } else {
            self.state().tidy();
            settle(&mut self.held, None);
        }
    }

    /// Starts the commit of everything that is unsaved.
    async fn hand_over(&mut self) {
        (self.due, self.in_turn) = (false, false);
        let overdue = self.state().beats_since.is_some_and(|since| since.elapsed() >= BEATS_WAIT);
        let with_beats = std::mem::take(&mut self.with_beats) || overdue || B::SHARED;
        let take = if with_beats { Take::All } else { Take::AllButBeats };
        if with_beats {
            self.state().beats_since = None;
        }
        let started = Instant::now();
        let commit = match self.save_all(take).await {
            Ok(()) => self.backend.commit().await,
            Err(cause) => Err(cause),
        };
        let queue_changed = std::mem::take(&mut self.queue_changed);
        let waiting = Waiting { held: std::mem::take(&mut self.held), started, queue_changed };
        match commit {
            Ok(Commit::UnderWay(outcome)) => self.under_way = Some(UnderWay { outcome, waiting }),
            Ok(Commit::Done(committed)) => self.succeeded(committed, waiting),
            Err(cause) => {
                self.held = waiting.held;
                self.give_up(cause).await;
            }
        }
    }

    async fn landed(&mut self, outcome: Result<Committed, BackendError>) {
        let Some(UnderWay { waiting, .. }) = self.under_way.take() else { return };
        match outcome {
            Ok(committed) => self.succeeded(committed, waiting),
            Err(cause) => {
                // What was carried out meanwhile stands on what was not saved.
                self.held.splice(0..0, waiting.held);
                self.give_up(cause).await;
            }
        }
    }

    fn succeeded(&mut self, committed: Committed, mut waiting: Waiting) {
        if committed.wrote {
            count(&self.outlets.stats.commits, 1);
            self.outlets.stats.commit_latency.observe(waiting.started.elapsed());
        }
        {
            // Noted before the rows are let go of: a heartbeat that comes in between would be missed by lists.
            let mut state = self.state();
            state.tidy();
            self.outlets.stats.note_unsaved_beats(state.beats_since.is_some());
        }
        self.publish(committed, waiting.queue_changed);
        settle(&mut waiting.held, None);
    }

    /// Nothing of what waits was saved, so the rows in memory are wrong: forget them and tell everybody.
    async fn give_up(&mut self, cause: BackendError) {
        let mut cause = cause;
        if let Some(UnderWay { outcome, mut waiting }) = self.under_way.take() {
            match outcome.await {
                Ok(Ok(committed)) => {
                    self.publish(committed, waiting.queue_changed);
                    settle(&mut waiting.held, None);
                }
                Ok(Err(earlier)) => {
                    cause = earlier;
                    self.held.splice(0..0, waiting.held);
                }
                Err(gone) => {
                    cause = gone.into();
                    self.held.splice(0..0, waiting.held);
                }
            }
        }
        error!(error = &*cause, commands = self.held.len(), "could not save a batch of commands");
        count(&self.outlets.stats.failed_commits, 1);
        self.failures += 1;
        self.backend.rollback().await;
        self.state().clear();
        self.queue_changed = false;
        (self.due, self.in_turn) = (false, false);
        settle(&mut self.held, Some(&Arc::new(BatchFailed(cause))));
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

    pub(super) async fn save_all(&mut self, take: Take) -> Result<(), BackendError> {
        let touched = self.state().touched();
        for key in touched {
            self.save(key, take).await?;
        }
        Ok(())
    }

    /// Saves one run's changes and notes which of its rows are not needed any more.
    pub(super) async fn save(&mut self, key: RunKey, take: Take) -> Result<(), BackendError> {
        let changes = self.state().take_changes(key, take);
        self.queue_changed |= changes.queue;
        count(&self.outlets.stats.leases_lost, changes.leases_lost);
        if changes.is_empty() {
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

fn settle(held: &mut Vec<Box<dyn Held>>, failure: Option<&Arc<BatchFailed>>) {
    for held in held.drain(..) {
        held.settle(failure);
    }
}

fn take_close(batch: &mut Vec<Command>) -> Option<oneshot::Sender<()>> {
    let at = batch.iter().position(|command| matches!(command, Command::Close { .. }))?;
    match batch.remove(at) {
        Command::Close { done } => Some(done),
        _ => None,
    }
}

//! The loop: gather, begin, carry out, save, commit, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::orchestrator::store::clock::{Clock, Millis};
use crate::orchestrator::store::contract::StoreError;
use crate::orchestrator::store::rules::RunKey;
use crate::orchestrator::store::stats::{StoreStats, count};

use super::backend::{Backend, BackendError, Committed, FindRun};
use super::command::{Command, Reply};
use super::state::State;

/// Commands in one transaction at most: bounds its memory and the wait of its first caller.
const MAX_BATCH: usize = 1024;
/// Callers that were answered together come back together. A batch waits for them this long at most, in
/// steps, and only while it is much smaller than the last one was: a lone caller never waits.
const LINGER: Duration = Duration::from_micros(600);
const LINGER_STEP: Duration = Duration::from_micros(50);
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
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outlets: Outlets,
    /// Answers that wait for the commit.
    pub(super) held: Vec<Box<dyn Held>>,
    last_batch: usize,
    queue_changed: bool,
    /// When the last sweep was: by the machine's clock, and by the store's.
    pub(super) last_sweep: Option<(Instant, Millis)>,
}

/// An answer that goes out once its batch is durable, or says that it is not.
pub(super) trait Held: Send {
    fn settle(self: Box<Self>, failure: Option<&Arc<BatchFailed>>);
}

pub(super) struct HeldAnswer<T> {
    pub reply: Reply<T>,
    pub answer: Result<T, StoreError>,
}

impl<T: Send> Held for HeldAnswer<T> {
    fn settle(self: Box<Self>, failure: Option<&Arc<BatchFailed>>) {
        let answer = match failure {
            Some(failure) => Err(StoreError::failed(failure.clone())),
            None => self.answer,
        };
        super::command::send(self.reply, answer);
    }
}

/// One failure, told to everybody in the batch.
#[derive(Debug, thiserror::Error)]
#[error("nothing of this batch was saved")]
pub(super) struct BatchFailed(#[source] BackendError);

impl<B: Backend> Writer<B> {
    pub fn new(backend: B, clock: Arc<dyn Clock>, outlets: Outlets) -> Writer<B> {
        Writer {
            backend,
            state: State::default(),
            clock,
            outlets,
            held: Vec::new(),
            last_batch: 0,
            queue_changed: false,
            last_sweep: None,
        }
    }

    /// The first transaction, in which the last orchestrator's work is taken up.
    pub async fn resume(&mut self) -> Result<(), BackendError> {
        self.backend.begin(&mut self.state).await?;
        self.take_up(if B::SHARED { OTHERS_ARE_THERE_MS } else { 0 }).await?;
        self.save_all().await?;
        let committed = self.backend.commit().await?;
        self.publish(committed);
        Ok(())
    }

    /// Loads what has not ended, and extends all leases by the time nobody was there, once. Nobody was
    /// there if that time is longer than `least`.
    async fn take_up(&mut self, least: Millis) -> Result<(), BackendError> {
        self.load_running().await?;
        if let Some(last_alive) = self.backend.last_alive().await? {
            self.clock.not_before(last_alive);
            let now = self.clock.now_ms();
            if now - last_alive > least {
                for run in self.state.runs_mut() {
                    run.extend_leases(now - last_alive, now);
                }
            }
        }
        self.backend.save_alive(self.clock.now_ms()).await
    }

    pub async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            self.gather(&mut commands, &mut batch).await;
            if batch.is_empty() {
                return;
            }
            let close = self.take_close(&mut batch);
            self.carry_out_batch(&mut batch).await;
            if let Some(done) = close {
                commands.close();
                drop(self);
                done.send(()).ok();
                return;
            }
        }
    }

    async fn gather(&self, commands: &mut mpsc::UnboundedReceiver<Command>, batch: &mut Vec<Command>) {
        commands.recv_many(batch, MAX_BATCH).await;
        let wanted = (self.last_batch * 3 / 4).min(MAX_BATCH);
        let start = Instant::now();
        while batch.len() < wanted && start.elapsed() < LINGER {
            std::thread::sleep(LINGER_STEP);
            while batch.len() < MAX_BATCH
                && let Ok(command) = commands.try_recv()
            {
                batch.push(command);
            }
        }
    }

    fn take_close(&self, batch: &mut Vec<Command>) -> Option<tokio::sync::oneshot::Sender<()>> {
        let at = batch.iter().position(|command| matches!(command, Command::Close { .. }))?;
        match batch.remove(at) {
            Command::Close { done } => Some(done),
            _ => None,
        }
    }

    async fn carry_out_batch(&mut self, batch: &mut Vec<Command>) {
        let started = Instant::now();
        self.last_batch = batch.len();
        count(&self.outlets.stats.batches, 1);
        count(&self.outlets.stats.commands, batch.len() as u64);
        let outcome = self.transact(batch).await;
        match outcome {
            Ok(committed) => {
                if committed.wrote {
                    count(&self.outlets.stats.commits, 1);
                    self.outlets.stats.commit_latency.observe(started.elapsed());
                }
                self.state.tidy();
                self.publish(committed);
                self.settle(None);
            }
            Err(cause) => self.give_up(batch, cause).await,
        }
    }

    async fn transact(&mut self, batch: &mut Vec<Command>) -> Result<Committed, BackendError> {
        self.backend.begin(&mut self.state).await?;
        // Taken from the end, so that those not reached stay where they are if the batch fails.
        batch.reverse();
        if !self.state.loaded {
            self.take_up(OTHERS_ARE_THERE_MS).await?;
        }
        while let Some(command) = batch.pop() {
            self.carry_out(command).await?;
        }
        self.save_all().await?;
        self.backend.commit().await
    }

    /// Nothing of the batch was saved, so the rows in memory are wrong: forget them and tell everybody.
    async fn give_up(&mut self, batch: &mut Vec<Command>, cause: BackendError) {
        error!(
            error = &*cause,
            commands = self.held.len() + batch.len(),
            "could not save a batch of commands"
        );
        count(&self.outlets.stats.failed_commits, 1);
        self.backend.rollback().await;
        self.state.clear();
        self.queue_changed = false;
        let failure = Arc::new(BatchFailed(cause));
        for unreached in batch.drain(..) {
            unreached.refuse(StoreError::failed(failure.clone()));
        }
        self.settle(Some(&failure));
    }

    fn settle(&mut self, failure: Option<&Arc<BatchFailed>>) {
        for held in self.held.drain(..) {
            held.settle(failure);
        }
    }

    async fn load_running(&mut self) -> Result<(), BackendError> {
        for key in self.backend.running().await? {
            if !self.state.contains(key)
                && let Some(run) = self.backend.load_run(FindRun::Key(key)).await?
            {
                info!(run.id = %run.row.id, leases = run.held.len(), "loaded a run that has not ended");
                self.state.insert(run);
            }
        }
        self.state.loaded = true;
        Ok(())
    }

    pub(super) async fn save_all(&mut self) -> Result<(), BackendError> {
        for key in self.state.keys() {
            self.save(key).await?;
        }
        Ok(())
    }

    /// Saves one run's changes and notes which of its rows are not needed any more.
    pub(super) async fn save(&mut self, key: RunKey) -> Result<(), BackendError> {
        let run = self.state.run(key);
        self.queue_changed |= run.dirty.queue;
        count(&self.outlets.stats.leases_lost, std::mem::take(&mut run.dirty.leases_lost));
        if run.dirty.is_empty() {
            run.dirty.queue = false;
            return Ok(());
        }
        let touched: Vec<_> = run.dirty.tasks.keys().copied().collect();
        self.backend.save(run).await?;
        for task in touched {
            self.state.visited(key, task);
        }
        Ok(())
    }

    fn publish(&mut self, committed: Committed) {
        if let Some(newest) = committed.newest_event {
            self.outlets.events.send_if_modified(|known| {
                let newer = newest > *known;
                *known = newest.max(*known);
                newer
            });
        }
        if std::mem::take(&mut self.queue_changed) {
            self.outlets.queue.send_modify(|version| *version += 1);
        }
    }
}

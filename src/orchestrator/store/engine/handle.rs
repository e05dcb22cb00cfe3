//! [`Engine`]: the `Store` that handlers hold. Changes go to the writer, lists to the reader.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::api::{
    AttemptView, ClaimRequest, CompleteRequest, CreateRun, Deadline, Event, FailRequest, HeartbeatRequest,
    HeartbeatResponse, HostEvent, HostView, ReleaseRequest, RunId, RunView, Settled, TaskCounts, TaskId,
    TaskView,
};
use crate::orchestrator::store::clock::Clock;
use crate::orchestrator::store::contract::{
    Claimed, LeaseInfo, Scope, Store, StoreError, StoredResult, Swept, TaskPage, Upload,
};
use crate::orchestrator::store::rules::spec_text;
use crate::orchestrator::store::stats::{StoreStats, count};
use crate::orchestrator::store::validate;

use super::backend::{Backend, Reader};
use super::command::{Command, Reply, TaskCall};
use super::state::State;
use super::writer::{Outlets, Writer};

pub struct Engine {
    commands: mpsc::UnboundedSender<Command>,
    reader: Arc<dyn Reader>,
    events: watch::Receiver<i64>,
    queue: watch::Receiver<u64>,
    stats: Arc<StoreStats>,
    /// Where nobody else writes to the database: the rows in memory, for heartbeats.
    beats: Option<Beats>,
}

/// What carries out a heartbeat without the writer: it renews a lease that is in memory, and waits for nothing.
struct Beats {
    state: Arc<Mutex<State>>,
    first: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

/// Both ends of an engine before they are connected to a database.
pub struct Parts {
    pub events: (watch::Sender<i64>, watch::Receiver<i64>),
    pub queue: (watch::Sender<u64>, watch::Receiver<u64>),
    pub stats: Arc<StoreStats>,
    commands: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
}

impl Parts {
    /// `newest_event` is the newest event in the database.
    pub fn new(newest_event: i64) -> Parts {
        Parts {
            events: watch::channel(newest_event),
            queue: watch::channel(0),
            stats: Arc::default(),
            commands: mpsc::unbounded_channel(),
        }
    }

    pub fn outlets(&self) -> Outlets {
        Outlets { events: self.events.0.clone(), queue: self.queue.0.clone(), stats: self.stats.clone() }
    }

    /// The handle, and the writer's part: to be run where the backend lives.
    pub fn connect<B: Backend>(
        self,
        backend: B,
        reader: Arc<dyn Reader>,
        clock: Arc<dyn Clock>,
    ) -> (Engine, Writer<B>, mpsc::UnboundedReceiver<Command>) {
        let outlets = self.outlets();
        let (state, first) = (Arc::<Mutex<State>>::default(), Arc::<Notify>::default());
        let beats = Beats { state: state.clone(), first: first.clone(), clock: clock.clone() };
        let engine = Engine {
            commands: self.commands.0,
            reader,
            events: self.events.1,
            queue: self.queue.1,
            stats: self.stats,
            beats: (!B::SHARED).then_some(beats),
        };
        (engine, Writer::new(backend, clock, outlets, state, first), self.commands.1)
    }
}

impl Engine {
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|mpsc::error::SendError(_)| StoreError::Closed)?;
        match answer.await {
            Ok(answer) => answer,
            // The writer ended, or gave the command's batch up before it was reached.
            Err(oneshot::error::RecvError { .. }) if self.commands.is_closed() => Err(StoreError::Closed),
            Err(dropped) => Err(StoreError::failed(dropped)),
        }
    }

    /// The answer to a heartbeat where it can be had at once. Whatever is out of the ordinary is left to the writer, as
    /// is everything while the rows are in use: nobody here waits for a lock.
    fn beat_at_once(
        &self,
        scope: &Scope,
        task: TaskId,
        beat: &HeartbeatRequest,
    ) -> Option<HeartbeatResponse> {
        let beats = self.beats.as_ref().filter(|_| !self.commands.is_closed())?;
        let mut state = beats.state.try_lock().ok()?;
        let key = state.key_of_task(task)?;
        let run = state.run(key);
        if matches!(scope, Scope::Run(id) if *id != run.row.id) {
            return None;
        }
        let answer = run.heartbeat(task, beat, beats.clock.now_ms()).ok()?;
        count(&self.stats.heartbeats, 1);
        self.stats.note_unsaved_beats(true);
        if state.beats_since.is_none() {
            state.beats_since = Some(Instant::now());
            beats.first.notify_one();
        }
        Some(answer)
    }

    /// The reader, once it can see every heartbeat that was answered.
    async fn saved(&self) -> Result<&dyn Reader, StoreError> {
        if self.stats.has_unsaved_beats() {
            self.ask(|reply| Command::Flush { reply }).await?;
        }
        Ok(&*self.reader)
    }

    async fn on_task<T>(
        &self,
        scope: Scope,
        task: TaskId,
        call: impl FnOnce(Reply<T>) -> TaskCall,
    ) -> Result<T, StoreError> {
        self.ask(|reply| Command::OnTask { scope, task, call: call(reply) }).await
    }
}

#[async_trait]
impl Store for Engine {
    async fn create_run(&self, run: CreateRun) -> Result<(RunView, bool), StoreError> {
        validate::create_run(&run)?;
        let spec = spec_text(&run).map_err(StoreError::failed)?;
        self.ask(|reply| Command::CreateRun { run: Box::new(run), spec, reply }).await
    }

    async fn stop_run(&self, run: &RunId) -> Result<RunView, StoreError> {
        self.ask(|reply| Command::StopRun { run: run.clone(), reply }).await
    }

    async fn deadline(&self, run: &RunId, later: Deadline) -> Result<Deadline, StoreError> {
        validate::deadline(later)?;
        self.ask(|reply| Command::Deadline { run: run.clone(), later, reply }).await
    }

    async fn settle(&self, run: &RunId, provider: &str, settled: Settled) -> Result<RunView, StoreError> {
        validate::settled(provider, &settled)?;
        let (run, provider) = (run.clone(), provider.to_owned());
        self.ask(|reply| Command::Settle { run, provider, settled, reply }).await
    }

    async fn claim(&self, run: &RunId, claim: ClaimRequest) -> Result<Claimed, StoreError> {
        validate::claim(&claim)?;
        self.ask(|reply| Command::Claim { run: run.clone(), claim: Box::new(claim), reply }).await
    }

    async fn heartbeat(
        &self,
        scope: Scope,
        task: TaskId,
        beat: HeartbeatRequest,
    ) -> Result<HeartbeatResponse, StoreError> {
        validate::heartbeat(&beat)?;
        if let Some(answer) = self.beat_at_once(&scope, task, &beat) {
            return Ok(answer);
        }
        self.on_task(scope, task, |reply| TaskCall::Heartbeat(beat, reply)).await
    }

    async fn lease(&self, scope: Scope, task: TaskId, fence: i64) -> Result<LeaseInfo, StoreError> {
        self.on_task(scope, task, |reply| TaskCall::Lease(fence, reply)).await
    }

    async fn record_upload(
        &self,
        scope: Scope,
        task: TaskId,
        fence: i64,
        upload: Upload,
    ) -> Result<(), StoreError> {
        self.on_task(scope, task, |reply| TaskCall::RecordUpload(fence, upload, reply)).await
    }

    async fn complete(
        &self,
        scope: Scope,
        task: TaskId,
        request: CompleteRequest,
    ) -> Result<TaskView, StoreError> {
        self.on_task(scope, task, |reply| TaskCall::Complete(request, reply)).await
    }

    async fn fail(&self, scope: Scope, task: TaskId, request: FailRequest) -> Result<TaskView, StoreError> {
        validate::fail(&request)?;
        self.on_task(scope, task, |reply| TaskCall::Fail(request, reply)).await
    }

    async fn release(
        &self,
        scope: Scope,
        task: TaskId,
        request: ReleaseRequest,
    ) -> Result<TaskView, StoreError> {
        validate::release(&request)?;
        self.on_task(scope, task, |reply| TaskCall::Release(request, reply)).await
    }

    async fn host_event(&self, run: &RunId, host: &str, event: HostEvent) -> Result<(), StoreError> {
        validate::host_event(host, &event)?;
        let (run, host, event) = (run.clone(), host.to_owned(), Box::new(event));
        self.ask(|reply| Command::HostEvent { run, host, event, reply }).await
    }

    async fn runner_gone(&self, run: &RunId, runner_id: &str) -> Result<(), StoreError> {
        let (run, runner_id) = (run.clone(), runner_id.to_owned());
        self.ask(|reply| Command::RunnerGone { run, runner_id, reply }).await
    }

    async fn run(&self, run: &RunId) -> Result<RunView, StoreError> {
        self.saved().await?.run(run).await
    }

    async fn runs(&self) -> Result<Vec<RunView>, StoreError> {
        self.saved().await?.runs().await
    }

    async fn task(&self, task: TaskId) -> Result<TaskView, StoreError> {
        self.saved().await?.task(task).await
    }

    async fn tasks(&self, run: &RunId, page: TaskPage) -> Result<Vec<TaskView>, StoreError> {
        self.saved().await?.tasks(run, page).await
    }

    async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, StoreError> {
        self.saved().await?.attempts(task).await
    }

    async fn hosts(&self, run: &RunId) -> Result<Vec<HostView>, StoreError> {
        self.ask(|reply| Command::Hosts { run: run.clone(), reply }).await
    }

    async fn results(&self, run: &RunId) -> Result<Vec<StoredResult>, StoreError> {
        self.saved().await?.results(run).await
    }

    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.saved().await?.events(run, after, limit).await
    }

    async fn totals(&self) -> Result<TaskCounts, StoreError> {
        self.saved().await?.totals().await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.ask(|reply| Command::Sweep { reply }).await
    }

    fn newest_event(&self) -> watch::Receiver<i64> {
        self.events.clone()
    }

    fn queue_changes(&self) -> watch::Receiver<u64> {
        self.queue.clone()
    }

    fn stats(&self) -> &StoreStats {
        &self.stats
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.saved().await?.backup(to).await
    }

    /// The writer answers, and so does the reader.
    async fn ping(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Ping { reply }).await?;
        self.reader.ping().await
    }

    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close { done }).is_ok() {
            // An error means that the writer is gone already.
            drop(closed.await);
        }
    }
}

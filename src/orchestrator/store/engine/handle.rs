//! [`Engine`]: the `Store` that handlers hold. Changes go to the writer, lists to the reader.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::ready;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::api::{
    AttemptView, ClaimRequest, CompleteRequest, CreateRun, Deadline, Event, FailRequest, HeartbeatRequest,
    HeartbeatResponse, HostEvent, HostView, ReleaseRequest, RunId, RunView, Settled, TaskCounts, TaskId,
    TaskView,
};
use crate::orchestrator::store::clock::{Clock, Millis};
use crate::orchestrator::store::contract::{
    Claimed, LeaseInfo, Scope, Store, StoreError, StoreFuture, StoredResult, Swept, TaskPage, Upload,
};
use crate::orchestrator::store::rules::{Ruled, RunState, spec_text};
use crate::orchestrator::store::stats::StoreStats;
use crate::orchestrator::store::{validate, view};

use super::backend::{Backend, Reader};
use super::batch::Answer;
use super::command::{Command, Promise, Reply, call};
use super::state::State;
use super::writer::{Outlets, Writer};

pub struct Engine {
    commands: mpsc::UnboundedSender<Command>,
    reader: Arc<dyn Reader>,
    events: watch::Receiver<i64>,
    queue: watch::Receiver<u64>,
    stats: Arc<StoreStats>,
    /// Where nobody else writes to the database: handlers carry calls out by themselves.
    own: Option<Own>,
}

/// How often a lock is tried: for one or two microseconds, in which most calls are carried out.
const TRIES: usize = 32;

/// What carries out a call without the writer, where every row that it needs is in memory.
struct Own {
    rows: Arc<Mutex<State>>,
    /// Tells the writer that there is something to save.
    news: Arc<Notify>,
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
        let (rows, news) = (Arc::<Mutex<State>>::default(), Arc::<Notify>::default());
        let own = Own { rows: rows.clone(), news: news.clone(), clock: clock.clone() };
        let engine = Engine {
            commands: self.commands.0,
            reader,
            events: self.events.1,
            queue: self.queue.1,
            stats: self.stats,
            own: (!B::SHARED).then_some(own),
        };
        (engine, Writer::new(backend, clock, outlets, rows, news), self.commands.1)
    }
}

impl Own {
    /// Carries a call out, if `call` finds what it needs. Whatever is out of the ordinary is left to the writer, as is
    /// everything while the rows are in use for longer than a moment: nobody here waits for a lock.
    fn at_once<T>(&self, call: impl FnOnce(&mut State, Millis) -> Option<Answer<T>>) -> Option<Answer<T>> {
        let mut state = self.lock_soon()?;
        if state.batches.have_ended() {
            return None;
        }
        let beaten = state.beats_since.is_some();
        let answer = call(&mut state, self.clock.now_ms())?;
        let first_beat = !beaten && state.beats_since.is_some();
        if first_beat || !state.batches.is_under_way() && state.is_due() {
            self.news.notify_one();
        }
        Some(answer)
    }

    fn lock_soon(&self) -> Option<MutexGuard<'_, State>> {
        (0..TRIES).find_map(|_| {
            std::hint::spin_loop();
            self.rows.try_lock().ok()
        })
    }
}

impl Engine {
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|mpsc::error::SendError(_)| StoreError::Closed)?;
        match answer.await {
            Ok(answer) => answer.when_durable().await,
            // The writer ended, or gave the command's batch up before it was reached.
            Err(oneshot::error::RecvError { .. }) if self.commands.is_closed() => Err(StoreError::Closed),
            Err(dropped) => Err(StoreError::failed(dropped)),
        }
    }

    async fn on_run<T: Send + 'static>(
        &self,
        run: &RunId,
        rule: impl FnOnce(&mut RunState, Millis) -> Ruled<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(|reply| Command::OnRun { run: run.clone(), call: call(reply, rule, State::answer) }).await
    }

    fn on_task<T: Send + 'static>(
        &self,
        scope: Scope,
        task: TaskId,
        rule: impl Fn(&mut RunState, Millis) -> Ruled<T> + Send + 'static,
        promise: Promise<T>,
    ) -> StoreFuture<'_, T> {
        let at_hand = |state: &mut State, now| {
            let key = state.at_hand(&scope, task)?;
            let ruled = rule(state.run(key), now);
            Some(promise(state, ruled))
        };
        match self.at_once(at_hand) {
            Some(answer) => answer.when_durable().boxed(),
            None => self
                .ask(move |reply| Command::OnTask { scope, task, call: call(reply, rule, promise) })
                .boxed(),
        }
    }

    fn at_once<T>(&self, call: impl FnOnce(&mut State, Millis) -> Option<Answer<T>>) -> Option<Answer<T>> {
        self.own.as_ref()?.at_once(call)
    }

    /// The reader, once it can see every heartbeat that was answered.
    async fn saved(&self) -> Result<&dyn Reader, StoreError> {
        let unsaved = |own: &Own| own.rows.lock().unwrap_or_else(PoisonError::into_inner).unsaved_beats;
        if self.own.as_ref().is_some_and(unsaved) {
            self.ask(|reply| Command::Flush { reply }).await?;
        }
        Ok(&*self.reader)
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
        self.on_run(run, move |run, _| Ok(run.move_deadline(later))).await
    }

    async fn settle(&self, run: &RunId, provider: &str, settled: Settled) -> Result<RunView, StoreError> {
        validate::settled(provider, &settled)?;
        let (run, provider) = (run.clone(), provider.to_owned());
        self.ask(|reply| Command::Settle { run, provider, settled, reply }).await
    }

    fn claim<'a>(&'a self, run: &'a RunId, claim: ClaimRequest) -> StoreFuture<'a, Claimed> {
        if let Err(invalid) = validate::claim(&claim) {
            return ready(Err(invalid)).boxed();
        }
        let at_hand = |state: &mut State, now| {
            let claimed = state.claim_at_hand(run, &claim, now)?;
            Some(state.answer(Ok(claimed)))
        };
        match self.at_once(at_hand) {
            Some(answer) => answer.when_durable().boxed(),
            None => {
                self.ask(|reply| Command::Claim { run: run.clone(), claim: Box::new(claim), reply }).boxed()
            }
        }
    }

    fn heartbeat(
        &self,
        scope: Scope,
        task: TaskId,
        beat: HeartbeatRequest,
    ) -> StoreFuture<'_, HeartbeatResponse> {
        if let Err(invalid) = validate::heartbeat(&beat) {
            return ready(Err(invalid)).boxed();
        }
        let rule = move |run: &mut RunState, now| run.heartbeat(task, &beat, now);
        self.on_task(scope, task, rule, State::answer_beat)
    }

    async fn lease(&self, scope: Scope, task: TaskId, fence: i64) -> Result<LeaseInfo, StoreError> {
        let rule = move |run: &mut RunState, _| run.lease_info(task, fence);
        self.on_task(scope, task, rule, State::answer).await
    }

    async fn record_upload(
        &self,
        scope: Scope,
        task: TaskId,
        fence: i64,
        upload: Upload,
    ) -> Result<(), StoreError> {
        let rule = move |run: &mut RunState, now| run.record_upload(task, fence, &upload, now);
        self.on_task(scope, task, rule, State::answer).await
    }

    fn complete(&self, scope: Scope, task: TaskId, request: CompleteRequest) -> StoreFuture<'_, TaskView> {
        let rule = move |run: &mut RunState, now| {
            run.complete(task, &request, now)?;
            Ok(view::task_in(run, task))
        };
        self.on_task(scope, task, rule, State::answer)
    }

    async fn deliver(
        &self,
        scope: Scope,
        task: TaskId,
        upload: Upload,
        request: CompleteRequest,
    ) -> Result<TaskView, StoreError> {
        let rule = move |run: &mut RunState, now| {
            run.deliver(task, &upload, &request, now)?;
            Ok(view::task_in(run, task))
        };
        self.on_task(scope, task, rule, State::answer).await
    }

    async fn fail(&self, scope: Scope, task: TaskId, request: FailRequest) -> Result<TaskView, StoreError> {
        validate::fail(&request)?;
        let rule = move |run: &mut RunState, now| {
            run.fail(task, &request, now)?;
            Ok(view::task_in(run, task))
        };
        self.on_task(scope, task, rule, State::answer).await
    }

    async fn release(
        &self,
        scope: Scope,
        task: TaskId,
        request: ReleaseRequest,
    ) -> Result<TaskView, StoreError> {
        validate::release(&request)?;
        let rule = move |run: &mut RunState, now| {
            run.release(task, &request, now)?;
            Ok(view::task_in(run, task))
        };
        self.on_task(scope, task, rule, State::answer).await
    }

    async fn host_event(&self, run: &RunId, host: &str, event: HostEvent) -> Result<(), StoreError> {
        validate::host_event(host, &event)?;
        let host = host.to_owned();
        let rule = move |run: &mut RunState, now| {
            run.host_event(&host, event, now);
            Ok(())
        };
        self.on_run(run, rule).await
    }

    async fn runner_gone(&self, run: &RunId, runner_id: &str) -> Result<(), StoreError> {
        let runner_id = runner_id.to_owned();
        let rule = move |run: &mut RunState, now| {
            run.runner_gone(&runner_id, now);
            Ok(())
        };
        self.on_run(run, rule).await
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
        self.on_run(run, |run, now| Ok(run.host_views(now))).await
    }

    async fn results(&self, run: &RunId) -> Result<Vec<StoredResult>, StoreError> {
        self.saved().await?.results(run).await
    }

    async fn newest_upload(&self, task: TaskId) -> Result<Option<Upload>, StoreError> {
        self.saved().await?.newest_upload(task).await
    }

    async fn events(&self, run: Option<&RunId>, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.saved().await?.events(run, after, limit).await
    }

    async fn before_latest(&self, run: &RunId, count: u32) -> Result<i64, StoreError> {
        self.saved().await?.before_latest(run, count).await
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

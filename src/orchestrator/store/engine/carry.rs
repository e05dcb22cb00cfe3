//! One command: load the rows it needs, apply its rule, answer with the batch that it stands on.

use std::time::Instant;

use tracing::warn;

use crate::api::{ClaimRequest, ErrorCode, RunId, RunView, Settled, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::{Claimed, Scope, StoreError, Swept};
use crate::orchestrator::store::rules::{RunKey, RunState, Take};

use super::backend::{Backend, BackendError, FindRun};
use super::command::{Call, Command, Reply, Rows, send};
use super::writer::{OTHERS_ARE_THERE_MS, Writer};

/// `Ok(Err(..))` is a refusal, which concerns one caller; `Err(..)` concerns the whole batch.
type Outcome<T> = Result<Result<T, StoreError>, BackendError>;

impl<B: Backend> Writer<B> {
    pub(super) async fn carry_out(&mut self, command: Command) -> Result<(), BackendError> {
        match command {
            Command::CreateRun { run, spec, reply } => self.create_run(run, spec, reply).await,
            Command::StopRun { run, reply } => {
                let answer = self.stop_run(&run).await;
                self.answer(reply, answer)
            }
            Command::Settle { run, provider, settled, reply } => {
                let answer = self.settle_provider(&run, &provider, &settled).await;
                self.answer(reply, answer)
            }
            Command::Claim { run, claim, reply } => {
                let answer = self.claim(&run, &claim).await;
                self.answer(reply, answer)
            }
            Command::OnRun { run, call } => {
                let found = self.find_run(&run).await.map(|key| key.ok_or_else(|| no_run(&run)));
                self.carry_out_call(found, call)
            }
            Command::OnTask { scope, task, call } => {
                let found = self.find_task(&scope, task).await;
                self.carry_out_call(found, call)
            }
            Command::Sweep { reply } => {
                let answer = self.sweep().await;
                self.answer(reply, answer)
            }
            Command::Ping { reply } => self.answer(reply, Ok(Ok(()))),
            Command::Flush { reply } => {
                self.demand_commit();
                self.answer(reply, Ok(Ok(())))
            }
            Command::Close { done } => {
                // A second call of close in one batch: the first one closes.
                done.send(()).ok();
                Ok(())
            }
        }
    }

    /// Answers with what holds once everything in memory is durable.
    pub(super) fn answer<T>(&self, reply: Reply<T>, outcome: Outcome<T>) -> Result<(), BackendError> {
        let mut state = self.state();
        match outcome {
            Ok(answer) => {
                send(reply, state.answer(answer));
                Ok(())
            }
            Err(cause) => {
                // The whole batch fails, this caller with the others.
                send(reply, state.batches.failing());
                Err(cause)
            }
        }
    }

    fn carry_out_call(&self, found: Outcome<RunKey>, call: Call) -> Result<(), BackendError> {
        let mut state = self.state();
        match found {
            Ok(Ok(run)) => {
                let now = self.clock.now_ms();
                call(Ok(Rows { state: &mut state, run, now }));
                Ok(())
            }
            Ok(Err(refusal)) => {
                call(Err(state.answer(Err(refusal))));
                Ok(())
            }
            Err(cause) => {
                call(Err(state.batches.failing()));
                Err(cause)
            }
        }
    }

    /// What is unsaved is committed next, heartbeats with it.
    pub(super) fn demand_commit(&mut self) {
        self.state().demand_commit();
        self.with_beats = true;
    }

    async fn stop_run(&mut self, id: &RunId) -> Outcome<RunView> {
        let now = self.clock.now_ms();
        let stop = |run: &mut RunState| {
            run.stop(now);
            run.view()
        };
        let answer = self.on_run(id, stop).await?;
        self.save_bulk().await?;
        Ok(answer)
    }

    async fn settle_provider(&mut self, id: &RunId, provider: &str, settled: &Settled) -> Outcome<RunView> {
        let now = self.clock.now_ms();
        let settle = |run: &mut RunState| {
            run.settle(provider, settled, now);
            run.view()
        };
        let answer = self.on_run(id, settle).await?;
        self.save_bulk().await?;
        Ok(answer)
    }

    async fn sweep(&mut self) -> Outcome<Swept> {
        let now = self.clock.now_ms();
        let away = self.away(now).await?;
        let mut all = Swept::default();
        for run in self.state().runs_mut() {
            run.extend_leases(away, now);
            let swept = run.sweep(now);
            all.leases_lost += swept.leases_lost;
            all.tasks_unclaimed += swept.tasks_unclaimed;
        }
        self.save_bulk().await?;
        let any_running = self.state().any_running();
        if any_running {
            self.backend.save_alive(now).await?;
            // What was alive until now includes its beats.
            self.demand_commit();
        }
        Ok(Ok(all))
    }

    /// How long nobody was there since the last sweep; 0 for the usual time between two. A process that was
    /// stopped (or a store that stood still) for longer than a lease must not take all of them for lost: what
    /// holds for a restart holds for it, too.
    async fn away(&mut self, now: Millis) -> Result<Millis, BackendError> {
        let last = self.last_sweep.replace((Instant::now(), now));
        let Some((at, last)) = last else { return Ok(0) };
        let real = Millis::try_from(at.elapsed().as_millis()).unwrap_or(Millis::MAX);
        let mut away = real.min(now - last);
        if away > OTHERS_ARE_THERE_MS && B::SHARED {
            // Others may have swept meanwhile.
            away = self.backend.last_alive().await?.map_or(away, |alive| away.min(now - alive));
        }
        if away <= OTHERS_ARE_THERE_MS {
            return Ok(0);
        }
        warn!(seconds = away / 1000, "the orchestrator stood still; leases are extended by that time");
        Ok(away)
    }

    /// What ended in bulk is written before the next command may load one of these rows.
    async fn save_bulk(&mut self) -> Result<(), BackendError> {
        let ended = self.state().with_bulk();
        if B::SHARED {
            for key in ended {
                let changes = self.state().take_changes(key, Take::All);
                self.save(changes).await?;
            }
        } else if !ended.is_empty() {
            self.demand_commit();
            return self.settle_all().await;
        }
        Ok(())
    }

    async fn claim(&mut self, id: &RunId, claim: &ClaimRequest) -> Outcome<Claimed> {
        let Some(key) = self.find_run(id).await? else { return Ok(Err(no_run(id))) };
        let groups = self.state().run(key).groups_for(claim);
        for group in groups {
            self.refill(key, group).await?;
        }
        let now = self.clock.now_ms();
        Ok(Ok(self.state().run(key).claim(claim, now)))
    }

    async fn refill(&mut self, key: RunKey, group: usize) -> Result<(), BackendError> {
        while self.state().run(key).needs_refill(group) {
            self.fetch(key, group).await?;
        }
        Ok(())
    }

    async fn fetch(&mut self, key: RunKey, group: usize) -> Result<(), BackendError> {
        let (from, limit) = {
            let mut state = self.state();
            let run = state.run(key);
            (run.groups[group].fetched_to.max(run.groups[group].head), run.fetch_size())
        };
        let rows = self.backend.load_pending(key, group, from, limit).await?;
        let done = rows.len() < limit as usize;
        self.state().run(key).refill(group, rows, done);
        Ok(())
    }

    /// Fetches pending tasks of groups that have few in memory, before a claim has to wait for that.
    pub(super) async fn fetch_ahead(&mut self) -> Result<(), BackendError> {
        let low = self.state().take_low();
        for (key, group) in low {
            self.fetch(key, group).await?;
        }
        Ok(())
    }

    /// Loads the task and its run, and checks that the caller may speak of them.
    async fn find_task(&mut self, scope: &Scope, id: TaskId) -> Outcome<RunKey> {
        let loaded = self.state().key_of_task(id);
        let key = match loaded {
            Some(key) => Some(key),
            None => self.backend.load_run(FindRun::OfTask(id)).await?.map(|run| self.state().insert(run)),
        };
        let unknown = || StoreError::refused(ErrorCode::NotFound, format!("there is no task {id}"));
        let Some(key) = key else { return Ok(Err(unknown())) };
        let owner = self.state().run(key).row.id.clone();
        if let Scope::Run(run) = scope
            && *run != owner
        {
            let why = format!("this key is for the run `{run}`, task {id} is of another");
            return Ok(Err(StoreError::refused(ErrorCode::Forbidden, why)));
        }
        let is_there = self.state().run(key).tasks.contains_key(&id);
        if !is_there {
            let Some(task) = self.backend.load_task(id).await? else { return Ok(Err(unknown())) };
            let mut state = self.state();
            state.run(key).take_in(task);
            state.visited(key, id);
        }
        Ok(Ok(key))
    }

    async fn on_run<T>(&mut self, id: &RunId, rule: impl FnOnce(&mut RunState) -> T) -> Outcome<T> {
        match self.find_run(id).await? {
            Some(key) => Ok(Ok(rule(self.state().run(key)))),
            None => Ok(Err(no_run(id))),
        }
    }

    pub(super) async fn find_run(&mut self, id: &RunId) -> Result<Option<RunKey>, BackendError> {
        let loaded = self.state().key_of(id);
        if loaded.is_some() {
            return Ok(loaded);
        }
        let run = self.backend.load_run(FindRun::Id(id)).await?;
        Ok(run.map(|run| self.state().insert(run)))
    }
}

fn no_run(id: &RunId) -> StoreError {
    StoreError::refused(ErrorCode::NotFound, format!("there is no run `{id}`"))
}

//! Creating runs: one after the other, and nobody else waits for a large one.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::{CreateRun, ErrorCode, RunView};
use crate::orchestrator::store::contract::StoreError;
use crate::orchestrator::store::rules::RunState;

use super::backend::{Backend, BackendError, Insertion, NewRun};
use super::batch::{Answer, BatchFailed};
use super::command::{Command, Reply, refuse_all, send};
use super::writer::Writer;

/// The answer to who created a run, and whether it is a new one.
pub(super) type Created = (RunView, bool);

/// The run that is being inserted, and those that wait behind it.
#[derive(Default)]
pub(super) struct Creations {
    under_way: Option<UnderWay>,
    waiting: VecDeque<Command>,
}

struct UnderWay {
    made: oneshot::Receiver<Result<Box<RunState>, BackendError>>,
    reply: Reply<Created>,
}

impl Creations {
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Resolves when the run that is being inserted has come; never where there is none.
    pub async fn come(&mut self) -> Result<Box<RunState>, BackendError> {
        match &mut self.under_way {
            Some(creation) => (&mut creation.made).await?,
            None => std::future::pending().await,
        }
    }

    /// Who waits has no turn any more.
    pub fn refuse_waiting(&mut self, failure: &Arc<BatchFailed>) {
        refuse_all(self.waiting.drain(..), failure);
    }
}

impl<B: Backend> Writer<B> {
    pub(super) async fn create_run(
        &mut self,
        run: Box<CreateRun>,
        spec: String,
        reply: Reply<Created>,
    ) -> Result<(), BackendError> {
        if self.creations.is_under_way() {
            // It may be the same run.
            self.creations.waiting.push_back(Command::CreateRun { run, spec, reply });
            return Ok(());
        }
        if let Some(known) = self.find_created(&run, &spec).await.transpose() {
            return self.answer(reply, known);
        }
        let now = self.clock.now_ms();
        match self.backend.insert_run(NewRun { run, spec, now }).await {
            Ok(Insertion::Done(run)) => self.take_over(run, reply).await,
            Ok(Insertion::UnderWay(made)) => {
                self.creations.under_way = Some(UnderWay { made, reply });
                Ok(())
            }
            Err(cause) => self.answer(reply, Err(cause)),
        }
    }

    /// The run, if it was created before; a refusal if that was another one.
    async fn find_created(
        &mut self,
        run: &CreateRun,
        spec: &str,
    ) -> Result<Option<Result<Created, StoreError>>, BackendError> {
        let Some(key) = self.find_run(&run.run_id).await? else { return Ok(None) };
        let mut state = self.state();
        let known = state.run(key);
        if known.row.spec == spec {
            return Ok(Some(Ok((known.view(), false))));
        }
        let why = format!("the run `{}` exists with another specification", run.run_id);
        Ok(Some(Err(StoreError::refused(ErrorCode::RunConflict, why))))
    }

    /// The run that was being inserted has come, or could not be inserted, which concerns only who created it. Then
    /// those behind it have their turn.
    pub(super) async fn created(
        &mut self,
        made: Result<Box<RunState>, BackendError>,
    ) -> Result<(), BackendError> {
        let Some(UnderWay { reply, .. }) = self.creations.under_way.take() else { return Ok(()) };
        match made {
            Ok(run) => self.take_over(run, reply).await?,
            Err(cause) => send(reply, Answer::at_once(Err(StoreError::failed(cause)))),
        }
        while !self.creations.is_under_way()
            && let Some(next) = self.creations.waiting.pop_front()
        {
            self.carry_out(next).await?;
        }
        Ok(())
    }

    async fn take_over(&mut self, run: Box<RunState>, reply: Reply<Created>) -> Result<(), BackendError> {
        // While no run is under way nothing is noted: the time until now does not count as away.
        if let Err(cause) = self.backend.save_alive(self.clock.now_ms()).await {
            return self.answer(reply, Err(cause));
        }
        let view = {
            let (mut state, key) = (self.state(), run.row.key);
            // Somebody may have found it in the database by its name: what is in memory is newer.
            if !state.contains(key) {
                state.insert(*run);
            }
            state.run(key).view()
        };
        self.answer(reply, Ok(Ok((view, true))))
    }
}

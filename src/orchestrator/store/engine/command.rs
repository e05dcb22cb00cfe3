//! What handlers ask the writer to do, each with the place for its answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::{ClaimRequest, CreateRun, RunId, RunView, Settled, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::contract::{Claimed, Scope, StoreError, Swept};
use crate::orchestrator::store::rules::{Ruled, RunKey, RunState};

use super::batch::{Answer, BatchFailed, Refusal};
use super::state::State;

pub type Reply<T> = oneshot::Sender<Answer<T>>;

/// A rule with the place for its answer. It is given the rows, or why there are none.
pub type Call = Box<dyn FnOnce(Result<Rows<'_>, Refusal>) + Send>;

/// The rows that a call is about, and the time.
pub struct Rows<'a> {
    pub state: &'a mut State,
    pub run: RunKey,
    pub now: Millis,
}

/// How the answer of a rule is given: [`State::answer`], or [`State::answer_beat`].
pub type Promise<T> = fn(&mut State, Ruled<T>) -> Answer<T>;

/// `Flush` saves what was answered before it was saved.
pub enum Command {
    CreateRun { run: Box<CreateRun>, spec: String, reply: Reply<(RunView, bool)> },
    StopRun { run: RunId, reply: Reply<RunView> },
    Settle { run: RunId, provider: String, settled: Settled, reply: Reply<RunView> },
    Claim { run: RunId, claim: Box<ClaimRequest>, reply: Reply<Claimed> },
    OnRun { run: RunId, call: Call },
    OnTask { scope: Scope, task: TaskId, call: Call },
    Sweep { reply: Reply<Swept> },
    Ping { reply: Reply<()> },
    Flush { reply: Reply<()> },
    Close { done: oneshot::Sender<()> },
}

/// Answers with the failure of a batch, instead of carrying the commands out.
pub fn refuse_all(commands: impl Iterator<Item = Command>, failure: &Arc<BatchFailed>) {
    commands.for_each(|command| command.refuse(StoreError::failed(failure.clone())));
}

impl Command {
    fn refuse(self, error: StoreError) {
        let refusal = Refusal::at_once(Err(error));
        match self {
            Command::CreateRun { reply, .. } => send(reply, refusal.to()),
            Command::StopRun { reply, .. } | Command::Settle { reply, .. } => send(reply, refusal.to()),
            Command::Claim { reply, .. } => send(reply, refusal.to()),
            Command::OnRun { call, .. } | Command::OnTask { call, .. } => call(Err(refusal)),
            Command::Ping { reply } | Command::Flush { reply } => send(reply, refusal.to()),
            Command::Sweep { reply } => send(reply, refusal.to()),
            Command::Close { done } => {
                done.send(()).ok();
            }
        }
    }
}

pub fn call<T: Send + 'static>(
    reply: Reply<T>,
    rule: impl FnOnce(&mut RunState, Millis) -> Ruled<T> + Send + 'static,
    promise: Promise<T>,
) -> Call {
    Box::new(move |rows| {
        let answer = match rows {
            Ok(Rows { state, run, now }) => {
                let ruled = rule(state.run(run), now);
                promise(state, ruled)
            }
            Err(refusal) => refusal.to(),
        };
        send(reply, answer);
    })
}

/// A caller that went away does not need its answer.
pub fn send<T>(reply: Reply<T>, answer: Answer<T>) {
    drop(reply.send(answer));
}

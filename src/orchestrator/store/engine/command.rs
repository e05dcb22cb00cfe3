//! What handlers ask the writer to do, each with the place for its answer.

use tokio::sync::oneshot;

use crate::api::{
    ClaimRequest, CompleteRequest, CreateRun, Deadline, FailRequest, HeartbeatRequest, HeartbeatResponse,
    HostEvent, HostView, ReleaseRequest, RunId, RunView, Settled, TaskId, TaskView,
};
use crate::orchestrator::store::contract::{Claimed, LeaseInfo, Scope, StoreError, Swept, Upload};

pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// `Flush` saves what was answered before it was saved.
pub enum Command {
    CreateRun { run: Box<CreateRun>, spec: String, reply: Reply<(RunView, bool)> },
    StopRun { run: RunId, reply: Reply<RunView> },
    Deadline { run: RunId, later: Deadline, reply: Reply<Deadline> },
    Settle { run: RunId, provider: String, settled: Settled, reply: Reply<RunView> },
    Claim { run: RunId, claim: Box<ClaimRequest>, reply: Reply<Claimed> },
    OnTask { scope: Scope, task: TaskId, call: TaskCall },
    HostEvent { run: RunId, host: String, event: Box<HostEvent>, reply: Reply<()> },
    RunnerGone { run: RunId, runner_id: String, reply: Reply<()> },
    Hosts { run: RunId, reply: Reply<Vec<HostView>> },
    Sweep { reply: Reply<Swept> },
    Ping { reply: Reply<()> },
    Flush { reply: Reply<()> },
    Close { done: oneshot::Sender<()> },
}

impl Command {
    /// Answers with an error instead of carrying the command out.
    pub fn refuse(self, error: StoreError) {
        match self {
            Command::CreateRun { reply, .. } => send(reply, Err(error)),
            Command::StopRun { reply, .. } | Command::Settle { reply, .. } => send(reply, Err(error)),
            Command::Deadline { reply, .. } => send(reply, Err(error)),
            Command::Claim { reply, .. } => send(reply, Err(error)),
            Command::OnTask { call, .. } => call.refuse(error),
            Command::HostEvent { reply, .. }
            | Command::RunnerGone { reply, .. }
            | Command::Ping { reply }
            | Command::Flush { reply } => send(reply, Err(error)),
            Command::Hosts { reply, .. } => send(reply, Err(error)),
            Command::Sweep { reply } => send(reply, Err(error)),
            Command::Close { done } => {
                done.send(()).ok();
            }
        }
    }
}

/// Calls by the holder of a lease.
pub enum TaskCall {
    Heartbeat(HeartbeatRequest, Reply<HeartbeatResponse>),
    Lease(i64, Reply<LeaseInfo>),
    RecordUpload(i64, Upload, Reply<()>),
    Complete(CompleteRequest, Reply<TaskView>),
    Fail(FailRequest, Reply<TaskView>),
    Release(ReleaseRequest, Reply<TaskView>),
}

impl TaskCall {
    /// Answers with a refusal before anything was looked at.
    pub fn refuse(self, error: StoreError) {
        match self {
            TaskCall::Heartbeat(_, reply) => send(reply, Err(error)),
            TaskCall::Lease(_, reply) => send(reply, Err(error)),
            TaskCall::RecordUpload(_, _, reply) => send(reply, Err(error)),
            TaskCall::Complete(_, reply) | TaskCall::Fail(_, reply) | TaskCall::Release(_, reply) => {
                send(reply, Err(error));
            }
        }
    }
}

/// A caller that went away does not need its answer.
pub fn send<T>(reply: Reply<T>, answer: Result<T, StoreError>) {
    drop(reply.send(answer));
}

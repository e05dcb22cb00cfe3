//! The types that cross the wire between master, orchestrator and task runners, and the files a task leaves
//! behind. Plain data: no I/O, no clock.

pub mod error;
pub mod event;
pub mod host;
pub mod ids;
pub mod machine;
pub mod output;
pub mod run;
mod samples;
pub mod task;
pub mod workload;

pub use error::{ErrorBody, ErrorCode};
pub use event::{Event, EventKind};
pub use host::{Deadline, HostEvent, HostStage, HostView, RunnerState, RunnerView};
pub use ids::{Alias, RunId, TaskId};
pub use machine::{Cache, Conditions, Machine, NoiseFigures, Pinning, Pressure, Snapshot, TaskMetadata};
pub use output::{Benchmark, Better, CapturedText, Execution, Phase, TaskOutput};
pub use run::{CreateRun, ResultsPolicy, RunStatus, RunView, Settled, TaskCounts, TaskGroup};
pub use task::{
    AssignedTask, AttemptOutcome, AttemptView, ClaimRequest, ClaimResponse, CompleteRequest, FailKind,
    FailRequest, HeartbeatRequest, HeartbeatResponse, Lease, ReleaseRequest, TaskState, TaskView,
    UploadRequest, UploadTicket,
};
pub use workload::{Builtin, CommandWorkload, OutputFormat, OutputSource, Workload, WorkloadKind};

//! The task runner: claims tasks, runs their workloads on a pinned CPU, beats, uploads the results.
//!
//! ```text
//!  agent (claim, beat, report) ──▶ task ──▶ workload ──▶ execute ──▶ launcher ──▶ the workload's process
//!    │ client (HTTPS)                │ sampler, machine (/proc, /sys)
//!    ▼                               └▶ ingest (results in other tools' formats) ──▶ archive ──▶ upload
//!  orchestrator
//! ```
//!
//! The runner shares the API's types with the orchestrator and nothing else.

mod agent;
pub mod archive;
mod beat;
pub mod capture;
pub mod execute;
mod guard;
pub mod ingest;
pub mod kernels;
pub mod launch_server;
pub mod launcher;
pub mod launchers;
pub mod machine;
pub mod pin;
pub mod procs;
mod retry;
mod run;
pub mod sampler;
mod scratch;
mod script;
mod settings;
mod sysfs;
mod task;
mod text;
pub mod topology;
mod transcript;
mod upload;
pub mod workload;

pub use agent::{EndReason, RunnerEnd};
pub use pin::PlaceRequest;
pub use run::{RunnerError, hostname, run};
pub use settings::RunnerArgs;
pub use workload::preflight;

//! EFFECT. Drives `terraform` (or `tofu`) as a child that outlives the master where it must.
//!
//! ```text
//!  Workspace ──job.json──▶ bench supervise (own session) ──▶ terraform ──▶ logs/terraform.jsonl, .err
//!      ▲                        └─ logs/process (pid, before exec), logs/exit.json (status)
//!      └── tails the files: events ▶ Progress; diagnostics ▶ class of failure and next step
//! ```
//!
//! Terraform writes to files, never to a pipe of the master: it finishes and saves its state when the master
//! dies, and the next master adopts it by the same files. It is asked to stop by one interrupt and never
//! killed, because what it was making would be lost from its state.

mod binary;
mod command;
mod diagnose;
mod environment;
mod error;
mod events;
mod follow;
mod init;
mod job;
mod process;
mod progress;
mod recovery;
mod source;
mod state;
mod supervisor;
mod tail;
mod tools;
mod workspace;

pub use binary::{BinaryError, Product, Terraform, VARIABLE};
pub use command::{Command, PARALLELISM};
pub use diagnose::{Diagnosis, Diagnostician, FailureClass};
pub use environment::{Environment, scrub};
pub use error::TerraformError;
pub use events::{Action, Diagnostic, EventKind, Severity, TfEvent};
pub use init::InitCache;
pub use job::{Interrupted, JobState, Operation};
pub use process::ProcessId;
pub use progress::Progress;
pub use source::{Source, SourceError, built_in_templates};
pub use state::{MetaOutputs, Recovered, Resource, State, StateError, StateSource};
pub use supervisor::supervise;
pub use tools::Tools;
pub use workspace::{Adopted, Applied, Destroyed, Instance, Watcher, Workspace};

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

pub mod capture;
pub mod execute;
pub mod kernels;
pub mod launcher;
pub mod pin;
pub mod procs;
mod sysfs;
pub mod topology;

//! `bench` runs any benchmark on any cloud's instance types from one JSON file.
//!
//! The roles below depend on each other in one direction only, top to bottom: the command line calls the
//! master, the master calls the effects, the effects share plain types.
//!
//! ```text
//!  cli ──▶ master ──▶ provider, client, orchestrator, runner ──▶ api (plain types)
//!   │        └─────▶ plan, report (pure: no clock, no files, no network)
//!   └─────▶ config, doctor
//! ```

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod conformance;
pub mod doctor;
pub mod document;
pub mod ledger;
pub mod master;
pub mod nuke;
pub mod orchestrator;
pub mod owner;
pub mod plan;
pub mod provider;
pub mod render;
pub mod report;
pub mod runner;
pub mod sweep;
pub mod terraform;
pub mod words;

/// Requests wait for a commit on one thread and are answered on another; glibc's allocator takes a fifth of the
/// orchestrator's time for that, this one a tenth.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An error and everything that caused it, in one line: for places that keep a text.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

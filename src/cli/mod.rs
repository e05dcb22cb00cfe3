//! The command line: parses, calls a command, prints what it says. The only code that prints.

mod arguments;
mod completions;
pub mod config;
mod context;
mod doctor;
mod entry;
mod exit;
mod failures;
mod host;
mod kernels;
mod launch;
mod nuke;
mod orchestrator;
mod output;
mod plan;
mod progress;
pub mod provider;
mod provider_check;
mod remote;
mod render;
mod results;
mod run;
mod runner;
mod runtime;
mod status;
mod stop;
mod supervise;

pub use context::Context;
pub use entry::main;
pub use exit::{Exit, Failure};
pub use output::{Format, Output, View};

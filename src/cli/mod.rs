//! The command line: parses, calls a command, prints what it says. The only code that prints.

mod arguments;
mod completions;
pub mod config;
mod context;
mod entry;
mod exit;
mod kernels;
mod launch;
mod orchestrator;
mod output;
mod plan;
pub mod provider;
mod runner;

pub use context::Context;
pub use entry::main;
pub use exit::{Exit, Failure};
pub use output::{Format, Output, View};

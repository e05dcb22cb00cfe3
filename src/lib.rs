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
pub mod doctor;
pub mod document;
pub mod master;
pub mod orchestrator;
pub mod plan;
pub mod provider;
pub mod report;
pub mod runner;

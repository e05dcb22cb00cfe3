//! The master: walks a plan through its effects, journals each step, undoes what it made.
//!
//! ```text
//!  cli ──▶ flow ──▶ orchestrator (in this process, or one that answers elsewhere)
//!            │ ──▶ providers (one task each: hosts by Terraform, or local: task runners on this machine)
//!            │ ──▶ watch (events of the run) ──▶ Progress (terminal, plain lines)
//!            └──▶ collect (results, reports)
//!  each step is written to the journal before it is done; `run.json` says where the run stands
//! ```

pub mod changes;
pub mod collect;
pub mod connection;
pub mod cpus;
pub mod credentials;
pub mod docker;
pub mod extend;
pub mod flow;
pub mod home;
pub mod interrupt;
pub mod journal;
pub mod leave;
pub mod local;
pub mod meta;
pub mod monitor;
pub mod prepare;
mod prepare_providers;
pub mod programs;
pub mod progress;
pub mod providers;
pub mod record;
pub mod source;
mod start;
pub mod stop;

//! The master: walks a plan through its effects, journals each step, undoes what it made.
//!
//! ```text
//!  cli ──▶ flow ──▶ orchestrator (in this process, or one that answers elsewhere)
//!            │ ──▶ local (task runners on this machine, CPUs under a lock)
//!            │ ──▶ watch (events of the run) ──▶ Progress (terminal, plain lines)
//!            └──▶ collect (results, reports)
//!  each step is written to the journal before it is done; `run.json` says where the run stands
//! ```

pub mod cpus;
pub mod home;
pub mod journal;
pub mod progress;
pub mod record;

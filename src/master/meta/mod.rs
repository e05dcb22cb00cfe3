//! The meta stack: an orchestrator on a machine of its own, made by Terraform once and shared by all runs of
//! an owner.
//!
//! ```text
//!  plan (settings, program) ─┐                    ┌─▶ use it: no Terraform at all
//!  record (orchestrator.json)┼─▶ decision (PURE) ─┼─▶ make it, replace it ──▶ stack ──▶ ready
//!  the answer at its address ┘                    └─▶ refuse, and say why
//! ```
//!
//! It ends itself when idle; the next run makes it anew behind the same address, with the same keys. One that
//! other masters use is never replaced under their feet: two locks in its folder tell.

mod decision;
mod error;
mod folder;
mod lost;
mod opened;
mod plan;
mod record;
mod stack;
mod step;
mod variables;

pub use error::MetaError;
pub use folder::MetaFolder;
pub use opened::Opened;
pub use plan::{MetaPlan, MetaPlanError, Programs};
pub use record::{MetaRecord, MetaRecordError};
pub use stack::{Patience, Setup, Stack};
pub use step::MetaStep;
pub use variables::VARIABLES;

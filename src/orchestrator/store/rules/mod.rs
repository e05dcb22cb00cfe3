//! The semantics of runs, tasks and leases: pure functions over rows and "now".
//!
//! A rule looks at the rows of one run, then either refuses and has changed nothing, or changes rows, notes
//! which ones in [`changes::Dirty`] and says what happened as events. It knows no database, no clock and no channel;
//! the engine loads rows before, and takes out [`Changes`] to save after.
//!
//! ```text
//!            claim                beat                complete
//!  pending ────────▶ claimed ────────▶ running ────────────────▶ completed
//!     ▲                 │                 │  fail, lost: out of tries
//!     │                 └────────┬────────┘───────────────────▶ failed
//!     └──── release, lost, fail ─┘            stop ───────────▶ cancelled
//! ```

mod attempt;
mod changes;
mod claim;
mod drain;
mod forget;
mod host;
mod lease;
mod rows;
mod run;
mod run_state;
mod sweep;
#[cfg(test)]
mod tests;

pub use changes::{BulkEnd, Changes, GroupChange, RunChange, Take};
pub use rows::{
    AttemptRow, Ended, GroupRow, HeldLease, HostRow, Keyed, Name, NewEvent, RunKey, RunRow, RunnerRow,
    Stored, TaskRow,
};
pub use run::spec_text;
pub use run_state::{RunNews, RunState};

use super::contract::StoreError;
use crate::api::ErrorCode;

/// A rule's refusal: the caller's fault, nothing was changed.
pub type Ruled<T> = Result<T, StoreError>;

pub fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Ruled<T> {
    Err(StoreError::refused(code, message))
}

//! What was ever about to exist in a cloud, written down before the first call that makes it: the net under
//! Terraform's state, which may be lost or never have been written.
//!
//! ```text
//!  master ──Intent──▶ ledger.jsonl ◀──Fact── master, nuke
//!                        │ read
//!                        ▼
//!                     History: runs × provider instances, each with scope, account and where it stands
//! ```
//!
//! Appended only, each line synced, with the folder, before the call returns. A line that a crash cut short
//! was never acted upon, because its writer had not come back yet.

mod entry;
mod file;
mod history;

pub use entry::{Fact, FactKind, Intent, Made};
pub use file::{Ledger, LedgerError};
pub use history::{History, Place, Standing};

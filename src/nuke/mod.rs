//! Nothing left running: finds everything that carries our owner and runs, deletes it, and believes only a
//! listing.
//!
//! ```text
//!  ledger ─▶ target (which runs, where)      PURE
//!     └─▶ survey (list by tag, every kind)   EFFECT ─▶ report (ledger × state × listing, by id)  PURE
//!           └─▶ destroy (terraform × N) ─▶ settle (erase by tag, list, list again) ─▶ ledger, report
//! ```
//!
//! Every doubt keeps the resource and fails the exit code: an unreadable tag, a listing that failed, a page
//! that is not the last, an account that is not the ledger's.

mod background;
mod command;
mod destroy;
mod engine;
mod erase;
mod look;
mod prepare;
mod report;
mod settle;
mod survey;
mod target;
mod unknown;

pub use command::Urgency;
pub use engine::{Nuke, Order};
pub use erase::Blocker;
pub use look::{Leak, Look, look};
pub use report::{Class, Outcome, Report, Resource, TerraformReport};
pub use survey::Gap;
pub use target::{Selection, meta_run};
pub use unknown::{Belief, LookError, Swept, account, sweep_unknown};

use std::io;
use std::sync::Arc;

use crate::api::RunId;
use crate::ledger::LedgerError;

/// What a nuke tells while it works.
#[derive(Debug, Clone)]
pub enum Event {
    /// Another nuke of this home is at work.
    Waiting,
    /// Without Terraform everything goes by tags.
    NoTerraform {
        why: String,
    },
    Destroying {
        run_id: RunId,
        provider: String,
    },
    Destroyed(TerraformReport),
    /// Nothing moves, and this is why.
    Stuck {
        resource: String,
        place: String,
        why: String,
    },
}

/// Is told each event as it comes.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum NukeError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("could not use the home folder")]
    Home(#[from] io::Error),
}

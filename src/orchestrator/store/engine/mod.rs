//! The one writer: carries commands out on rows in memory, and has what changed committed batch by batch.
//!
//! ```text
//!  handlers ──Command──▶ channel ──▶ writer: rules on rows in memory ──Changes──▶ backend: one transaction
//!     ▲                                 │ beats at once       ▲                            │
//!     └──────────── answers ────────────┴─── the rest when ───┴────────── landed ──────────┘
//! ```
//!
//! While a commit is under way the writer goes on, and what it changes gathers for the next one. So rows in memory
//! are ahead of the database, and stay there until they have landed; if a commit fails, all of them are
//! forgotten and everybody who waits is told. A database that others write to as well allows no such
//! overlap: there a batch begins, is carried out, committed and answered before the next.
//!
//! Four parts: [`handle`] (what implements `Store`), [`writer`] (the loop), [`carry`] (one command) and [`state`]
//! (the rows it holds).

mod backend;
mod batch;
mod carry;
mod command;
mod handle;
mod state;
mod take_up;
mod writer;

pub use backend::{Backend, BackendError, Commit, Committed, FindRun, NewRun, Reader};
pub use handle::Parts;
pub use state::State;
pub use writer::Outlets;

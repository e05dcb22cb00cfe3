//! The one writer: commands gather while the last batch is being committed, then go into the next.
//!
//! ```text
//!  handlers ──Command──▶ channel ──▶ writer: begin, rules on rows in memory, save, commit ──answers──▶ handlers
//! ```
//!
//! Three parts: [`handle`] (what implements `Store`), [`writer`] (the loop) and [`state`] (the rows it holds).

mod backend;
mod carry;
mod command;
mod handle;
mod state;
mod writer;

pub use backend::{Backend, BackendError, Committed, FindRun, NewRun, Reader};
pub use handle::Parts;
pub use state::State;
pub use writer::Outlets;

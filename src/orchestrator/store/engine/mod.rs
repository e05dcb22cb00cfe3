//! Carries calls out on rows in memory, and has what changed committed batch by batch.
//!
//! ```text
//!  handler ──rule──▶ ┌───────────────┐ ◀──rule, load── writer ◀── channel ◀──Command── handler
//!     ▲              │ rows in memory │ ──Changes of a batch──▶ backend: one transaction
//!     │              └───────────────┘                              │
//!     └───────────────── the batch has landed ◀─────────────────────┘
//! ```
//!
//! A handler applies a rule by itself where the rows are in memory and nobody uses them at that moment; everything
//! else is a command to the writer. Either way the answer stands on the batch that has the changes, and goes out when
//! that is durable; heartbeats go out at once. While a commit is under way the rules go on, and what they change
//! gathers for the next one. So rows in memory are ahead of the database, and stay there until they have landed; if a
//! commit fails, all of them are forgotten and everybody who waits is told. A database that others write to as well
//! allows no such overlap: there every call is a command, and a batch begins, is carried out, committed and answered
//! before the next.
//!
//! Six parts: [`handle`] (what implements `Store`), [`writer`] (the loop), [`carry`] (one command), [`create`] (runs),
//! [`state`] (the rows) and [`batch`] (answers that wait).

mod backend;
mod batch;
mod carry;
mod command;
mod create;
mod handle;
mod state;
mod take_up;
mod writer;

pub use backend::{Backend, BackendError, Commit, Committed, FindRun, Insertion, NewRun, Reader};
pub use handle::Parts;
pub use state::State;
pub use writer::Outlets;

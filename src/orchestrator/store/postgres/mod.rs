//! The store in PostgreSQL, which several orchestrators may share.
//!
//! ```text
//!  writer ── begin + lock of the one row of `orchestrator` ── load what others changed ── save ── commit + NOTIFY
//!  reader ── lists                                                                                    │
//!  listener ◀────────────────────────────── "there are new events, look at the queue" ◀───────────────┘
//! ```
//!
//! Whoever holds the lock on the row of `orchestrator` writes, one batch at a time; batches of different
//! orchestrators follow each other, so that no task is handed out twice and events are numbered in the order
//! in which they became visible. Rows stay in memory between batches: `version` tells whether somebody else
//! wrote meanwhile, and `changes` which rows. Rows travel as JSON, one statement for each table and batch.

mod backend;
mod listener;
mod open;
mod reader;
mod rows;
mod save;
mod session;

pub use open::open;

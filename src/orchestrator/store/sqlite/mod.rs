//! The store in one SQLite file (WAL) and a journal beside it.
//!
//! ```text
//!            commit                add                take in
//!  engine ──────────▶ committer ──────────▶ backlog ──────────▶ tables (SQLite)
//!                         │ append, sync                           ▲ load, list
//!                         ▼                                        │
//!                      journal ───────── after a crash ────────────┘
//! ```
//!
//! A commit is answered when it stands in the journal, on disk. The tables get it within a second, and before
//! anything is read from them that it may concern. Three connections: one writes, one loads rows for the rules, one
//! reads lists.

mod backend;
mod backlog;
mod backup;
mod checkpoint;
mod committer;
mod journal;
mod lock;
mod log;
mod open;
mod reader;
mod record;
mod rows;
mod save;
mod tables;
mod work;

pub use backup::{BackupError, check_backup, copy as backup_database, restore_backup};
pub use open::open;

//! The store in one SQLite file (WAL), with three connections: one writes on a thread of its own, one loads rows
//! for the rules, one reads lists.

mod backend;
mod backup;
mod checkpoint;
mod committer;
mod lock;
mod log;
mod open;
mod reader;
mod rows;
mod save;

pub use backup::{BackupError, check_backup, copy as backup_database, restore_backup};
pub use open::open;

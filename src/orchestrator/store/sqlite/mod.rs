//! The store in one SQLite file: a writing connection on its own thread, a reading one beside it (WAL).

mod backend;
mod backup;
mod lock;
mod open;
mod reader;
mod rows;

pub use backup::{BackupError, check_backup, copy as backup_database, restore_backup};
pub use open::open;

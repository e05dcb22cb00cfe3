//! The orchestrator's memory: runs, tasks, leases, attempts, hosts and events.
//!
//! ```text
//!  http ──▶ Store ──▶ engine ──▶ rules (pure: rows + now -> rows + events, or a refusal)
//!                       │  └───▶ backend: one transaction a batch     SQLite | PostgreSQL
//!                       └──────▶ reader: lists, beside the writer     SQLite | PostgreSQL
//! ```
//!
//! All semantics stand once, in `rules`; the databases only load and save rows.

mod clock;
mod contract;
mod engine;
mod full;
mod null;
mod open;
mod order;
mod postgres;
mod rules;
mod sqlite;
mod stats;
mod target;
mod validate;
mod view;
mod words;

pub use clock::{Clock, ManualClock, SystemClock};
pub use contract::{Claimed, LeaseInfo, Scope, Store, StoreError, StoredResult, Swept, TaskPage, Upload};
pub use full::is_full;
pub use null::NullStore;
pub use open::{Durability, OpenError, Options, open};
pub use sqlite::{BackupError, backup_database, check_backup, restore_backup};
pub use stats::StoreStats;
pub use target::{InvalidTarget, StoreTarget};

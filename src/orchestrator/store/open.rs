//! Opening a store by its target.

use std::path::PathBuf;
use std::sync::Arc;

use super::clock::Clock;
use super::contract::Store;
use super::target::StoreTarget;
use super::{postgres, sqlite};

/// When an answered change survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A crash of the machine: each commit is synced to disk.
    #[default]
    Synced,
    /// A crash of the process only: the operating system writes when it likes. The file stays consistent
    /// either way.
    OsBuffered,
}

#[derive(Clone, Default)]
pub struct Options {
    pub durability: Durability,
    /// `None`: the system's clock, or the database's where several orchestrators share one.
    pub clock: Option<Arc<dyn Clock>>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{} is in use by another orchestrator: stop that one first, or give this one its own file", path.display())]
    InUse { path: PathBuf },
    #[error(
        "{} cannot be read as an orchestrator's database; it was left as it is: restore a backup, or move it away",
        path.display()
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "{name} has schema version {found}, this program knows versions up to {known}: use a newer `bench`"
    )]
    NewerSchema { name: String, found: i64, known: i64 },
    #[error("could not bring the schema of {name} up to date")]
    Migration {
        name: String,
        #[source]
        cause: refinery::Error,
    },
    #[error("could not open {name}")]
    Database {
        name: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens the database, brings its schema up to date, and takes up the runs that have not ended.
pub async fn open(target: &StoreTarget, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    match target {
        StoreTarget::Sqlite(path) => sqlite::open(path, options).await,
        StoreTarget::Postgres(url) => postgres::open(url, target.to_string(), options).await,
    }
}

//! Where result archives are kept: a folder of this machine, or an S3-compatible object store.
//!
//! ```text
//!  folder: runner ──PUT──▶ orchestrator ──▶ DIR/runs/…        checked before it is recorded
//!  s3:     runner ──presigned PUT──▶ bucket ◀── orchestrator  checked at complete and fail
//! ```

mod folder;
mod s3;
mod s3_credentials;
mod target;

use std::io::Read;

pub use folder::{FolderStorage, Staged};
pub use s3::{MOST_OBJECT_BYTES, S3Storage};
pub use target::{InvalidStorage, StorageTarget};

use crate::orchestrator::store::{Durability, LeaseInfo};

/// An opened archive, to be read on a thread that may block.
pub type Archive = Box<dyn Read + Send>;

pub enum Storage {
    Folder(FolderStorage),
    S3(S3Storage),
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the result folder could not be used")]
    Folder(#[from] std::io::Error),
    #[error("the object storage could not {what}")]
    S3 {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was stored under this key.
    #[error("nothing is stored under `{0}`")]
    Missing(String),
}

impl Storage {
    /// Connects to, or makes, what the target names. `durability` is for a folder; an object store has its own.
    pub async fn open(target: &StorageTarget, durability: Durability) -> Result<Storage, StorageError> {
        match target {
            StorageTarget::Folder(folder) => Ok(Storage::Folder(FolderStorage::open(folder, durability)?)),
            StorageTarget::S3 { bucket, prefix } => Ok(Storage::S3(S3Storage::connect(bucket, prefix).await)),
        }
    }

    /// Whether archives can be kept now.
    pub async fn ping(&self) -> Result<(), StorageError> {
        match self {
            Storage::Folder(folder) => folder.ping(),
            Storage::S3(s3) => s3.ping().await,
        }
    }

    /// Opens a stored archive.
    pub async fn read(&self, key: &str) -> Result<Archive, StorageError> {
        match self {
            Storage::Folder(folder) => folder.read(key),
            Storage::S3(s3) => s3.read(key).await,
        }
    }
}

/// Where an attempt's archive goes. Made from the store's own rows, so that no runner can choose it. The digest
/// is part of it: what was accepted is not replaced by whatever is sent after it with an older ticket.
pub fn storage_key(lease: &LeaseInfo, sha256: &str) -> String {
    let LeaseInfo { run_id, task_id, attempt, fence, .. } = lease;
    format!("runs/{run_id}/{task_id}/{attempt}-{fence}-{sha256}.tar.gz")
}

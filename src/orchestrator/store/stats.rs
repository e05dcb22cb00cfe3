//! Counters of the store, read by `/metrics` while the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// All counters only grow.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Batches of changes that were handed over to be committed.
    pub batches: AtomicU64,
    /// Batches that changed something and were committed; in synced mode each is one sync to disk.
    pub commits: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

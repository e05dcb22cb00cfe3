//! What the disk takes by itself: no durable answer is faster than a sync.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::load::quantile;

/// How long the disk is left alone before each sync: about as long as between two commits for runners that begin apart. Many
/// take longer then than under load.
const PAUSE: Duration = Duration::from_millis(1);
const SYNCS: usize = 1000;

/// p99 of appending a kilobyte to a file and syncing it, microseconds.
pub fn sync_p99() -> f64 {
    let mut file = tempfile::tempfile().expect("a file");
    let kilobyte = [7; 1024];
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        std::thread::sleep(PAUSE);
        let started = Instant::now();
        file.write_all(&kilobyte).expect("room for a megabyte");
        file.sync_data().expect("the file is synced");
        took.push(started.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
    }
    quantile(&mut took, 0.99)
}

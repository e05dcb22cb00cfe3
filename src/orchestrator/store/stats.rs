//! Counters of the store, read by `/metrics` while the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, seconds: half a millisecond (a fast disk's sync) to one second.
pub const LATENCY_BOUNDS_S: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// All counters only grow.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Batches of changes that were handed over to be committed.
    pub batches: AtomicU64,
    /// Answers that waited for them.
    pub answers: AtomicU64,
    /// Batches that changed something and were committed; in synced mode each is one sync to disk.
    pub commits: AtomicU64,
    /// Batches whose commit failed; their callers were told so.
    pub failed_commits: AtomicU64,
    pub claims: AtomicU64,
    pub heartbeats: AtomicU64,
    pub completions: AtomicU64,
    /// Leases that ran out or were superseded by their own runner.
    pub leases_lost: AtomicU64,
    /// Time from the start of a batch's transaction to its durable end.
    pub commit_latency: Histogram,
}

/// A latency histogram in Prometheus' shape: cumulative buckets are made when it is read.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let bucket = LATENCY_BOUNDS_S.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(LATENCY_BOUNDS_S.len())].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// `(upper bound in seconds, observations at or below it)`, ascending; the last bound is infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = LATENCY_BOUNDS_S.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        bounds
            .zip(&self.buckets)
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect()
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_keep_what_is_over_every_bound() {
        let histogram = Histogram::default();
        for ms in [1, 3, 5_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative.iter().find(|(bound, _)| *bound == 0.001).unwrap().1, 1);
        assert_eq!(cumulative.iter().find(|(bound, _)| *bound == 1.0).unwrap().1, 2);
        assert_eq!(cumulative.last().unwrap(), &(f64::INFINITY, 3));
        assert!((histogram.sum_seconds() - 5.004).abs() < 1e-9);
    }
}

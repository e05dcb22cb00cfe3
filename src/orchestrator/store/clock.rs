//! The store's time: milliseconds since the Unix epoch that never go back, whatever the wall clock does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// Where the engine takes "now" from.
pub trait Clock: Send + Sync + 'static {
    fn now_ms(&self) -> Millis;
    /// Makes every later `now_ms` at least `floor`: the time at which an earlier process was last alive.
    fn not_before(&self, floor: Millis);
}

/// The monotonic clock, anchored at the wall clock when it is made: a jump of the wall clock afterwards
/// neither expires a lease nor prolongs one.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    anchor_ms: AtomicI64,
}

impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock::anchored(jiff::Timestamp::now().as_millisecond())
    }

    /// Anchored at a time that somebody else told: several orchestrators take their database's.
    pub fn anchored(now_ms: Millis) -> SystemClock {
        SystemClock { start: Instant::now(), anchor_ms: AtomicI64::new(now_ms) }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

fn millis(elapsed: std::time::Duration) -> Millis {
    Millis::try_from(elapsed.as_millis()).unwrap_or(Millis::MAX)
}

impl Clock for SystemClock {
    fn now_ms(&self) -> Millis {
        self.anchor_ms.load(Ordering::Relaxed).saturating_add(millis(self.start.elapsed()))
    }

    fn not_before(&self, floor: Millis) {
        let anchor = floor.saturating_sub(millis(self.start.elapsed()));
        self.anchor_ms.fetch_max(anchor, Ordering::Relaxed);
    }
}

/// A clock that stands still until it is told otherwise: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(now_ms: Millis) -> ManualClock {
        ManualClock(AtomicI64::new(now_ms))
    }

    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(millis(by), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }

    fn not_before(&self, floor: Millis) {
        self.0.fetch_max(floor, Ordering::Relaxed);
    }
}

/// For answers and events. Times of the store lie within what `jiff` can hold.
pub fn timestamp(ms: Millis) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_its_predecessor_catches_up_and_one_ahead_stays() {
        let clock = SystemClock::anchored(1_000_000);
        clock.not_before(5_000_000);
        assert!(clock.now_ms() >= 5_000_000);
        clock.not_before(10);
        assert!(clock.now_ms() >= 5_000_000);
    }
}

//! Token buckets: how often something may be done by each of many callers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Callers remembered at once. A full table forgets those whose buckets are full again.
const MAX_CALLERS: usize = 10_000;

/// One bucket a caller, refilled at a steady rate.
pub struct Buckets<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl<K: Hash + Eq> Buckets<K> {
    pub fn new(per_second: f64, burst: f64) -> Buckets<K> {
        Buckets { per_second, burst, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes a token, or says how long until there is one.
    pub fn take(&self, caller: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().expect("no holder of this lock panics");
        if buckets.len() >= MAX_CALLERS {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
            // Only an attack makes so many callers at once; forgetting all is kinder than refusing all.
            if buckets.len() >= MAX_CALLERS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(caller).or_insert(Bucket { tokens: self.burst, filled_at: now });
        bucket.tokens = self.refilled(bucket, now);
        bucket.filled_at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second))
        }
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_served_then_the_rate_holds() {
        let buckets = Buckets::new(10.0, 3.0);
        let start = Instant::now();
        for _ in 0..3 {
            buckets.take("a", start).unwrap();
        }
        assert!(buckets.take("a", start).unwrap_err() <= Duration::from_millis(100));
        buckets.take("b", start).unwrap();
        buckets.take("a", start + Duration::from_millis(101)).unwrap();
        buckets.take("a", start + Duration::from_millis(102)).unwrap_err();
    }

    #[test]
    fn many_callers_do_not_fill_the_memory() {
        let buckets = Buckets::new(1.0, 1.0);
        let start = Instant::now();
        for caller in 0..3 * MAX_CALLERS {
            let _ = buckets.take(caller, start);
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MAX_CALLERS);
    }
}

//! Waiting between tries: longer each time, never in step with other runners.

use std::time::Duration;

use rand::RngExt as _;

/// Doubles from `first` to `most`; each pause is a random part, between half and all, of that.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Duration,
    first: Duration,
    most: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { next: first, first, most }
    }

    /// How long to wait now; at least what the other side asked for.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.most);
        base.mul_f64(rand::rng().random_range(0.5..=1.0)).max(asked.unwrap_or_default())
    }

    /// After an answer, the next trouble starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_respect_what_was_asked() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for expected in [100_u64, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause(None).as_millis() as u64;
            assert!((expected / 2..=expected).contains(&pause), "{pause} of {expected}");
        }
        assert_eq!(backoff.pause(Some(Duration::from_secs(9))), Duration::from_secs(9));
        backoff.reset();
        assert!(backoff.pause(None) <= Duration::from_millis(100));
    }
}

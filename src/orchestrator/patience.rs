//! The time limits of a connection, kept by one timer.
//!
//! Nearly every limit is met, so nearly every timer is set only to be taken back. A connection has one that is
//! set for the earliest limit it was ever asked to watch: when it rings, the connection looks whether somebody
//! still waits, and is asked anew by whoever does. Limits that are met cost a comparison.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;

/// Shared by a connection and what runs inside its task: futures that are polled elsewhere are not woken.
#[derive(Debug, Clone)]
pub struct Patience(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    opened: Instant,
    /// The earliest moment somebody waits for, nanoseconds after `opened`; `NOBODY` where there is none.
    earliest: AtomicU64,
}

const NOBODY: u64 = u64::MAX;

impl Patience {
    pub fn new() -> Patience {
        Patience(Arc::new(Shared { opened: Instant::now(), earliest: AtomicU64::new(NOBODY) }))
    }

    /// Runs the connection and wakes it whenever a limit within it may be over.
    pub fn keep<F: Future>(&self, connection: F) -> Kept<F> {
        Kept { patience: self.clone(), connection, timer: tokio::time::sleep(Duration::ZERO), set: NOBODY }
    }

    /// `None` when the limit was over first.
    pub fn within<F: Future>(&self, limit: Duration, future: F) -> Within<F> {
        Within { patience: self.clone(), limit, until: None, future }
    }

    fn until(&self, at: Instant) -> Until {
        Until { shared: self.0.clone(), at }
    }
}

pin_project! {
    /// What [`Patience::keep`] gives.
    pub struct Kept<F> {
        patience: Patience,
        #[pin]
        connection: F,
        #[pin]
        timer: tokio::time::Sleep,
        // When the timer rings, as in `Shared`.
        set: u64,
    }
}

impl<F: Future> Future for Kept<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let shared = &this.patience.0;
        loop {
            if let Poll::Ready(end) = this.connection.as_mut().poll(context) {
                return Poll::Ready(end);
            }
            let earliest = shared.earliest.load(Ordering::Relaxed);
            if earliest == NOBODY {
                return Poll::Pending;
            }
            if earliest < *this.set {
                *this.set = earliest;
                this.timer.as_mut().reset((shared.opened + Duration::from_nanos(earliest)).into());
            }
            ready!(this.timer.as_mut().poll(context));
            *this.set = NOBODY;
            shared.earliest.store(NOBODY, Ordering::Relaxed);
        }
    }
}

pin_project! {
    /// What [`Patience::within`] gives.
    pub struct Within<F> {
        patience: Patience,
        limit: Duration,
        // From the first time on that it had to wait.
        until: Option<Until>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Some(output));
        }
        let until = this.until.get_or_insert_with(|| this.patience.until(Instant::now() + *this.limit));
        until.look().map(|()| None)
    }
}

/// For the limits that hyper keeps.
impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.until(deadline))
    }
}

/// Over at a moment.
#[derive(Debug)]
struct Until {
    shared: Arc<Shared>,
    at: Instant,
}

impl Until {
    fn look(&self) -> Poll<()> {
        let after = self.at.saturating_duration_since(self.shared.opened).as_nanos();
        let after = u64::try_from(after).unwrap_or(NOBODY - 1);
        // The timer has not rung yet, so it is too early to ask for the time.
        if self.shared.earliest.load(Ordering::Relaxed) <= after {
            return Poll::Pending;
        }
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        self.shared.earliest.fetch_min(after, Ordering::Relaxed);
        Poll::Pending
    }
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.look()
    }
}

impl Sleep for Until {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_what_does_not_is_not() {
        let patience = Patience::new();
        let silent = async {
            assert_eq!(patience.within(LONG, async { 1 }).await, Some(1));
            let started = Instant::now();
            assert_eq!(patience.within(SHORT, std::future::pending::<()>()).await, None);
            started.elapsed()
        };
        assert!(patience.keep(silent).await >= SHORT);
    }

    #[tokio::test]
    async fn a_limit_that_was_met_does_not_keep_later_ones_from_ringing() {
        let patience = Patience::new();
        let connection = async {
            // Set, and met: the timer rings for nobody, then for the next.
            let yields = async { tokio::task::yield_now().await };
            assert!(patience.within(SHORT, yields).await.is_some());
            assert_eq!(patience.within(2 * SHORT, std::future::pending::<()>()).await, None);
            // A shorter one after a longer one.
            let yields = async { tokio::task::yield_now().await };
            assert!(patience.within(LONG, yields).await.is_some());
            assert_eq!(patience.within(SHORT, std::future::pending::<()>()).await, None);
        };
        patience.keep(connection).await;
    }

    #[tokio::test]
    async fn sleeps_that_hyper_asks_for_end() {
        let patience = Patience::new();
        let started = Instant::now();
        patience.keep(Timer::sleep(&patience, SHORT)).await;
        assert!(started.elapsed() >= SHORT);
    }
}

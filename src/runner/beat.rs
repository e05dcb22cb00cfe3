//! Heartbeats: keep a lease alive, and notice when it is lost.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::retry::Backoff;
use super::task::{Progress, chain};
use super::text;
use crate::api::{HeartbeatRequest, Lease, TaskId};
use crate::client::Client;

/// A lease lives for so many heartbeats: 60 s and 15 s by default.
const BEATS_PER_LEASE: f64 = 4.0;
/// The first beat of a task comes early, so that it soon shows as running; a task shorter than this costs
/// no beat at all.
const FIRST_BEAT: Duration = Duration::from_millis(500);

/// Why the task is not this runner's any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// The orchestrator said so: taken back, or the run was stopped.
    Refused(String),
    /// No beat got through for as long as the lease lives.
    Expired,
}

/// Beats until the lease is lost. `asked` is when the claim was first sent. The answer may have been held back
/// for long, or lost once, so the lease's age is unknown: when it may be old, a beat at once finds out.
pub(super) async fn until_lost(
    client: &Client,
    task: TaskId,
    lease: &Lease,
    asked: Instant,
    progress: watch::Receiver<Progress>,
) -> Lost {
    let interval = Duration::from_secs_f64(lease.heartbeat_seconds.clamp(0.05, 3600.0));
    let life = interval.mul_f64(BEATS_PER_LEASE);
    let claimed = Instant::now();
    let mut alive_until = claimed + life;
    let may_be_old = claimed - asked > interval;
    let mut next = if may_be_old { claimed } else { claimed + FIRST_BEAT.min(interval) };
    let mut backoff = Backoff::new(Duration::from_millis(200), interval);
    loop {
        sleep_until(next.min(alive_until)).await;
        let sent = Instant::now();
        // Also true after this process was stopped for long: a beat would come too late.
        if sent >= alive_until {
            return Lost::Expired;
        }
        let beat = request(lease.fence, &progress.borrow());
        match timeout(alive_until - sent, client.heartbeat(task, &beat)).await {
            Ok(Ok(_)) => {
                alive_until = sent + life;
                next = sent + interval;
                backoff.reset();
            }
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(task, error = chain(&error), "a heartbeat did not get through");
                next = Instant::now() + backoff.pause(error.retry_after());
            }
            Ok(Err(error)) => return Lost::Refused(chain(&error)),
            Err(_elapsed) => return Lost::Expired,
        }
    }
}

fn request(fence: i64, progress: &Progress) -> HeartbeatRequest {
    HeartbeatRequest {
        fence,
        status: progress.status.to_owned(),
        progress: progress.fraction,
        message: progress.message.as_deref().map(text::progress),
    }
}

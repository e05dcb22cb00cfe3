//! Ctrl-C and its relatives: the first asks for a clean stop, the second for an immediate one.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the user has asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupts {
    count: watch::Receiver<u32>,
}

impl Interrupts {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on.
    pub fn listen() -> std::io::Result<Interrupts> {
        let (sender, count) = watch::channel(0);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut stream = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    sender.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Interrupts { count })
    }

    /// Interrupts that a test sends.
    pub fn from_channel(count: watch::Receiver<u32>) -> Interrupts {
        Interrupts { count }
    }

    pub fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Returns once there were at least `wanted` of them; never, if nobody can send any more.
    pub async fn reached(&mut self, wanted: u32) {
        if self.count.wait_for(|count| *count >= wanted).await.is_err() {
            std::future::pending().await
        }
    }
}

//! What ends a runner from outside: signals, and the end of the pipe to its master.

use std::io::Read as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// After the master's end, the runner has this long to end by itself.
const LAST_RESORT: Duration = Duration::from_secs(3);

/// How urgently the runner has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Ending {
    #[default]
    No,
    /// Finish the task if it does not take long, else give it back.
    Soon,
    /// Second signal: give it back now.
    Now,
    /// The master is gone, and with it whoever would want an answer.
    Orphaned,
}

/// Listens to SIGTERM and SIGINT, the second of which means at once, and to the parent's pipe.
///
/// # Errors
/// When the signals cannot be caught. Must run inside a runtime.
pub(super) fn watch_endings(parent_pipe: bool) -> std::io::Result<watch::Receiver<Ending>> {
    let (sender, receiver) = watch::channel(Ending::No);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let of_signals = sender.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            of_signals.send_modify(|ending| {
                *ending = (*ending).max(if *ending == Ending::No { Ending::Soon } else { Ending::Now });
            });
        }
    });
    if parent_pipe {
        std::thread::Builder::new().name("parent-pipe".into()).spawn(move || {
            wait_for_end_of_input();
            sender.send_replace(Ending::Orphaned);
            std::thread::sleep(LAST_RESORT);
            tracing::error!("the master is gone and the runner did not end in time; leaving");
            // The launcher follows this process's end and takes the workload with it.
            std::process::abort();
        })?;
    }
    Ok(receiver)
}

fn wait_for_end_of_input() {
    let mut input = std::io::stdin().lock();
    let mut buffer = [0; 64];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

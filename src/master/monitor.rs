//! Follows a run until it has ended: its events as they happen, its counts now and then.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::{MasterEvent, Progress};
use crate::api::{RunId, RunView};
use crate::client::{Client, ClientError};

/// Counts are asked for this often while events arrive; every event would be one request too many.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// Without events the run is looked at this often: an orchestrator that is away shows here.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Returns when the run has ended. An orchestrator that does not answer is "unknown", never "done": the
/// wait goes on, and says so. Dropping the future ends the watch.
///
/// # Errors
/// What time does not heal: the orchestrator does not know the run, or refuses the key.
pub async fn until_ended(
    client: &Client,
    run: &RunId,
    progress: &dyn Progress,
) -> Result<RunView, ClientError> {
    let mut events = client.events(run, 0);
    let mut view = client.run(run).await?;
    let mut looked = Instant::now();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events_open = true;
    let mut silent = false;
    while !view.status.is_final() {
        let event = tokio::select! {
            event = events.next(), if events_open => match event {
                Some(Ok(event)) => Some(event),
                Some(Err(error)) => return Err(error),
                None => { events_open = false; None }
            },
            _ = ticks.tick() => None,
        };
        let ends_run = event.as_ref().is_some_and(|event| event.kind.ends_run());
        if event.is_none() || ends_run || looked.elapsed() >= COUNT_EVERY {
            looked = Instant::now();
            match client.run(run).await {
                Ok(newer) => (view, silent) = (newer, false),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) if !silent => {
                    silent = true;
                    progress.tell(&MasterEvent::OrchestratorSilent { error: error.to_string() });
                }
                Err(_) => {}
            }
        }
        if let Some(event) = event {
            progress.tell(&MasterEvent::Run { event, counts: view.tasks });
        }
    }
    Ok(view)
}

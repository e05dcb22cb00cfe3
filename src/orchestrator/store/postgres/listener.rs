//! Hears of other orchestrators' commits, so that waiting claims and event streams here move at once.

use std::time::Duration;

use futures::StreamExt;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::orchestrator::store::engine::{BackendError, Outlets};

use super::save::CHANNEL;

/// Pause before a broken connection is made anew.
const RETRY: Duration = Duration::from_millis(500);

/// Listens until its task is aborted.
pub async fn listen(url: String, instance: String, outlets: Outlets) {
    loop {
        if let Err(error) = listen_once(&url, &instance, &outlets).await {
            tracing::warn!(error = &*error, "cannot hear of other orchestrators; trying again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen_once(url: &str, instance: &str, outlets: &Outlets) -> Result<(), BackendError> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    let subscribe = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        // What was said while nobody listened.
        let row = client.query_one("SELECT next_event - 1 FROM orchestrator", &[]).await?;
        hear(outlets, row.try_get(0)?, true);
        Ok::<(), BackendError>(())
    };
    futures::pin_mut!(subscribe);
    let mut subscribed = false;
    loop {
        tokio::select! {
            done = &mut subscribe, if !subscribed => { done?; subscribed = true; }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(note))) => take_note(note.payload(), instance, outlets),
                Some(Ok(_)) => {}
                Some(Err(cause)) => return Err(cause.into()),
                None => return Ok(()),
            },
        }
    }
}

/// `<instance> <newest event> <0 or 1: the queue changed>`
fn take_note(note: &str, instance: &str, outlets: &Outlets) {
    let mut words = note.split(' ');
    if words.next() == Some(instance) {
        return;
    }
    let newest = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    hear(outlets, newest, words.next() == Some("1"));
}

fn hear(outlets: &Outlets, newest: i64, queue: bool) {
    outlets.events.send_if_modified(|known| {
        let newer = newest > *known;
        *known = newest.max(*known);
        newer
    });
    if queue {
        outlets.queue.send_modify(|version| *version += 1);
    }
}

//! A run's events as they are committed, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use super::answer::Refusal;
use super::app::App;
use super::extract::{Params, RunPath};
use crate::api::{Event, RunId};
use crate::orchestrator::store::StoreError;

/// Most events that a client may ask to begin before the newest.
const MAX_LAST: u32 = 10_000;
/// Events read from the store at once.
const BATCH: u32 = 500;
/// Events come in bursts, and each look costs the store two questions: those of so long are sent together.
const GATHER: Duration = Duration::from_millis(20);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Events with a greater `seq` only. The header `Last-Event-ID` says the same and wins.
    #[serde(default)]
    after: Option<i64>,
    /// Begin so many events before the newest, 1 to 10000, where neither `after` nor `Last-Event-ID` says where.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10_000)]
    last: Option<u32>,
    /// `false`: end after the events there are, instead of waiting for more.
    #[serde(default)]
    follow: Option<bool>,
}

/// The run's events: `id` is `seq`, `event` the kind, `data` an Event as JSON. The stream stays open until
/// the run has ended and all its events were sent; then it sends `event: end` and closes. A stream that
/// closes without it broke off: connect again with the last `id`.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs",
    params(("id" = String, Path), EventQuery), responses(
    (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
))]
pub async fn follow_events(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
    Params(query): Params<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.store.run(&run).await?;
    let resumed = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.parse().ok());
    let after = match (resumed.or(query.after), query.last) {
        (Some(after), _) => after,
        (None, Some(last @ 1..=MAX_LAST)) => app.store.before_latest(&run, last).await?,
        (None, Some(_)) => return Err(Refusal::bad_request(format!("`last` is 1 to {MAX_LAST}"))),
        (None, None) => 0,
    };
    let follower = Follower {
        newest: app.store.newest_event(),
        app,
        run,
        after,
        follow: query.follow.unwrap_or(true),
        greeted: false,
        up_to_date: false,
        ended: false,
    };
    let frames = stream::try_unfold(follower, |mut follower| async move {
        Ok::<_, StoreError>(follower.next().await?.map(|frames| (frames, follower)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies of the nginx kind would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

struct Follower {
    app: Arc<App>,
    run: RunId,
    after: i64,
    follow: bool,
    newest: watch::Receiver<i64>,
    /// Whether anything was sent: the first frame tells the client that it is connected.
    greeted: bool,
    /// Whether there was nothing more at the last look.
    up_to_date: bool,
    ended: bool,
}

impl Follower {
    /// The next piece of the stream; `None` ends it.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.greeted, true) {
            return Ok(Some(Bytes::from_static(b": connected\n\n")));
        }
        loop {
            if std::mem::take(&mut self.up_to_date) {
                tokio::select! {
                    changed = self.newest.changed() => if changed.is_err() { return Ok(None) },
                    () = tokio::time::sleep(KEEP_ALIVE) => {
                        return Ok(Some(Bytes::from_static(b": keep-alive\n\n")));
                    }
                    () = self.app.stop.cancelled() => return Ok(None),
                }
                tokio::time::sleep(GATHER).await;
            }
            // In this order: an event that comes in between ends the next wait, and a run that was over
            // before its events were read gets no more.
            self.newest.mark_unchanged();
            let over = self.app.store.run(&self.run).await?.status.is_final();
            let events = self.app.store.events(Some(&self.run), self.after, BATCH).await?;
            self.up_to_date = self.follow && !over && events.len() < BATCH as usize;
            if let Some(last) = events.last() {
                self.after = last.seq;
                return Ok(Some(frames(&events)));
            }
            if over || !self.follow {
                self.ended = true;
                return Ok(Some(Bytes::from_static(b"event: end\ndata: {}\n\n")));
            }
        }
    }
}

/// JSON has no line breaks outside of strings, and in strings they are escaped: one `data` line is enough.
fn frames(events: &[Event]) -> Bytes {
    let mut text = String::new();
    for event in events {
        let data = serde_json::to_string(event).expect("an event has a JSON form");
        let kind = serde_json::to_value(event.kind).expect("a kind has a JSON form");
        let kind = kind.as_str().unwrap_or("message");
        text.push_str(&format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.seq));
    }
    Bytes::from(text)
}

//! A run's events as they happen, over server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::pin::Pin as Pinned;
use std::time::Duration;

use futures::Stream;
use futures::stream::{self, StreamExt as _};
use reqwest::{Method, Response};

use super::transport::{send, unless_silent};
use super::{Client, ClientError};
use crate::api::{Event, RunId};

const WHAT: &str = "follow the run's events";
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One event is a few hundred bytes; its longest text 20,000 characters.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// What [`Client::events`] gives.
pub type Events = Pinned<Box<dyn Stream<Item = Result<Event, ClientError>> + Send>>;

impl Client {
    /// Events of the run with a `seq` greater than `after`, each once and in order.
    ///
    /// Reconnects by itself, from where it was, for as long as it is polled: an orchestrator that is away
    /// for a while shows as silence, not as an error. Ends after the last event of a run that has ended.
    /// An error that time will not heal (wrong key, no such run) is given once and ends the stream.
    pub fn events(&self, run: &RunId, after: i64) -> Events {
        let follower = Follower {
            client: self.clone(),
            run: run.clone(),
            after,
            connection: None,
            pause: FIRST_PAUSE,
            ended: false,
        };
        stream::unfold(
            follower,
            |mut follower| async move { follower.next().await.map(|item| (item, follower)) },
        )
        .boxed()
    }
}

struct Follower {
    client: Client,
    run: RunId,
    after: i64,
    connection: Option<(Response, Frames)>,
    pause: Duration,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        while !self.ended {
            match self.step().await {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    self.connection = None;
                    tracing::debug!(run.id = %self.run, %error, "event stream broke off, reconnecting");
                    tokio::time::sleep(error.retry_after().unwrap_or(self.pause)).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Connects, or takes the next frame from the connection.
    async fn step(&mut self) -> Result<Option<Event>, ClientError> {
        let Some((answer, frames)) = &mut self.connection else {
            let mut url = self.client.api(&["runs", self.run.as_str(), "events"]);
            url.query_pairs_mut().append_pair("after", &self.after.to_string());
            let answer = send(WHAT, self.client.request(Method::GET, url)).await?;
            self.connection = Some((answer, Frames::default()));
            return Ok(None);
        };
        if let Some(frame) = frames.pop() {
            if frame.event == "end" {
                self.ended = true;
            }
            let Some(event) = frame.decode() else { return Ok(None) };
            let event = event.map_err(|source| bad_answer(&self.client, source.to_string()))?;
            self.pause = FIRST_PAUSE;
            // A frame sent twice around a reconnection is shown once.
            let new = event.seq > self.after;
            self.after = self.after.max(event.seq);
            return Ok(new.then_some(event));
        }
        let chunk = unless_silent(WHAT, self.client.url(), answer.chunk()).await?;
        match chunk {
            Some(chunk) if frames.buffer.len() + chunk.len() <= MAX_FRAME_BYTES => frames.push(&chunk),
            Some(_) => return Err(bad_answer(&self.client, "one event is far too long".to_owned())),
            None => {
                self.connection = None;
                tokio::time::sleep(self.pause).await;
            }
        }
        Ok(None)
    }
}

fn bad_answer(client: &Client, detail: String) -> ClientError {
    ClientError::BadAnswer { what: WHAT, url: client.url().to_owned(), status: 200, detail }
}

/// Bytes so far without a complete frame at their end.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
struct Frame {
    event: String,
    data: String,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        // The specification lets a server end lines with CR LF.
        self.buffer.extend(bytes.iter().filter(|byte| **byte != b'\r'));
    }

    /// Takes the first complete frame out.
    fn pop(&mut self) -> Option<Frame> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let rest = self.buffer.split_off(end + 2);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let mut frame = Frame::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => frame.event = value.to_owned(),
                "data" if frame.data.is_empty() => frame.data = value.to_owned(),
                "data" => frame.data = format!("{}\n{value}", frame.data),
                _ => {}
            }
        }
        Some(frame)
    }
}

impl Frame {
    /// The event in it; `None` for keep-alive comments and the closing frame.
    fn decode(&self) -> Option<Result<Event, serde_json::Error>> {
        (!self.data.is_empty() && self.event != "end").then(|| serde_json::from_str(&self.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together_from_any_pieces() {
        let text =
            ": keep-alive\n\nid: 7\r\nevent: task_claimed\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: end\n\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.pop() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen.len(), 3, "pieces of {size}");
            assert_eq!(seen[0], Frame::default());
            assert_eq!(seen[1], Frame { event: "task_claimed".into(), data: "{\"a\":\n1}".into() });
            assert_eq!(seen[2].event, "end");
        }
    }
}

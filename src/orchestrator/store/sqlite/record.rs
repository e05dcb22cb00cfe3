//! One commit as it stands in the journal: a line of JSON with the rows, and a line with the events of each run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::BackendError;
use crate::orchestrator::store::rules::{Changes, RunKey};
use crate::orchestrator::store::view::event_view;

/// What is saved together.
#[derive(Debug, Default)]
pub struct Commit {
    pub changes: Vec<Changes>,
    /// The orchestrator is alive at this time.
    pub alive: Option<Millis>,
    pub events: Vec<Arc<EventBatch>>,
}

/// Events of one run that were saved together: those with the numbers `first` to `last`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct EventBatch {
    pub run: RunKey,
    pub first: i64,
    pub last: i64,
    /// They themselves, a JSON array.
    #[serde(skip)]
    pub text: String,
}

#[derive(Serialize)]
struct Written<'a> {
    alive: Option<Millis>,
    changes: &'a [Changes],
    events: Vec<&'a EventBatch>,
}

#[derive(Deserialize)]
struct Read {
    alive: Option<Millis>,
    changes: Vec<Changes>,
    events: Vec<EventBatch>,
}

impl Commit {
    /// Numbers the events, from `newest` on; gives the number of the newest one then.
    pub fn number_events(&mut self, mut newest: i64) -> serde_json::Result<i64> {
        for changes in &mut self.changes {
            let events = std::mem::take(&mut changes.events);
            if events.is_empty() {
                continue;
            }
            let first = newest + 1;
            let views: Vec<_> =
                (first..).zip(events).map(|(seq, event)| event_view(&changes.run_id, seq, event)).collect();
            newest += i64::try_from(views.len()).unwrap_or(i64::MAX);
            let text = serde_json::to_string(&views)?;
            self.events.push(Arc::new(EventBatch { run: changes.run, first, last: newest, text }));
        }
        Ok(newest)
    }

    pub fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        let events = self.events.iter().map(|events| &**events).collect();
        serde_json::to_writer(&mut *to, &Written { alive: self.alive, changes: &self.changes, events })?;
        for events in &self.events {
            to.push(b'\n');
            to.extend_from_slice(events.text.as_bytes());
        }
        Ok(())
    }

    pub fn read(text: &[u8]) -> Result<Commit, BackendError> {
        // No newline stands within JSON that serde wrote.
        let mut lines = std::str::from_utf8(text)?.split('\n');
        let Read { alive, changes, mut events } = serde_json::from_str(lines.next().unwrap_or_default())?;
        for events in &mut events {
            events.text = lines.next().ok_or("a line of events is missing")?.to_owned();
        }
        Ok(Commit { changes, alive, events: events.into_iter().map(Arc::new).collect() })
    }
}

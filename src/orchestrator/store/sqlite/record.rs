//! One commit as it stands in the journal.
//!
//! In postcard's format, which is compact and quickly written; it names no fields, so whoever changes one of the
//! types in it gives [`super::journal`] another format number.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer as _};

use crate::api::{Alias, Event, EventKind, RunId, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::BackendError;
use crate::orchestrator::store::rules::{Changes, Name, NewEvent, RunKey};
use crate::orchestrator::store::view::event_view;

/// Bytes of an event's values as JSON, about.
const TYPICAL_EVENT: usize = 128;

/// What is saved together.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Commit {
    pub changes: Vec<Changes>,
    /// The orchestrator is alive at this time.
    pub alive: Option<Millis>,
    pub events: Vec<Arc<EventBatch>>,
}

/// Events of one run that were saved together.
#[derive(Debug, Serialize, Deserialize)]
pub struct EventBatch {
    pub run: RunKey,
    run_id: RunId,
    /// Number of the first one; the others follow.
    pub first: i64,
    events: Vec<NewEvent>,
}

impl Commit {
    /// Numbers the events, from `newest` on; gives the number of the newest one then.
    pub fn number_events(&mut self, mut newest: i64) -> i64 {
        for changes in &mut self.changes {
            let events = std::mem::take(&mut changes.events);
            if !events.is_empty() {
                let (run, run_id) = (changes.run, changes.run_id.clone());
                let batch = EventBatch { run, run_id, first: newest + 1, events };
                newest = batch.last();
                self.events.push(Arc::new(batch));
            }
        }
        newest
    }

    pub fn write(&self, to: &mut Vec<u8>) -> io::Result<()> {
        postcard::to_io(self, to).map(|_| ()).map_err(io::Error::other)
    }

    pub fn read(bytes: &[u8]) -> Result<Commit, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

impl EventBatch {
    /// Number of the last one.
    pub fn last(&self) -> i64 {
        self.first + i64::try_from(self.events.len()).unwrap_or(i64::MAX) - 1
    }

    /// As the tables keep them: a list of lists of their values. Names of these would be more than half of it.
    pub fn to_json(&self) -> Result<String, BackendError> {
        let mut text = Vec::with_capacity(self.events.len() * TYPICAL_EVENT);
        serde_json::Serializer::new(&mut text).collect_seq(self.events.iter().map(values))?;
        Ok(String::from_utf8(text)?)
    }

    pub fn of_json(run: RunKey, run_id: RunId, first: i64, text: &str) -> serde_json::Result<EventBatch> {
        let events: Vec<Values> = serde_json::from_str(text)?;
        Ok(EventBatch { run, run_id, first, events: events.into_iter().map(event).collect() })
    }

    /// As the API shows them.
    pub fn views(&self) -> impl Iterator<Item = Event> {
        (self.first..).zip(&self.events).map(|(seq, event)| event_view(&self.run_id, seq, event.clone()))
    }
}

/// The values of an event, as [`values`] writes them.
type Values = (
    Millis,
    EventKind,
    Option<TaskId>,
    Option<Alias>,
    Option<u32>,
    Option<u32>,
    Option<Name>,
    Option<Name>,
    Option<String>,
);

fn values(event: &NewEvent) -> impl Serialize {
    let NewEvent { at, kind, task_id, alias, number, attempt, host, runner_id, detail } = event;
    (at, kind, task_id, alias, number, attempt, host, runner_id, detail)
}

fn event((at, kind, task_id, alias, number, attempt, host, runner_id, detail): Values) -> NewEvent {
    NewEvent { at, kind, task_id, alias, number, attempt, host, runner_id, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AttemptOutcome, EventKind, HostStage, RunStatus, TaskCounts, TaskState};
    use crate::orchestrator::store::contract::Upload;
    use crate::orchestrator::store::rules::{
        AttemptRow, BulkEnd, Ended, GroupChange, HeldLease, HostRow, RunChange, RunnerRow, TaskRow,
    };

    fn upload() -> Upload {
        Upload { sha256: "5e".to_owned(), size: 7, key: "k".to_owned(), verified: true }
    }

    fn lease() -> HeldLease {
        HeldLease {
            runner_id: "r".into(),
            host: "h".into(),
            request_id: Some("q".into()),
            claimed_at: 1,
            expires_at: 2,
            beat_at: Some(3),
            status: Some("measure".into()),
            progress: Some(0.5),
            message: Some("m".to_owned()),
            upload: Some(upload()),
        }
    }

    fn task() -> TaskRow {
        TaskRow {
            id: 5,
            group: 1,
            number: 2,
            state: TaskState::Running,
            fence: 3,
            attempts: 4,
            free: 5,
            failures: 6,
            lost_hosts: vec!["l".to_owned()],
            lease: Some(lease()),
            ended: Some(Ended {
                fence: 2,
                outcome: AttemptOutcome::Lost,
                sha256: Some("5e".to_owned()),
                runner_id: "r".into(),
                host: "h".into(),
            }),
            reason: Some("poison".to_owned()),
            error_message: Some("e".to_owned()),
        }
    }

    fn changes() -> Changes {
        let attempt = AttemptRow {
            task: 5,
            attempt: 4,
            runner_id: "r".into(),
            host: "h".into(),
            outcome: AttemptOutcome::Completed,
            claimed_at: 1,
            ended_at: 2,
            error_type: Some("exit".to_owned()),
            error_message: Some("e".to_owned()),
            upload: Some(upload()),
            accepted: true,
        };
        let mut host = HostRow::new("p".to_owned(), HostStage::Ready, 9);
        host.quick_failures.push(5);
        let runner = RunnerRow {
            host: "h".into(),
            provider: "p".to_owned(),
            instance_type: "t".to_owned(),
            alias: Some("a".parse().unwrap()),
            seen_at: 9,
            gone: true,
            saved_at: 8,
        };
        let event = NewEvent {
            at: 1,
            kind: EventKind::TaskClaimed,
            task_id: Some(5),
            alias: Some("a".parse().unwrap()),
            number: Some(2),
            attempt: Some(4),
            host: Some("h".into()),
            runner_id: Some("r".into()),
            detail: Some("d".to_owned()),
        };
        Changes {
            run: 1,
            run_id: "run".parse().unwrap(),
            row: Some(RunChange { status: RunStatus::Running, finished_at: Some(4), deadline: Some(5) }),
            tasks: vec![Arc::new(task())],
            beats: vec![Arc::new(TaskRow::pending(6, 0, 1))],
            attempts: vec![attempt],
            bulk: vec![BulkEnd { group: 0, state: TaskState::Failed, reason: "unclaimed".into() }],
            groups: vec![GroupChange {
                group: 0,
                counts: TaskCounts::default(),
                head: 6,
                wanted_at: 7,
                settled: true,
            }],
            hosts: vec![("h".into(), Some(host)), ("gone".into(), None)],
            runners: vec![("r".into(), Some(runner))],
            events: vec![event],
            empty: false,
            queue: true,
        }
    }

    #[test]
    fn a_commit_is_read_as_it_was_written() {
        let mut commit = Commit { changes: vec![changes(), changes()], alive: Some(3), events: Vec::new() };
        assert_eq!(commit.number_events(7), 9);
        let mut bytes = Vec::new();
        commit.write(&mut bytes).unwrap();
        let again = Commit::read(&bytes).unwrap();
        let rows = |commit: &Commit| (commit.changes[0].tasks.clone(), commit.changes[1].attempts.clone());
        assert_eq!(rows(&again), rows(&commit));
        let numbers: Vec<i64> =
            again.events.iter().flat_map(|batch| batch.views()).map(|event| event.seq).collect();
        assert_eq!(numbers, [8, 9]);
        let mut twice = Vec::new();
        again.write(&mut twice).unwrap();
        assert_eq!(twice, bytes);
    }

    /// Fails when one of the types in it has changed: then the journal's format needs another number.
    #[test]
    fn the_format_is_the_one_that_has_this_number() {
        let mut commit = Commit { changes: vec![changes()], alive: Some(3), events: Vec::new() };
        commit.number_events(0);
        let mut bytes = Vec::new();
        commit.write(&mut bytes).unwrap();
        assert_eq!(
            (super::super::journal::FORMAT, crc32fast::hash(&bytes), bytes.len()),
            (1, 3151182040, 220)
        );
    }
}

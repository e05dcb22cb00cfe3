//! Rows as the API shows them.

use crate::api::{Alias, AttemptOutcome, AttemptView, Event, RunId, TaskId, TaskView};

use super::clock::timestamp;
use super::contract::StoredResult;
use super::rules::{AttemptRow, NewEvent, RunState, TaskRow};

/// What a task's view takes from its run and group.
pub struct TaskPlace<'a> {
    pub run_id: &'a RunId,
    pub first_task: TaskId,
    pub provider: &'a str,
    pub instance_type: &'a str,
    pub alias: &'a Alias,
}

/// A task that is in memory.
pub fn task_in(run: &RunState, id: TaskId) -> TaskView {
    let task = &run.tasks[&id];
    let group = &run.groups[task.group];
    let place = TaskPlace {
        run_id: &run.row.id,
        first_task: run.row.first_task,
        provider: &group.provider,
        instance_type: &group.instance_type,
        alias: &group.alias,
    };
    task_view(&place, task)
}

pub fn task_view(place: &TaskPlace<'_>, task: &TaskRow) -> TaskView {
    let lease = task.lease.as_ref();
    TaskView {
        id: task.id,
        run_id: place.run_id.clone(),
        provider: place.provider.to_owned(),
        instance_type: place.instance_type.to_owned(),
        alias: place.alias.clone(),
        number: task.number,
        position: u32::try_from(task.id - place.first_task).unwrap_or(u32::MAX),
        state: task.state,
        attempts: task.attempts,
        reason: task.reason.clone(),
        error_message: task.error_message.clone(),
        runner_id: task.runner_id().map(|id| id.to_string()),
        host: task.host().map(|host| host.to_string()),
        status: lease.and_then(|lease| lease.status.as_ref()).map(|status| status.to_string()),
        progress: lease.and_then(|lease| lease.progress),
        message: lease.and_then(|lease| lease.message.clone()),
        last_beat_at: lease.and_then(|lease| lease.beat_at).map(timestamp),
    }
}

pub fn attempt_view(attempt: AttemptRow) -> AttemptView {
    let (sha256, size) = attempt.upload.map(|upload| (upload.sha256, upload.size)).unzip();
    AttemptView {
        attempt: attempt.attempt,
        runner_id: attempt.runner_id.to_string(),
        host: attempt.host.to_string(),
        outcome: attempt.outcome,
        claimed_at: timestamp(attempt.claimed_at),
        ended_at: Some(timestamp(attempt.ended_at)),
        error_type: attempt.error_type,
        error_message: attempt.error_message,
        sha256,
        size,
        accepted: attempt.accepted,
    }
}

/// The attempt under way, which has no row of its own yet.
pub fn active_attempt(task: TaskRow) -> Option<AttemptView> {
    let lease = task.lease?;
    let (sha256, size) = lease.upload.map(|upload| (upload.sha256, upload.size)).unzip();
    Some(AttemptView {
        attempt: task.attempts,
        runner_id: lease.runner_id.to_string(),
        host: lease.host.to_string(),
        outcome: AttemptOutcome::Active,
        claimed_at: timestamp(lease.claimed_at),
        ended_at: None,
        error_type: None,
        error_message: None,
        sha256,
        size,
        accepted: false,
    })
}

/// The attempt's result, where it has one that was verified.
pub fn stored_result(alias: String, number: u32, attempt: AttemptRow) -> Option<StoredResult> {
    let upload = attempt.upload.filter(|upload| upload.verified)?;
    Some(StoredResult {
        task_id: attempt.task,
        alias,
        number,
        attempt: attempt.attempt,
        accepted: attempt.accepted,
        upload,
    })
}

pub fn event_view(run_id: &RunId, seq: i64, event: NewEvent) -> Event {
    Event {
        seq,
        run_id: run_id.clone(),
        at: timestamp(event.at),
        kind: event.kind,
        task_id: event.task_id,
        alias: event.alias,
        number: event.number,
        attempt: event.attempt,
        host: event.host.map(|host| host.to_string()),
        runner_id: event.runner_id.map(|id| id.to_string()),
        detail: event.detail,
    }
}

/// Where to begin for `count` events before the end. `batches` are first and last numbers of events that follow each
/// other, newest batch first.
pub fn before_latest(batches: impl IntoIterator<Item = (i64, i64)>, count: u32) -> i64 {
    let mut missing = i64::from(count);
    for (first, last) in batches {
        let events = last - first + 1;
        if events >= missing {
            return last - missing;
        }
        missing -= events;
    }
    0
}

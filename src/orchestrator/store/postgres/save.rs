//! Writing a batch: one statement for each table, all sent before the first answer is awaited.

use crate::api::{RunId, TaskId};
use crate::orchestrator::store::engine::BackendError;
use crate::orchestrator::store::rules::{BulkEnd, Changes, HostRow, Name, NewEvent, RunChange, RunnerRow};
use crate::orchestrator::store::view::event_view;
use crate::orchestrator::store::words::Word;

use super::backend::PostgresBackend;
use super::rows;
use super::session::{Session, Values};

/// The channel on which orchestrators tell each other of commits.
pub const CHANNEL: &str = "bench_store";

const SAVE_TASKS: &str = "UPDATE tasks t SET state = n.state, fence = n.fence, attempts = n.attempts, \
    free = n.free, failures = n.failures, lost_hosts = n.lost_hosts, runner_id = n.runner_id, host = n.host, \
    request_id = n.request_id, claimed_at = n.claimed_at, expires_at = n.expires_at, beat_at = n.beat_at, \
    status = n.status, progress = n.progress, message = n.message, upload_sha256 = n.upload_sha256, \
    upload_size = n.upload_size, upload_key = n.upload_key, upload_verified = n.upload_verified, \
    ended_fence = n.ended_fence, ended_outcome = n.ended_outcome, ended_sha256 = n.ended_sha256, \
    ended_runner = n.ended_runner, ended_host = n.ended_host, reason = n.reason, \
    error_message = n.error_message \
    FROM json_populate_recordset(NULL::tasks, $1::text::json) n WHERE t.id = n.id";
const SAVE_ATTEMPTS: &str =
    "INSERT INTO attempts SELECT * FROM json_populate_recordset(NULL::attempts, $1::text::json)";
const SAVE_GROUPS: &str = "UPDATE groups g SET pending = n.pending, claimed = n.claimed, \
    running = n.running, completed = n.completed, failed = n.failed, cancelled = n.cancelled, \
    head = n.head, wanted_at = n.wanted_at, settled = n.settled \
    FROM json_populate_recordset(NULL::groups, $1::text::json) n WHERE g.run = n.run AND g.grp = n.grp";
const SAVE_HOSTS: &str = "INSERT INTO hosts (run, host, version, provider, alias, stage, message, drained, \
    quick_failures, completed, seen_at) SELECT run, host, $2, provider, alias, stage, message, drained, \
    quick_failures, completed, seen_at FROM json_populate_recordset(NULL::hosts, $1::text::json) \
    ON CONFLICT (run, host) DO UPDATE SET version = excluded.version, provider = excluded.provider, \
    alias = excluded.alias, stage = excluded.stage, message = excluded.message, drained = excluded.drained, \
    quick_failures = excluded.quick_failures, completed = excluded.completed, seen_at = excluded.seen_at";
const SAVE_RUNNERS: &str = "INSERT INTO runners (run, runner_id, version, host, provider, instance_type, alias, \
    seen_at, gone) SELECT run, runner_id, $2, host, provider, instance_type, alias, seen_at, gone \
    FROM json_populate_recordset(NULL::runners, $1::text::json) \
    ON CONFLICT (run, runner_id) DO UPDATE SET version = excluded.version, host = excluded.host, \
    provider = excluded.provider, instance_type = excluded.instance_type, alias = excluded.alias, \
    seen_at = excluded.seen_at, gone = excluded.gone";

const FORGET_RUNNERS: &str = "DELETE FROM runners WHERE run = $1 AND runner_id = ANY($2)";
const FORGET_HOSTS: &str = "DELETE FROM hosts WHERE run = $1 AND host = ANY($2)";

/// Runs the statement on these rows, unless there are none.
async fn save_rows<T: serde::Serialize>(
    session: &Session,
    sql: &'static str,
    rows: Vec<T>,
) -> Result<(), BackendError> {
    if rows.is_empty() {
        return Ok(());
    }
    session.execute(sql, &[&serde_json::to_string(&rows)?]).await
}

async fn save_versioned<T: serde::Serialize>(
    session: &Session,
    sql: &'static str,
    rows: Vec<T>,
    version: i64,
) -> Result<(), BackendError> {
    if rows.is_empty() {
        return Ok(());
    }
    session.execute(sql, &[&serde_json::to_string(&rows)?, &version]).await
}

async fn end_in_bulk(session: &Session, run: i64, bulk: &[BulkEnd]) -> Result<(), BackendError> {
    let sql = "UPDATE tasks SET state = $1, reason = $2, fence = fence + 1 \
               WHERE run = $3 AND grp = $4 AND state = 'pending'";
    for end in bulk {
        let group = i32::try_from(end.group)?;
        session.execute(sql, &[&end.state.word(), &end.reason, &run, &group]).await?;
    }
    Ok(())
}

impl PostgresBackend {
    pub(super) async fn save_run(&mut self, changes: Changes) -> Result<(), BackendError> {
        self.batch.committed.wrote = true;
        self.batch.queue |= changes.queue;
        let touched = || changes.tasks.iter().chain(&changes.beats);
        let changed: Vec<TaskId> = touched().map(|task| task.id).collect();
        // What this commit writes carries its version: others load what is newer than they have seen.
        let version = self.turn.version + 1;
        let events = self.number_events(&changes.run_id, changes.events)?;
        let key = changes.run;
        let session = self.session()?;
        let tasks = touched().map(|task| rows::Task::from(&**task)).collect();
        let attempts = changes.attempts.into_iter().map(rows::Attempt::from).collect();
        let groups = changes.groups.iter().map(|group| rows::GroupChange::of(key, group)).collect();
        let named = |(name, host): &(Name, Option<HostRow>)| Some(rows::Host::of(key, name, host.as_ref()?));
        let hosts = changes.hosts.iter().filter_map(named).collect();
        let named =
            |(id, runner): &(Name, Option<RunnerRow>)| Some(rows::Runner::of(key, id, runner.as_ref()?));
        let runners = changes.runners.iter().filter_map(named).collect();
        let forgotten =
            changes.runners.iter().filter(|(_, row)| row.is_none()).map(|(id, _)| &**id).collect();
        let forgotten_hosts =
            changes.hosts.iter().filter(|(_, row)| row.is_none()).map(|(name, _)| &**name).collect();
        futures::try_join!(
            save_row(session, key, changes.row),
            save_rows::<rows::Task>(session, SAVE_TASKS, tasks),
            save_rows::<rows::Attempt>(session, SAVE_ATTEMPTS, attempts),
            save_rows::<rows::GroupChange>(session, SAVE_GROUPS, groups),
            save_versioned::<rows::Host>(session, SAVE_HOSTS, hosts, version),
            save_versioned::<rows::Runner>(session, SAVE_RUNNERS, runners, version),
            save_events(session, key, events),
            forget(session, FORGET_RUNNERS, key, forgotten),
            forget(session, FORGET_HOSTS, key, forgotten_hosts),
        )?;
        // After the tasks: one that came back in this very batch is pending now, and ends with the others.
        end_in_bulk(session, key, &changes.bulk).await?;
        self.batch.changes.push((key, changed));
        Ok(())
    }

    /// `(first, last, events as JSON)`, numbered on from the last event of the store.
    fn number_events(
        &mut self,
        run: &RunId,
        events: Vec<NewEvent>,
    ) -> Result<Option<(i64, i64, String)>, BackendError> {
        if events.is_empty() {
            return Ok(None);
        }
        let first = self.turn.next_event;
        let last = first + i64::try_from(events.len())? - 1;
        self.turn.next_event = last + 1;
        self.batch.committed.newest_event = Some(last);
        let views: Vec<_> = (first..).zip(events).map(|(seq, event)| event_view(run, seq, event)).collect();
        Ok(Some((first, last, serde_json::to_string(&views)?)))
    }

    /// Writes the row of `orchestrator` back, tells the others, and commits.
    pub(super) async fn commit_turn(&mut self, kept_changes: i64) -> Result<(), BackendError> {
        let session = self.session()?;
        let turn = self.turn;
        let mut changes: std::collections::BTreeMap<i64, Vec<TaskId>> = Default::default();
        for (run, tasks) in &self.batch.changes {
            changes.entry(*run).or_default().extend(tasks);
        }
        for (run, tasks) in &changes {
            let sql = "INSERT INTO changes (version, run, tasks) VALUES ($1, $2, $3)";
            session.execute(sql, &[&turn.version, run, tasks]).await?;
        }
        if self.batch.alive {
            let oldest = turn.version - kept_changes;
            session.execute("DELETE FROM changes WHERE version < $1", &[&oldest]).await?;
        }
        let write = "UPDATE orchestrator SET version = $1, next_run = $2, next_task = $3, next_event = $4, \
                     last_alive = $5";
        let newest = self.batch.committed.newest_event.unwrap_or(0);
        let note = format!("{} {newest} {}", self.instance, u8::from(self.batch.queue));
        let row: Values<'_> =
            &[&turn.version, &turn.next_run, &turn.next_task, &turn.next_event, &turn.last_alive];
        let notice: Values<'_> = &[&CHANNEL, &note];
        futures::try_join!(
            session.execute(write, row),
            session.execute("SELECT pg_notify($1, $2)", notice),
            session.execute("COMMIT", &[]),
        )?;
        Ok(())
    }
}

async fn save_row(session: &Session, run: i64, change: Option<RunChange>) -> Result<(), BackendError> {
    let Some(RunChange { status, finished_at, deadline }) = change else { return Ok(()) };
    let sql = "UPDATE runs SET status = $1, finished_at = $2, deadline = $3 WHERE key = $4";
    session.execute(sql, &[&status.word(), &finished_at, &deadline, &run]).await
}

async fn save_events(
    session: &Session,
    run: i64,
    events: Option<(i64, i64, String)>,
) -> Result<(), BackendError> {
    let Some((first, last, text)) = events else { return Ok(()) };
    let sql = "INSERT INTO events (seq, run, first_seq, events) VALUES ($1, $2, $3, $4)";
    session.execute(sql, &[&last, &run, &first, &text]).await
}

async fn forget(
    session: &Session,
    sql: &'static str,
    run: i64,
    names: Vec<&str>,
) -> Result<(), BackendError> {
    if names.is_empty() {
        return Ok(());
    }
    session.execute(sql, &[&run, &names]).await
}

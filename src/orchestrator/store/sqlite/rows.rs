//! Rows of SQLite to rows of the rules and back.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::api::{Alias, AttemptOutcome, HostStage, RunStatus, TaskCounts, TaskId, TaskState};
use crate::orchestrator::store::contract::Upload;
use crate::orchestrator::store::rules::{
    AttemptRow, Ended, GroupRow, HeldLease, HostRow, Name, RunRow, RunState, RunnerRow, Stored, TaskRow,
};
use crate::orchestrator::store::words::Word;

pub const TASK_COLUMNS: &str = "id, grp, number, state, fence, attempts, free, failures, lost_hosts, runner_id, \
     host, request_id, claimed_at, expires_at, beat_at, status, progress, message, upload_sha256, upload_size, \
     upload_key, upload_verified, ended_fence, ended_outcome, ended_sha256, ended_runner, ended_host, reason, \
     error_message";
pub const ATTEMPT_COLUMNS: &str = "task, attempt, runner_id, host, outcome, claimed_at, ended_at, error_type, \
     error_message, upload_sha256, upload_size, upload_key, upload_verified, accepted";
pub const RUN_COLUMNS: &str = "key, id, spec, status, created_at, finished_at, deadline, first_task, total";

/// Counts and sizes as SQLite keeps them; none comes near the limit.
pub fn as_i64(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// The number of the newest event; 0 before the first.
pub fn newest_event(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))
}

/// The number that the database's journal carries, and the newest of its records that the tables have.
pub fn journal(connection: &Connection) -> rusqlite::Result<(i64, u64)> {
    let sql = "SELECT journal, applied FROM orchestrator";
    let (id, applied): (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((id, u64::try_from(applied).map_err(|cause| invalid("applied", cause))?))
}

/// A value that this program did not write.
fn invalid(
    column: impl std::fmt::Display,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    let cause = format!("column {column}: {}", cause.into());
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause.into())
}

/// A column by its name or its place.
trait Column: rusqlite::RowIndex + Copy + std::fmt::Display {}
impl<T: rusqlite::RowIndex + Copy + std::fmt::Display> Column for T {}

fn word<T: Word>(row: &Row<'_>, column: impl Column) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    T::from_word(text).ok_or_else(|| invalid(column, format!("`{text}` is not known")))
}

fn json<T: serde::de::DeserializeOwned + Default>(row: &Row<'_>, column: impl Column) -> rusqlite::Result<T> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => serde_json::from_str(text).map_err(|cause| invalid(column, cause)),
        None => Ok(T::default()),
    }
}

pub fn alias(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Alias>> {
    let text: Option<String> = row.get(column)?;
    text.map(Alias::try_from).transpose().map_err(|cause| invalid(column, cause))
}

/// A list as JSON; nothing where it is empty, as it mostly is.
pub fn json_list<T: serde::Serialize>(list: &[T]) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    Some(serde_json::to_string(list).expect("lists of names and numbers are JSON"))
}

/// From the first columns of a row, which are [`TASK_COLUMNS`]: by their places, since
/// a look-up by name costs more than the value.
pub fn task(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    let state: TaskState = word(row, 3)?;
    let group: i64 = row.get(1)?;
    let held = matches!(state, TaskState::Claimed | TaskState::Running);
    Ok(TaskRow {
        id: row.get(0)?,
        group: usize::try_from(group).map_err(|cause| invalid("grp", cause))?,
        number: row.get(2)?,
        state,
        fence: row.get(4)?,
        attempts: row.get(5)?,
        free: row.get(6)?,
        failures: row.get(7)?,
        lost_hosts: json(row, 8)?,
        lease: if held { Some(lease(row)?) } else { None },
        ended: ended(row)?,
        reason: row.get(27)?,
        error_message: row.get(28)?,
    })
}

fn lease(row: &Row<'_>) -> rusqlite::Result<HeldLease> {
    Ok(HeldLease {
        runner_id: row.get(9)?,
        host: row.get(10)?,
        request_id: row.get(11)?,
        claimed_at: row.get(12)?,
        expires_at: row.get(13)?,
        beat_at: row.get(14)?,
        status: row.get(15)?,
        progress: row.get(16)?,
        message: row.get(17)?,
        upload: upload(row, 18)?,
    })
}

fn ended(row: &Row<'_>) -> rusqlite::Result<Option<Ended>> {
    let Some(fence) = row.get(22)? else { return Ok(None) };
    Ok(Some(Ended {
        fence,
        outcome: word::<AttemptOutcome>(row, 23)?,
        sha256: row.get(24)?,
        runner_id: row.get(25)?,
        host: row.get(26)?,
    }))
}

/// The four columns of an upload, the first of which is at `at`.
fn upload(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Upload>> {
    let Some(sha256) = row.get(at)? else { return Ok(None) };
    let size: i64 = row.get(at + 1)?;
    Ok(Some(Upload {
        sha256,
        size: u64::try_from(size).map_err(|cause| invalid("upload_size", cause))?,
        key: row.get(at + 2)?,
        verified: row.get(at + 3)?,
    }))
}

/// From the first columns of a row, which are [`ATTEMPT_COLUMNS`].
pub fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        task: row.get("task")?,
        attempt: row.get("attempt")?,
        runner_id: row.get("runner_id")?,
        host: row.get("host")?,
        outcome: word(row, "outcome")?,
        claimed_at: row.get("claimed_at")?,
        ended_at: row.get("ended_at")?,
        error_type: row.get("error_type")?,
        error_message: row.get("error_message")?,
        upload: upload(row, 9)?,
        accepted: row.get("accepted")?,
    })
}

pub fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let text: String = row.get("spec")?;
    let stored = Stored {
        status: word::<RunStatus>(row, "status")?,
        created_at: row.get("created_at")?,
        finished_at: row.get("finished_at")?,
        deadline: row.get("deadline")?,
        first_task: row.get("first_task")?,
        total: row.get("total")?,
    };
    RunRow::from_spec(row.get("key")?, text, stored).map_err(|cause| invalid("spec", cause))
}

pub fn counts(row: &Row<'_>) -> rusqlite::Result<TaskCounts> {
    let count = |column: &str| -> rusqlite::Result<u64> {
        let value: i64 = row.get(column)?;
        u64::try_from(value).map_err(|cause| invalid(column, cause))
    };
    Ok(TaskCounts {
        total: count("total")?,
        pending: count("pending")?,
        claimed: count("claimed")?,
        running: count("running")?,
        completed: count("completed")?,
        failed: count("failed")?,
        cancelled: count("cancelled")?,
    })
}

fn group(row: &Row<'_>) -> rusqlite::Result<GroupRow> {
    let head: TaskId = row.get("head")?;
    Ok(GroupRow {
        provider: row.get("provider")?,
        instance_type: row.get("instance_type")?,
        alias: alias(row, "alias")?.ok_or_else(|| invalid("alias", "is missing"))?,
        counts: counts(row)?,
        head,
        wanted_at: row.get("wanted_at")?,
        settled: row.get("settled")?,
        queue: Default::default(),
        fetched_to: head,
    })
}

fn host(row: &Row<'_>) -> rusqlite::Result<(Name, HostRow)> {
    let host = HostRow {
        provider: row.get("provider")?,
        alias: alias(row, "alias")?,
        stage: word::<HostStage>(row, "stage")?,
        message: row.get("message")?,
        drained: row.get("drained")?,
        quick_failures: json(row, "quick_failures")?,
        completed: row.get("completed")?,
        seen_at: row.get("seen_at")?,
    };
    Ok((row.get("host")?, host))
}

fn runner(row: &Row<'_>) -> rusqlite::Result<(Name, RunnerRow)> {
    let seen_at = row.get("seen_at")?;
    let runner = RunnerRow {
        host: row.get("host")?,
        provider: row.get("provider")?,
        instance_type: row.get("instance_type")?,
        alias: alias(row, "alias")?,
        seen_at,
        gone: row.get("gone")?,
        saved_at: seen_at,
    };
    Ok((row.get("runner_id")?, runner))
}

pub fn groups(connection: &Connection, key: i64) -> rusqlite::Result<Vec<GroupRow>> {
    let mut statement = connection.prepare_cached("SELECT * FROM groups WHERE run = ? ORDER BY grp")?;
    statement.query_map([key], group)?.collect()
}

/// The run with its groups, hosts, runners and handed-out tasks. `find` is a condition on `runs`.
pub fn load_run(
    connection: &Connection,
    find: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Option<RunState>> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE {find}");
    let found = connection.prepare_cached(&sql)?.query_row([value], run).optional()?;
    let Some(row) = found else { return Ok(None) };
    let (key, over) = (row.key, row.status.is_final());
    let tasks = (row.first_task, row.first_task + TaskId::from(row.total));
    let mut state = RunState::new(row, groups(connection, key)?);
    let mut hosts = connection.prepare_cached("SELECT * FROM hosts WHERE run = ?")?;
    state.hosts = hosts.query_map([key], host)?.collect::<rusqlite::Result<_>>()?;
    let mut runners = connection.prepare_cached("SELECT * FROM runners WHERE run = ?")?;
    state.runners = runners.query_map([key], runner)?.collect::<rusqlite::Result<_>>()?;
    if !over {
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM tasks WHERE id >= ? AND id < ? AND state IN ('claimed', 'running')"
        );
        let mut active = connection.prepare_cached(&sql)?;
        for row in active.query_map([tasks.0, tasks.1], task)? {
            state.take_in(row?);
        }
        state.recount();
    }
    Ok(Some(state))
}

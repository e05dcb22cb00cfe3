//! Rows of the rules to rows of SQLite, statement by statement on the writing connection.

use std::io;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB, params};

use crate::api::TaskId;
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{BackendError, NewRun};
use crate::orchestrator::store::order::interleaved;
use crate::orchestrator::store::rules::{BulkEnd, RunKey, RunState};
use crate::orchestrator::store::words::Word;

use super::log::Log;
use super::record::EventBatch;
use super::rows::{self, as_i64};
use super::work::{RunWork, Work};

/// Rows written between two rests: less than half a millisecond's work.
const PIECE: usize = 64;

pub struct Saver {
    connection: Connection,
    log: Option<Log>,
}

type Saved = rusqlite::Result<()>;

impl Saver {
    /// What is synced is the `log`; without one that is left to the operating system.
    pub fn new(connection: Connection, log: Option<Log>) -> Saver {
        Saver { connection, log }
    }

    pub fn into_connection(self) -> Connection {
        self.connection
    }

    pub fn begin(&self) -> Saved {
        self.execute("BEGIN IMMEDIATE", [])
    }

    pub fn commit(&self) -> Saved {
        self.execute("COMMIT", [])
    }

    /// Returns when what was committed is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.log.as_ref().map_or(Ok(()), Log::sync)
    }

    /// Takes the write-ahead log into the database and empties it; waits a little for readers.
    pub fn take_log_in(&self) -> rusqlite::Result<()> {
        self.connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::TRUNCATE).map(|_| ())
    }

    pub fn rollback(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK", [])
        {
            tracing::error!(%error, "could not roll a failed transaction back");
        }
    }

    pub fn save_alive(&self, now: Millis) -> Saved {
        self.execute("UPDATE orchestrator SET last_alive = ?", [now])
    }

    /// `rest` is called now and then meanwhile.
    pub fn save(&self, work: &Work, rest: &dyn Fn()) -> Result<(), BackendError> {
        for (key, run) in &work.runs {
            self.save_run(*key, run, rest)?;
        }
        for events in in_pieces(&work.events, rest) {
            self.save_events(events)?;
        }
        if let Some(now) = work.alive {
            self.save_alive(now)?;
        }
        self.execute("UPDATE orchestrator SET applied = ?", [as_i64(work.newest)])?;
        Ok(())
    }

    fn save_run(&self, key: RunKey, run: &RunWork, rest: &dyn Fn()) -> Saved {
        if let Some(row) = run.row {
            let sql = "UPDATE runs SET status = ?, finished_at = ?, deadline = ? WHERE key = ?";
            self.execute(sql, params![row.status.word(), row.finished_at, row.deadline, key])?;
        }
        self.save_tasks(run, rest)?;
        self.save_attempts(run, rest)?;
        for bulk in &run.bulk {
            self.save_bulk(key, bulk)?;
        }
        self.save_groups(key, run, rest)?;
        self.save_hosts(key, run, rest)?;
        self.save_runners(key, run, rest)
    }

    /// Inserts the run with its groups and tasks.
    pub fn insert_run(&self, new: NewRun) -> Result<RunState, BackendError> {
        let total: u32 = new.run.tasks.iter().map(|group| group.count).sum();
        let first = self.allocate_tasks(i64::from(total))?;
        let sql =
            "INSERT INTO runs (id, spec, status, created_at, first_task, total) VALUES (?, ?, ?, ?, ?, ?)";
        let status = crate::api::RunStatus::Running.word();
        self.execute(sql, params![new.run.run_id.as_str(), new.spec, status, new.now, first, total])?;
        let key = self.connection.last_insert_rowid();
        let run = RunState::create(&new.run, new.spec, key, first, new.now);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO groups (run, grp, provider, instance_type, alias, total, pending, claimed, running, \
             completed, failed, cancelled, head, wanted_at, settled) \
             VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, ?, ?, ?)",
        )?;
        for (index, group) in run.groups.iter().enumerate() {
            let alias = group.alias.as_str();
            let total = as_i64(group.counts.total);
            insert.execute(params![
                key,
                as_i64(index),
                group.provider,
                group.instance_type,
                alias,
                total,
                total,
                group.head,
                group.wanted_at,
                group.settled
            ])?;
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO tasks (id, run, grp, number, state) VALUES (?, ?, ?, ?, 'pending')",
        )?;
        let counts: Vec<u32> = new.run.tasks.iter().map(|group| group.count).collect();
        for (id, slot) in (first..).zip(interleaved(new.run.seed, &counts)) {
            insert.execute(params![id, key, as_i64(slot.group), slot.number])?;
        }
        Ok(run)
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Saved {
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Takes ids for so many tasks; the first is returned.
    fn allocate_tasks(&self, count: i64) -> rusqlite::Result<TaskId> {
        let sql = "UPDATE orchestrator SET next_task = next_task + ? RETURNING next_task - ?";
        self.connection.prepare_cached(sql)?.query_row([count, count], |row| row.get(0))
    }
}

impl Saver {
    fn save_tasks(&self, run: &RunWork, rest: &dyn Fn()) -> Saved {
        let mut all = self.connection.prepare_cached(
            "UPDATE tasks SET state = ?, fence = ?, attempts = ?, free = ?, failures = ?, lost_hosts = ?, \
             runner_id = ?, host = ?, request_id = ?, claimed_at = ?, expires_at = ?, beat_at = ?, status = ?, \
             progress = ?, message = ?, upload_sha256 = ?, upload_size = ?, upload_key = ?, upload_verified = ?, \
             ended_fence = ?, ended_outcome = ?, ended_sha256 = ?, ended_runner = ?, ended_host = ?, \
             reason = ?, error_message = ? WHERE id = ?",
        )?;
        for task in in_pieces(run.tasks.values(), rest) {
            let lease = task.lease.as_ref();
            let upload = lease.and_then(|lease| lease.upload.as_ref());
            let ended = task.ended.as_ref();
            all.execute(params![
                task.state.word(),
                task.fence,
                task.attempts,
                task.free,
                task.failures,
                rows::json_list(&task.lost_hosts),
                lease.map(|lease| &lease.runner_id),
                lease.map(|lease| &lease.host),
                lease.and_then(|lease| lease.request_id.as_ref()),
                lease.map(|lease| lease.claimed_at),
                lease.map(|lease| lease.expires_at),
                lease.and_then(|lease| lease.beat_at),
                lease.and_then(|lease| lease.status.as_ref()),
                lease.and_then(|lease| lease.progress),
                lease.and_then(|lease| lease.message.as_ref()),
                upload.map(|upload| &upload.sha256),
                upload.map(|upload| as_i64(upload.size)),
                upload.map(|upload| &upload.key),
                upload.map(|upload| upload.verified),
                ended.map(|ended| ended.fence),
                ended.map(|ended| ended.outcome.word()),
                ended.and_then(|ended| ended.sha256.as_ref()),
                ended.map(|ended| &ended.runner_id),
                ended.map(|ended| &ended.host),
                task.reason,
                task.error_message,
                task.id,
            ])?;
        }
        Ok(())
    }

    fn save_attempts(&self, run: &RunWork, rest: &dyn Fn()) -> Saved {
        let mut all = self.connection.prepare_cached(&format!(
            "INSERT INTO attempts ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows::ATTEMPT_COLUMNS
        ))?;
        for attempt in in_pieces(&run.attempts, rest) {
            let upload = attempt.upload.as_ref();
            all.execute(params![
                attempt.task,
                attempt.attempt,
                attempt.runner_id,
                attempt.host,
                attempt.outcome.word(),
                attempt.claimed_at,
                attempt.ended_at,
                attempt.error_type,
                attempt.error_message,
                upload.map(|upload| &upload.sha256),
                upload.map(|upload| as_i64(upload.size)),
                upload.map(|upload| &upload.key),
                upload.map(|upload| upload.verified),
                attempt.accepted,
            ])?;
        }
        Ok(())
    }

    fn save_bulk(&self, key: RunKey, bulk: &BulkEnd) -> Saved {
        let sql = "UPDATE tasks SET state = ?, reason = ?, fence = fence + 1 \
                   WHERE run = ? AND grp = ? AND state = 'pending'";
        self.execute(sql, params![bulk.state.word(), bulk.reason, key, as_i64(bulk.group)])
    }

    fn save_groups(&self, key: RunKey, run: &RunWork, rest: &dyn Fn()) -> Saved {
        let sql = "UPDATE groups SET pending = ?, claimed = ?, running = ?, completed = ?, failed = ?, \
                   cancelled = ?, head = ?, wanted_at = ?, settled = ? WHERE run = ? AND grp = ?";
        for group in in_pieces(run.groups.values(), rest) {
            let counts = &group.counts;
            let values = params![
                as_i64(counts.pending),
                as_i64(counts.claimed),
                as_i64(counts.running),
                as_i64(counts.completed),
                as_i64(counts.failed),
                as_i64(counts.cancelled),
                group.head,
                group.wanted_at,
                group.settled,
                key,
                as_i64(group.group),
            ];
            self.execute(sql, values)?;
        }
        Ok(())
    }

    fn save_hosts(&self, key: RunKey, run: &RunWork, rest: &dyn Fn()) -> Saved {
        let sql = "INSERT OR REPLACE INTO hosts (run, host, provider, alias, stage, message, drained, \
                   quick_failures, completed, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        for (name, host) in in_pieces(&run.hosts, rest) {
            let Some(host) = host else {
                self.execute("DELETE FROM hosts WHERE run = ? AND host = ?", params![key, name])?;
                continue;
            };
            let values = params![
                key,
                name,
                host.provider,
                host.alias.as_ref().map(|alias| alias.as_str()),
                host.stage.word(),
                host.message,
                host.drained,
                rows::json_list(&host.quick_failures),
                host.completed,
                host.seen_at,
            ];
            self.execute(sql, values)?;
        }
        Ok(())
    }

    fn save_runners(&self, key: RunKey, run: &RunWork, rest: &dyn Fn()) -> Saved {
        let sql = "INSERT OR REPLACE INTO runners (run, runner_id, host, provider, instance_type, alias, \
                   seen_at, gone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        for (id, runner) in in_pieces(&run.runners, rest) {
            let Some(runner) = runner else {
                let forget = "DELETE FROM runners WHERE run = ? AND runner_id = ?";
                self.execute(forget, params![key, id])?;
                continue;
            };
            let values = params![
                key,
                id,
                runner.host,
                runner.provider,
                runner.instance_type,
                runner.alias.as_ref().map(|alias| alias.as_str()),
                runner.seen_at,
                runner.gone,
            ];
            self.execute(sql, values)?;
        }
        Ok(())
    }

    fn save_events(&self, events: &EventBatch) -> Result<(), BackendError> {
        let text = events.to_json()?;
        let sql = "INSERT INTO events (seq, run, first_seq, events) VALUES (?, ?, ?, ?)";
        Ok(self.execute(sql, params![events.last(), events.run, events.first, text])?)
    }
}

/// Goes through rows with a rest after each [`PIECE`] of them.
fn in_pieces<T>(rows: impl IntoIterator<Item = T>, rest: &dyn Fn()) -> impl Iterator<Item = T> {
    rows.into_iter().enumerate().map(move |(count, row)| {
        if count % PIECE == PIECE - 1 {
            rest();
        }
        row
    })
}

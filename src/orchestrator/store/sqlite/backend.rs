//! The writing side: loads rows, saves rows, commits.

use rusqlite::{Connection, OptionalExtension, params};

use crate::api::{RunId, TaskId};
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{Backend, BackendError, Committed, FindRun, NewRun, State};
use crate::orchestrator::store::order::interleaved;
use crate::orchestrator::store::rules::{
    AttemptRow, BulkEnd, Dirty, NewEvent, RunKey, RunState, TaskRow, Touch,
};
use crate::orchestrator::store::view::event_view;
use crate::orchestrator::store::words::Word;

use super::lock::FileLock;
use super::rows;

pub struct SqliteBackend {
    connection: Connection,
    committed: Committed,
    _lock: FileLock,
}

type Saved = rusqlite::Result<()>;

impl SqliteBackend {
    pub fn new(connection: Connection, lock: FileLock) -> SqliteBackend {
        SqliteBackend { connection, committed: Committed::default(), _lock: lock }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Saved {
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Takes `count` numbers out of a column of the single row of `orchestrator`; the first is returned.
    fn allocate(&self, column: &str, count: i64) -> rusqlite::Result<i64> {
        let sql = format!("UPDATE orchestrator SET {column} = {column} + ? RETURNING {column} - ?");
        self.connection.prepare_cached(&sql)?.query_row([count, count], |row| row.get(0))
    }
}

impl Backend for SqliteBackend {
    const SHARED: bool = false;

    async fn begin(&mut self, _state: &mut State) -> Result<(), BackendError> {
        self.committed = Committed::default();
        Ok(self.execute("BEGIN IMMEDIATE", [])?)
    }

    async fn load_run(&mut self, find: FindRun<'_>) -> Result<Option<RunState>, BackendError> {
        let found = match find {
            FindRun::Id(id) => rows::load_run(&self.connection, "id = ?", &id.as_str())?,
            FindRun::Key(key) => rows::load_run(&self.connection, "key = ?", &key)?,
            FindRun::OfTask(task) => {
                let find = "first_task = (SELECT max(first_task) FROM runs WHERE first_task <= ?)";
                rows::load_run(&self.connection, find, &task)?.filter(|run| run.owns(task))
            }
        };
        Ok(found)
    }

    async fn running(&mut self) -> Result<Vec<RunKey>, BackendError> {
        let mut statement =
            self.connection.prepare_cached("SELECT key FROM runs WHERE status = 'running'")?;
        let keys = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    async fn load_task(&mut self, id: TaskId) -> Result<Option<TaskRow>, BackendError> {
        let sql = format!("SELECT {} FROM tasks WHERE id = ?", rows::TASK_COLUMNS);
        Ok(self.connection.prepare_cached(&sql)?.query_row([id], rows::task).optional()?)
    }

    async fn load_pending(
        &mut self,
        run: RunKey,
        group: usize,
        from: TaskId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, BackendError> {
        let sql = format!(
            "SELECT {} FROM tasks WHERE run = ? AND grp = ? AND id >= ? AND state = 'pending' ORDER BY id LIMIT ?",
            rows::TASK_COLUMNS
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map(params![run, as_i64(group), from, limit], rows::task)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    async fn insert_run(&mut self, new: NewRun<'_>) -> Result<RunState, BackendError> {
        let total: u32 = new.run.tasks.iter().map(|group| group.count).sum();
        let first = self.allocate("next_task", i64::from(total))?;
        let sql =
            "INSERT INTO runs (id, spec, status, created_at, first_task, total) VALUES (?, ?, ?, ?, ?, ?)";
        let status = crate::api::RunStatus::Running.word();
        self.execute(sql, params![new.run.run_id.as_str(), new.spec, status, new.now, first, total])?;
        let key = self.connection.last_insert_rowid();
        let run = RunState::create(new.run, new.spec, key, first, new.now);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO groups (run, grp, provider, instance_type, alias, total, pending, claimed, running, \
             completed, failed, cancelled, head, wanted_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, ?, ?)",
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
                group.wanted_at
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

    async fn save(&mut self, run: &mut RunState) -> Result<(), BackendError> {
        let dirty = std::mem::take(&mut run.dirty);
        self.committed.wrote = true;
        if dirty.run {
            let sql = "UPDATE runs SET status = ?, finished_at = ?, deadline = ? WHERE key = ?";
            let row = &run.row;
            self.execute(sql, params![row.status.word(), row.finished_at, row.deadline, row.key])?;
        }
        self.save_tasks(run, &dirty)?;
        for attempt in &dirty.attempts {
            self.save_attempt(attempt)?;
        }
        for bulk in &dirty.bulk {
            self.save_bulk(run.row.key, bulk)?;
        }
        self.save_groups(run, &dirty)?;
        self.save_hosts(run, &dirty)?;
        self.save_runners(run, &dirty)?;
        self.save_events(run.row.key, &run.row.id, dirty.events)?;
        Ok(())
    }

    async fn last_alive(&mut self) -> Result<Option<Millis>, BackendError> {
        let sql = "SELECT last_alive FROM orchestrator";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    async fn save_alive(&mut self, now: Millis) -> Result<(), BackendError> {
        self.committed.wrote = true;
        Ok(self.execute("UPDATE orchestrator SET last_alive = ?", [now])?)
    }

    async fn commit(&mut self) -> Result<Committed, BackendError> {
        self.execute("COMMIT", [])?;
        Ok(std::mem::take(&mut self.committed))
    }

    async fn rollback(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK", [])
        {
            tracing::error!(%error, "could not roll a failed batch back");
        }
    }
}

impl SqliteBackend {
    fn save_tasks(&self, run: &RunState, dirty: &Dirty) -> Saved {
        let mut beat = self.connection.prepare_cached(
            "UPDATE tasks SET expires_at = ?, beat_at = ?, status = ?, progress = ?, message = ? WHERE id = ?",
        )?;
        let mut all = self.connection.prepare_cached(
            "UPDATE tasks SET state = ?, fence = ?, attempts = ?, free = ?, failures = ?, lost_hosts = ?, \
             runner_id = ?, host = ?, request_id = ?, claimed_at = ?, expires_at = ?, beat_at = ?, status = ?, \
             progress = ?, message = ?, upload_sha256 = ?, upload_size = ?, upload_key = ?, upload_verified = ?, \
             ended_fence = ?, ended_outcome = ?, ended_sha256 = ?, ended_runner = ?, ended_host = ?, \
             reason = ?, error_message = ? WHERE id = ?",
        )?;
        for (id, touch) in &dirty.tasks {
            let Some(task) = run.tasks.get(id) else { continue };
            let lease = task.lease.as_ref();
            if let (Touch::Beat, Some(lease)) = (touch, lease) {
                beat.execute(params![
                    lease.expires_at,
                    lease.beat_at,
                    lease.status,
                    lease.progress,
                    lease.message,
                    id
                ])?;
                continue;
            }
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
                id,
            ])?;
        }
        Ok(())
    }

    fn save_attempt(&self, attempt: &AttemptRow) -> Saved {
        let upload = attempt.upload.as_ref();
        let sql = format!(
            "INSERT INTO attempts ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows::ATTEMPT_COLUMNS
        );
        let values = params![
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
        ];
        self.execute(&sql, values)
    }

    fn save_bulk(&self, key: RunKey, bulk: &BulkEnd) -> Saved {
        let sql = "UPDATE tasks SET state = ?, reason = ?, fence = fence + 1 \
                   WHERE run = ? AND grp = ? AND state = 'pending'";
        self.execute(sql, params![bulk.state.word(), bulk.reason, key, as_i64(bulk.group)])
    }

    fn save_groups(&self, run: &RunState, dirty: &Dirty) -> Saved {
        let sql = "UPDATE groups SET pending = ?, claimed = ?, running = ?, completed = ?, failed = ?, \
                   cancelled = ?, head = ?, wanted_at = ? WHERE run = ? AND grp = ?";
        for &index in &dirty.groups {
            let group = &run.groups[index];
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
                run.row.key,
                as_i64(index),
            ];
            self.execute(sql, values)?;
        }
        Ok(())
    }

    fn save_hosts(&self, run: &RunState, dirty: &Dirty) -> Saved {
        let sql = "INSERT OR REPLACE INTO hosts (run, host, provider, alias, stage, message, drained, \
                   quick_failures, completed, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        for name in &dirty.hosts {
            let Some(host) = run.hosts.get(name) else {
                self.execute("DELETE FROM hosts WHERE run = ? AND host = ?", params![run.row.key, name])?;
                continue;
            };
            let values = params![
                run.row.key,
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

    fn save_runners(&self, run: &RunState, dirty: &Dirty) -> Saved {
        let sql = "INSERT OR REPLACE INTO runners (run, runner_id, host, provider, instance_type, alias, \
                   seen_at, gone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        for id in &dirty.runners {
            let Some(runner) = run.runners.get(id) else {
                let forget = "DELETE FROM runners WHERE run = ? AND runner_id = ?";
                self.execute(forget, params![run.row.key, id])?;
                continue;
            };
            let values = params![
                run.row.key,
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

    fn save_events(&mut self, key: RunKey, id: &RunId, events: Vec<NewEvent>) -> Result<(), BackendError> {
        if events.is_empty() {
            return Ok(());
        }
        let first = self.allocate("next_event", as_i64(events.len()))?;
        let last = first + as_i64(events.len()) - 1;
        let views: Vec<_> = (first..).zip(events).map(|(seq, event)| event_view(id, seq, event)).collect();
        let text = serde_json::to_string(&views)?;
        let sql = "INSERT INTO events (seq, run, first_seq, events) VALUES (?, ?, ?, ?)";
        self.execute(sql, params![last, key, first, text])?;
        self.committed.newest_event = Some(last);
        Ok(())
    }
}

/// Counts and sizes as SQLite keeps them; none comes near the limit.
fn as_i64(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

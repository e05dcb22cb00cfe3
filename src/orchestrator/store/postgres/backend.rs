//! The writing side: takes its turn, catches up with the others, loads rows, commits.

use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;

use crate::api::TaskId;
use crate::orchestrator::store::Durability;
use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{
    Backend, BackendError, Commit, Committed, FindRun, Insertion, NewRun, State,
};
use crate::orchestrator::store::order::interleaved;
use crate::orchestrator::store::rules::{Changes, GroupRow, RunKey, RunNews, RunState, TaskRow};
use crate::orchestrator::store::words::Word;

use super::rows;
use super::session::{Session, Values};

/// Batches that `changes` tells about; an orchestrator that missed more loads everything anew.
const KEPT_CHANGES: i64 = 10_000;
/// Bytes of tasks sent at a time when a run is made.
const COPY_CHUNK: usize = 64 * 1024;

pub struct PostgresBackend {
    url: String,
    durability: Durability,
    /// Told to listeners, who skip what they sent themselves.
    pub(super) instance: String,
    pub(super) session: Option<Session>,
    /// The row of `orchestrator`, valid while its lock is held.
    pub(super) turn: Turn,
    /// The batch that `State` was last brought up to.
    seen: i64,
    pub(super) batch: Batch,
}

/// The single row of `orchestrator`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    pub version: i64,
    pub next_run: i64,
    pub next_task: i64,
    pub next_event: i64,
    pub last_alive: Option<Millis>,
}

/// What the batch under way has done so far.
#[derive(Debug, Default)]
pub struct Batch {
    pub committed: Committed,
    /// Runs that were saved, each with the tasks that changed.
    pub changes: Vec<(RunKey, Vec<TaskId>)>,
    pub queue: bool,
    pub alive: bool,
}

impl PostgresBackend {
    pub fn new(url: String, durability: Durability, instance: String, session: Session) -> PostgresBackend {
        PostgresBackend {
            url,
            durability,
            instance,
            session: Some(session),
            turn: Turn::default(),
            seen: -1,
            batch: Batch::default(),
        }
    }

    pub(super) fn session(&self) -> Result<&Session, BackendError> {
        self.session.as_ref().ok_or_else(|| "the connection to PostgreSQL is gone".into())
    }

    async fn take_turn(&mut self) -> Result<Turn, BackendError> {
        let session = self.session()?;
        let lock = "SELECT version, next_run, next_task, next_event, last_alive FROM orchestrator FOR UPDATE";
        // Sent in one go: the lock is asked for before the answer to BEGIN has come back.
        let (_, rows) = futures::try_join!(session.execute("BEGIN", &[]), session.rows(lock, &[]))?;
        let row = rows.first().ok_or("the table `orchestrator` is empty")?;
        Ok(Turn {
            version: row.try_get(0)?,
            next_run: row.try_get(1)?,
            next_task: row.try_get(2)?,
            next_event: row.try_get(3)?,
            last_alive: row.try_get(4)?,
        })
    }

    async fn connect_anew(&mut self) -> Result<(), BackendError> {
        self.session = None;
        self.session = Some(Session::connect(&self.url, self.durability).await?);
        tracing::info!("connected to PostgreSQL anew");
        Ok(())
    }

    /// Brings the rows in memory up to date with what others committed since the last turn.
    async fn catch_up(&mut self, state: &mut State) -> Result<(), BackendError> {
        let session = self.session()?;
        let sql = "SELECT version, run, tasks FROM changes WHERE version > $1 ORDER BY version";
        let rows = session.rows(sql, &[&self.seen]).await?;
        let first = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose()?;
        if first != Some(self.seen + 1) {
            // Too long ago, or the first turn on this connection.
            state.clear();
            return Ok(());
        }
        let mut changed: std::collections::BTreeMap<RunKey, Vec<TaskId>> = Default::default();
        for row in &rows {
            changed.entry(row.try_get(1)?).or_default().extend(row.try_get::<_, Vec<TaskId>>(2)?);
        }
        for (key, tasks) in changed {
            if state.contains(key) {
                let news = self.news(key, tasks).await?;
                state.run(key).refresh(news);
            } else if let Some(run) = self.load_run(FindRun::Key(key)).await? {
                state.insert(run);
            }
        }
        Ok(())
    }

    async fn news(&self, key: RunKey, tasks: Vec<TaskId>) -> Result<RunNews, BackendError> {
        let session = self.session()?;
        let of_run: Values<'_> = &[&key];
        let of_tasks: Values<'_> = &[&tasks];
        let newer: Values<'_> = &[&key, &self.seen];
        let (runs, groups, tasks, hosts, runners) = futures::try_join!(
            session.json::<rows::Run>(SELECT_RUN, of_run),
            session.json::<rows::Group>(SELECT_GROUPS, of_run),
            session.json::<rows::Task>(SELECT_TASKS, of_tasks),
            session.json::<rows::Host>(SELECT_HOSTS, newer),
            session.json::<rows::Runner>(SELECT_RUNNERS, newer),
        )?;
        let run = runs.into_iter().next().ok_or("a run that changed is gone")?;
        Ok(RunNews {
            row: run.into_row()?,
            groups: groups.into_iter().map(GroupRow::from).collect(),
            tasks: tasks.into_iter().map(TaskRow::from).collect(),
            hosts: hosts.into_iter().map(rows::Host::named).collect(),
            runners: runners.into_iter().map(rows::Runner::named).collect(),
        })
    }

    async fn find(&self, find: FindRun<'_>) -> Result<Option<rows::Run>, BackendError> {
        let session = self.session()?;
        let found = match find {
            FindRun::Id(id) => {
                let sql = "SELECT to_json(r)::text FROM runs r WHERE id = $1";
                session.json(sql, &[&id.as_str()]).await?
            }
            FindRun::Key(key) => session.json(SELECT_RUN, &[&key]).await?,
            FindRun::OfTask(task) => {
                let sql = "SELECT to_json(r)::text FROM runs r WHERE first_task <= $1 \
                           ORDER BY first_task DESC LIMIT 1";
                session.json(sql, &[&task]).await?
            }
        };
        Ok(found.into_iter().next())
    }
}

const SELECT_RUN: &str = "SELECT to_json(r)::text FROM runs r WHERE key = $1";
const SELECT_TASKS: &str = "SELECT to_json(t)::text FROM tasks t WHERE id = ANY($1)";
const SELECT_GROUPS: &str = "SELECT to_json(g)::text FROM groups g WHERE run = $1 ORDER BY grp";
const SELECT_HOSTS: &str = "SELECT to_json(h)::text FROM hosts h WHERE run = $1 AND version > $2";
const SELECT_RUNNERS: &str = "SELECT to_json(r)::text FROM runners r WHERE run = $1 AND version > $2";
const SELECT_ACTIVE: &str =
    "SELECT to_json(t)::text FROM tasks t WHERE run = $1 AND state IN ('claimed', 'running')";

impl Backend for PostgresBackend {
    const SHARED: bool = true;

    async fn begin(&mut self, state: &mut State) -> Result<(), BackendError> {
        self.batch = Batch::default();
        let turn = match self.take_turn().await {
            // The server was restarted, or the line cut: once more on a new connection.
            Err(_) if self.session.as_ref().is_none_or(|session| session.client.is_closed()) => {
                self.connect_anew().await?;
                self.take_turn().await?
            }
            turn => turn?,
        };
        self.turn = turn;
        if turn.version != self.seen {
            self.catch_up(state).await?;
        }
        Ok(())
    }

    async fn load_run(&mut self, find: FindRun<'_>) -> Result<Option<RunState>, BackendError> {
        let Some(run) = self.find(find).await? else { return Ok(None) };
        let row = run.into_row()?;
        let (key, over) = (row.key, row.status.is_final());
        let session = self.session()?;
        let of_run: Values<'_> = &[&key];
        let all: Values<'_> = &[&key, &-1i64];
        let (groups, hosts, runners) = futures::try_join!(
            session.json::<rows::Group>(SELECT_GROUPS, of_run),
            session.json::<rows::Host>(SELECT_HOSTS, all),
            session.json::<rows::Runner>(SELECT_RUNNERS, all),
        )?;
        let mut state = RunState::new(row, groups.into_iter().map(GroupRow::from).collect());
        if let FindRun::OfTask(task) = find
            && !state.owns(task)
        {
            return Ok(None);
        }
        state.hosts = hosts.into_iter().map(rows::Host::named).collect();
        state.runners = runners.into_iter().map(rows::Runner::named).collect();
        if !over {
            for task in session.json::<rows::Task>(SELECT_ACTIVE, &[&key]).await? {
                state.take_in(task.into());
            }
        }
        Ok(Some(state))
    }

    async fn running(&mut self) -> Result<Vec<RunKey>, BackendError> {
        let rows = self.session()?.rows("SELECT key FROM runs WHERE status = 'running'", &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn load_task(&mut self, id: TaskId) -> Result<Option<TaskRow>, BackendError> {
        let sql = "SELECT to_json(t)::text FROM tasks t WHERE id = $1";
        let found = self.session()?.json::<rows::Task>(sql, &[&id]).await?;
        Ok(found.into_iter().next().map(TaskRow::from))
    }

    async fn load_pending(
        &mut self,
        run: RunKey,
        group: usize,
        from: TaskId,
        limit: u32,
    ) -> Result<Vec<TaskRow>, BackendError> {
        let sql = "SELECT to_json(t)::text FROM tasks t \
                   WHERE run = $1 AND grp = $2 AND id >= $3 AND state = 'pending' ORDER BY id LIMIT $4";
        let (group, limit) = (i32::try_from(group)?, i64::from(limit));
        let found = self.session()?.json::<rows::Task>(sql, &[&run, &group, &from, &limit]).await?;
        Ok(found.into_iter().map(TaskRow::from).collect())
    }

    async fn insert_run(&mut self, new: NewRun) -> Result<Insertion, BackendError> {
        let total: u32 = new.run.tasks.iter().map(|group| group.count).sum();
        let (key, first) = (self.turn.next_run, self.turn.next_task);
        self.turn.next_run += 1;
        self.turn.next_task += i64::from(total);
        let run = RunState::create(&new.run, new.spec, key, first, new.now);
        let session = self.session()?;
        let sql = "INSERT INTO runs (key, id, spec, status, created_at, first_task, total) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let status = run.row.status.word();
        let (id, spec, total) = (run.row.id.as_str(), &run.row.spec, i32::try_from(total)?);
        session.execute(sql, &[&key, &id, spec, &status, &new.now, &first, &total]).await?;
        let groups: Vec<rows::Group> =
            run.groups.iter().enumerate().map(|(index, group)| rows::Group::of(key, index, group)).collect();
        let sql = "INSERT INTO groups SELECT * FROM json_populate_recordset(NULL::groups, $1::text::json)";
        session.execute(sql, &[&serde_json::to_string(&groups)?]).await?;

        let sink = session.client.copy_in("COPY tasks (id, run, grp, number) FROM STDIN").await?;
        futures::pin_mut!(sink);
        let counts: Vec<u32> = new.run.tasks.iter().map(|group| group.count).collect();
        let mut chunk = BytesMut::with_capacity(COPY_CHUNK + 128);
        for (id, slot) in (first..).zip(interleaved(new.run.seed, &counts)) {
            chunk.put_slice(format!("{id}\t{key}\t{}\t{}\n", slot.group, slot.number).as_bytes());
            if chunk.len() >= COPY_CHUNK {
                sink.send(chunk.split().freeze()).await?;
            }
        }
        sink.send(Bytes::from(chunk)).await?;
        sink.finish().await?;
        Ok(Insertion::Done(run.into()))
    }

    async fn save(&mut self, changes: Changes) -> Result<(), BackendError> {
        self.save_run(changes).await
    }

    async fn last_alive(&mut self) -> Result<Option<Millis>, BackendError> {
        Ok(self.turn.last_alive)
    }

    async fn save_alive(&mut self, now: Millis) -> Result<(), BackendError> {
        self.turn.last_alive = self.turn.last_alive.max(Some(now));
        self.batch.alive = true;
        self.batch.committed.wrote = true;
        Ok(())
    }

    async fn commit(&mut self) -> Result<Commit, BackendError> {
        if !self.batch.committed.wrote {
            self.session()?.execute("COMMIT", &[]).await?;
            self.seen = self.turn.version;
            return Ok(Commit::Done(Committed::default()));
        }
        if !self.batch.changes.is_empty() {
            self.turn.version += 1;
        }
        self.commit_turn(KEPT_CHANGES).await?;
        self.seen = self.turn.version;
        Ok(Commit::Done(std::mem::take(&mut self.batch).committed))
    }

    async fn rollback(&mut self) {
        self.seen = -1;
        let rolled_back = match &self.session {
            Some(session) if !session.client.is_closed() => session.execute("ROLLBACK", &[]).await.is_ok(),
            _ => false,
        };
        if !rolled_back {
            self.session = None;
        }
    }
    async fn close(self) {}
}

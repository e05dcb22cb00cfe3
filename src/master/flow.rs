//! The run, step by step: each step is journaled before it is done, and can be done twice.
//!
//! ```text
//!  begin ─▶ orchestrator located ─▶ pre_orchestrator providers ─▶ it answers ─▶ create the run
//!             ─▶ other providers ─▶ monitor ─▶ collect ─▶ providers leave, hosts destroyed ─▶ finish
//!  interrupt, stop, a provider that fails: the run is stopped, collected and taken down all the same
//! ```

use std::sync::Arc;

use super::collect::{self, CollectError, Collected};
use super::connection::{Connection, ConnectionError};
use super::home::{Home, HomeError, RunFolder, RunLock, write_private};
use super::interrupt::Interrupts;
use super::journal::{Journal, JournalError, Step};
use super::leave::Leave;
use super::meta::MetaError;
use super::monitor;
use super::prepare::{Hosts, OnInterrupt, Prepared};
use super::progress::{MasterEvent, Progress};
use super::providers::{End, Fleet, News};
use super::record::{ProviderRecord, RecordError, RecordStatus, RunRecord};
use crate::api::{RunStatus, RunView};
use crate::client::ClientError;
use crate::provider::Phase;
use crate::render::RenderError;
use crate::report::Report;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub record: RunRecord,
    /// Statistics of what was measured; also on disk.
    pub report: Report,
    pub results_dir: std::path::PathBuf,
    pub interrupted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("could not start the run's orchestrator")]
    Connection(#[source] ConnectionError),
    #[error("the orchestrator did not do as asked")]
    Orchestrator(#[from] ClientError),
    #[error("could not render the files of a provider instance")]
    Render(#[from] RenderError),
    #[error("could not save the results of the run")]
    Collect(#[from] CollectError),
    #[error("interrupted before the run was created")]
    Interrupted,
    /// The second interrupt: runners are ended by their pipe, results stay where they are.
    #[error("interrupted twice: left at once; `bench run --resume {run_id}` goes on where it stopped")]
    LeftAtOnce { run_id: String },
}

impl From<ConnectionError> for RunError {
    fn from(error: ConnectionError) -> RunError {
        match error {
            ConnectionError::Meta(error) if matches!(*error, MetaError::Interrupted) => RunError::Interrupted,
            error => RunError::Connection(error),
        }
    }
}

/// Runs what was prepared to its end. A run that exists already is taken up where it stopped.
pub async fn run(
    home: &Home,
    prepared: Prepared,
    progress: Arc<dyn Progress>,
    mut interrupts: Interrupts,
) -> Result<Outcome, RunError> {
    let mut session = Session::begin(home, prepared, progress)?;
    let twice = {
        let mut interrupts = interrupts.clone();
        async move { interrupts.reached(2).await }
    };
    let run_id = session.folder.run_id.to_string();
    tokio::select! {
        outcome = session.drive(&mut interrupts) => outcome,
        () = twice => Err(RunError::LeftAtOnce { run_id }),
    }
}

/// One master's work on one run.
pub(super) struct Session {
    pub(super) folder: RunFolder,
    pub(super) prepared: Prepared,
    pub(super) journal: Journal,
    pub(super) record: RunRecord,
    pub(super) progress: Arc<dyn Progress>,
    interrupted: bool,
    _lock: RunLock,
}

impl Session {
    fn begin(home: &Home, prepared: Prepared, progress: Arc<dyn Progress>) -> Result<Session, RunError> {
        let folder = if prepared.resumed {
            home.run(&prepared.create.run_id)
        } else {
            home.create_run(&prepared.create.run_id)?
        };
        let lock = folder.lock()?;
        let mut journal = Journal::open(&folder.journal())?;
        let record = if prepared.resumed {
            journal.write(now(), Step::Resumed)?;
            RunRecord::load(&folder.record())?
        } else {
            let (bench_version, config_sha256) =
                (env!("CARGO_PKG_VERSION").to_owned(), prepared.config_sha256.clone());
            journal.write(now(), Step::Started { bench_version, config_sha256 })?;
            let values = prepared.config_values.to_string();
            write_private(&folder.started_config(), values.as_bytes()).map_err(HomeError::Io)?;
            write_private(&folder.config(), prepared.config_text.as_bytes()).map_err(HomeError::Io)?;
            prepared.new_record(now())
        };
        record.save(&folder.record())?;
        let (run_id, total_tasks) = (folder.run_id.clone(), prepared.total_tasks());
        progress.tell(&MasterEvent::Started { run_id, total_tasks });
        if let Some(Hosts { count, cost, facts, .. }) = &prepared.hosts {
            let (count, cost, ttl_minutes) = (*count, cost.clone(), facts.ttl_minutes);
            progress.tell(&MasterEvent::Hosts { count, cost, ttl_minutes });
        }
        Ok(Session { folder, prepared, journal, record, progress, interrupted: false, _lock: lock })
    }

    async fn drive(&mut self, interrupts: &mut Interrupts) -> Result<Outcome, RunError> {
        self.journal.write(now(), Step::StartOrchestrator)?;
        let before = self.record.orchestrator.clone();
        let (folder, prepared, progress) = (&self.folder, &self.prepared, &self.progress);
        let connection = Connection::locate(folder, prepared, before.as_ref(), progress, interrupts).await?;
        self.record.orchestrator = Some(connection.record.clone());
        self.record.save(&self.folder.record())?;
        let mut fleet = Fleet::default();
        let served = self.serve(&connection, &mut fleet, interrupts).await;
        let cancelled = served.as_ref().map_or(true, |view| view.status == RunStatus::Cancelled);
        // Hosts go while the results come.
        fleet.leave(if cancelled { self.how_to_go().await } else { Leave::Told });
        let collected = match served {
            Ok(view) => self.collect(&connection, &view).await.map(|collected| (view, collected)),
            Err(error) => Err(error),
        };
        self.drain(&mut fleet, interrupts).await?;
        connection.close().await;
        let (view, collected) = collected?;
        self.finish(&view, collected)
    }

    /// Waits until every provider instance has ended. An interrupt now concerns what is still being made.
    async fn drain(&mut self, fleet: &mut Fleet, interrupts: &mut Interrupts) -> Result<(), RunError> {
        loop {
            tokio::select! {
                news = fleet.next() => match news {
                    Some((name, news)) => self.note_news(&name, news)?,
                    None => return Ok(()),
                },
                () = interrupts.reached(1), if !self.interrupted => {
                    self.interrupted = true;
                    self.progress.tell(&MasterEvent::Interrupted);
                    fleet.leave(self.how_to_go().await);
                }
            }
        }
    }

    /// How a cancelled run ends for its hosts.
    async fn how_to_go(&self) -> Leave {
        let keep = match self.prepared.on_interrupt {
            _ if !self.interrupted || self.prepared.hosts.is_none() => false,
            OnInterrupt::Destroy => false,
            OnInterrupt::Keep => true,
            OnInterrupt::Ask => self.progress.ask_to_keep().await,
        };
        if keep { Leave::Stay } else { Leave::AtOnce }
    }

    /// From the first host to the end of the last task.
    async fn serve(
        &mut self,
        connection: &Connection,
        fleet: &mut Fleet,
        interrupts: &mut Interrupts,
    ) -> Result<RunView, RunError> {
        self.start_providers(Phase::PreOrchestrator, connection, fleet)?;
        tokio::select! {
            ready = connection.ready() => ready?,
            () = interrupts.reached(1) => {
                self.interrupted = true;
                self.progress.tell(&MasterEvent::Interrupted);
                return Err(RunError::Interrupted);
            }
        }
        let url = connection.record.url.clone();
        self.journal.write(now(), Step::OrchestratorReady { url: url.clone() })?;
        self.progress.tell(&MasterEvent::OrchestratorReady { url });
        for program in self.prepared.hosts.iter().flat_map(|hosts| &hosts.programs) {
            connection.client.offer_program(&program.sha256, &program.path).await?;
        }
        let tasks = self.prepared.total_tasks();
        self.journal.write(now(), Step::CreateRun { tasks })?;
        let view = connection.client.create_run(&self.prepared.create).await?;
        self.journal.write(now(), Step::RunCreated)?;
        self.note_run(&view)?;
        self.settle_strangers(connection).await?;
        if view.status.is_final() {
            // What an earlier master made is taken down.
            fleet.leave(Leave::Told);
            self.start_providers(Phase::PostRun, connection, fleet)?;
            return Ok(view);
        }
        self.start_providers(Phase::PostRun, connection, fleet)?;
        let view = self.watch(connection, fleet, interrupts).await?;
        self.note_run(&view)?;
        Ok(view)
    }

    /// Stays until the run has ended. With `--skip-infra` there are no provider instances.
    async fn watch(
        &mut self,
        connection: &Connection,
        fleet: &mut Fleet,
        interrupts: &mut Interrupts,
    ) -> Result<RunView, RunError> {
        let run_id = self.folder.run_id.clone();
        let progress = self.progress.clone();
        let ended = monitor::until_ended(&connection.client, &run_id, progress.as_ref());
        tokio::pin!(ended);
        loop {
            tokio::select! {
                view = &mut ended => return Ok(view?),
                Some((name, news)) = fleet.next() => {
                    let failed = matches!(&news, News::Ended(End { error: Some(_), .. }));
                    self.note_news(&name, news)?;
                    if failed {
                        self.give_up(connection, &name).await?;
                    } else if fleet.is_unable() {
                        // Nobody is left who could run a task: either all are done, or they never will be.
                        self.stop_run(connection, "no task runners are left").await?;
                    }
                }
                () = interrupts.reached(1), if !self.interrupted => {
                    self.interrupted = true;
                    self.progress.tell(&MasterEvent::Interrupted);
                    self.stop_run(connection, "interrupted").await?;
                }
            }
        }
    }

    /// Notes what a provider instance tells. Its failure does not stop the others.
    fn note_news(&mut self, name: &str, news: News) -> Result<(), RunError> {
        match news {
            News::Up(hosts) => {
                self.journal.write(now(), Step::HostsUp { name: name.to_owned(), hosts: hosts.len() })?;
                let record = self.provider_record(name);
                (record.instances, record.hosts) = (hosts.len() as u64, hosts);
            }
            News::Failed { error, hosts } => {
                let record = self.provider_record(name);
                record.status = "failed".to_owned();
                record.error = Some(error);
                (record.instances, record.hosts) = (hosts.len() as u64, hosts);
            }
            News::Ended(end) => self.settle(name, end)?,
        }
        Ok(self.record.save(&self.folder.record())?)
    }

    fn settle(&mut self, name: &str, end: End) -> Result<(), RunError> {
        let record = self.provider_record(name);
        record.kept = end.kept;
        if record.error.is_none() {
            record.error.clone_from(&end.error);
        }
        let error = record.error.clone();
        let status = if error.is_some() { "failed" } else { "done" }.to_owned();
        record.status.clone_from(&status);
        self.record.leftovers.retain(|leftover| leftover.provider != name);
        self.record.leftovers.extend(end.leftovers);
        self.journal.write(now(), Step::ProviderSettled { name: name.to_owned(), status: status.clone() })?;
        let status = error.map_or(status, |error| format!("failed: {error}"));
        self.progress.tell(&MasterEvent::ProviderSettled { name: name.to_owned(), status });
        Ok(())
    }

    pub(super) fn provider_record(&mut self, name: &str) -> &mut ProviderRecord {
        let found = self.record.providers.iter_mut().find(|provider| provider.name == name);
        found.expect("every provider instance of the plan has a record")
    }

    /// Cancels what has not ended. A run that ended meanwhile stays as it is.
    async fn stop_run(&mut self, connection: &Connection, why: &str) -> Result<(), RunError> {
        self.journal.write(now(), Step::StopRun { why: why.to_owned() })?;
        connection.client.stop_run(&self.folder.run_id).await?;
        Ok(())
    }

    fn note_run(&mut self, view: &RunView) -> Result<(), RunError> {
        self.record.status = RecordStatus::from(view.status);
        self.record.tasks = view.tasks;
        self.record.save(&self.folder.record())?;
        Ok(())
    }

    async fn collect(&mut self, connection: &Connection, view: &RunView) -> Result<Collected, RunError> {
        self.journal.write(now(), Step::Collect)?;
        self.progress.tell(&MasterEvent::Collecting);
        let collected =
            collect::collect(&self.folder, &connection.client, &self.record, view, &self.prepared).await?;
        self.journal.write(now(), Step::Collected { results_dir: collected.results_dir.clone() })?;
        Ok(collected)
    }

    fn finish(&mut self, view: &RunView, collected: Collected) -> Result<Outcome, RunError> {
        self.record.finished_at = Some(now());
        self.record.save(&self.folder.record())?;
        let status = self.record.status.word().to_owned();
        self.journal.write(now(), Step::Finished { status })?;
        self.progress.tell(&MasterEvent::Finished { status: view.status });
        let (record, interrupted) = (self.record.clone(), self.interrupted);
        let Collected { report, results_dir } = collected;
        Ok(Outcome { record, report, results_dir, interrupted })
    }
}

pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

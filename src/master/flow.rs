//! The run, step by step: each step is journaled before it is done, and can be done twice.
//!
//! ```text
//!  begin ─▶ orchestrator ─▶ create the run ─▶ providers ─┬─▶ collect ─▶ finish
//!                                             monitor ───┘
//!  interrupt, stop, a provider that fails: the run is stopped, then collected all the same
//! ```

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::collect::{self, CollectError, Collected};
use super::connection::{Connection, ConnectionError};
use super::home::{Home, HomeError, RunFolder, RunLock, create_private_dir, write_private};
use super::interrupt::Interrupts;
use super::journal::{Journal, JournalError, Step};
use super::local::{self, Leave, LocalError, LocalRunners};
use super::monitor;
use super::prepare::{Prepared, ProviderTask};
use super::progress::{MasterEvent, Progress};
use super::record::{ProviderRecord, RecordError, RecordStatus, RunRecord};
use crate::api::{RunStatus, RunView};
use crate::client::ClientError;
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
    Connection(#[from] ConnectionError),
    #[error("the orchestrator did not do as asked")]
    Orchestrator(#[from] ClientError),
    #[error("could not save the results of the run")]
    Collect(#[from] CollectError),
    /// The second interrupt: runners are ended by their pipe, results stay where they are.
    #[error("interrupted twice: left at once; `bench run --resume {run_id}` goes on where it stopped")]
    LeftAtOnce { run_id: String },
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
struct Session {
    folder: RunFolder,
    prepared: Prepared,
    journal: Journal,
    record: RunRecord,
    progress: Arc<dyn Progress>,
    interrupted: bool,
    _lock: RunLock,
}

/// What the task of one provider instance ends with.
type Settled = (String, Result<(), LocalError>);

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
            write_private(&folder.config(), prepared.config_text.as_bytes()).map_err(HomeError::Io)?;
            prepared.new_record(now())
        };
        record.save(&folder.record())?;
        let (run_id, total_tasks) = (folder.run_id.clone(), prepared.total_tasks());
        progress.tell(&MasterEvent::Started { run_id, total_tasks });
        Ok(Session { folder, prepared, journal, record, progress, interrupted: false, _lock: lock })
    }

    async fn drive(&mut self, interrupts: &mut Interrupts) -> Result<Outcome, RunError> {
        self.journal.write(now(), Step::StartOrchestrator)?;
        let connection = Connection::open(&self.folder, &self.prepared).await?;
        let outcome = self.with_orchestrator(&connection, interrupts).await;
        connection.close().await;
        outcome
    }

    async fn with_orchestrator(
        &mut self,
        connection: &Connection,
        interrupts: &mut Interrupts,
    ) -> Result<Outcome, RunError> {
        let url = connection.record.url.clone();
        self.journal.write(now(), Step::OrchestratorReady { url: url.clone() })?;
        self.record.orchestrator = Some(connection.record.clone());
        self.record.save(&self.folder.record())?;
        self.progress.tell(&MasterEvent::OrchestratorReady { url });

        let tasks = self.prepared.total_tasks();
        self.journal.write(now(), Step::CreateRun { tasks })?;
        let view = connection.client.create_run(&self.prepared.create).await?;
        self.journal.write(now(), Step::RunCreated)?;
        self.note_run(&view)?;

        let view = if view.status.is_final() { view } else { self.serve(connection, interrupts).await? };
        self.note_run(&view)?;
        self.finish(connection, &view).await
    }

    /// Starts every provider instance (with `--skip-infra` there are none here) and stays until the run has ended and all of them have settled.
    async fn serve(
        &mut self,
        connection: &Connection,
        interrupts: &mut Interrupts,
    ) -> Result<RunView, RunError> {
        create_private_dir(&self.folder.runner_logs()).map_err(HomeError::Io)?;
        let (leave, asked) = watch::channel(Leave::No);
        let mut providers = self.start_providers(connection, &asked)?;
        let run_id = self.folder.run_id.clone();
        let progress = self.progress.clone();
        let ended = monitor::until_ended(&connection.client, &run_id, progress.as_ref());
        tokio::pin!(ended);
        let view = loop {
            tokio::select! {
                view = &mut ended => break view?,
                Some(settled) = providers.join_next() => {
                    self.settle(settled.expect("a provider's task does not panic"))?;
                    if providers.is_empty() {
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
        };
        let cancelled = view.status == RunStatus::Cancelled;
        leave.send_replace(if cancelled { Leave::AtOnce } else { Leave::Told });
        while let Some(settled) = providers.join_next().await {
            self.settle(settled.expect("a provider's task does not panic"))?;
        }
        Ok(view)
    }

    fn start_providers(
        &mut self,
        connection: &Connection,
        asked: &watch::Receiver<Leave>,
    ) -> Result<JoinSet<Settled>, RunError> {
        let mut running = JoinSet::new();
        for provider in self.prepared.providers.clone() {
            self.journal.write(now(), Step::SetUpProvider { name: provider.name.clone() })?;
            self.provider_record(&provider.name).status = "running".to_owned();
            let runners = self.local_runners(connection, &provider);
            let (progress, asked) = (self.progress.clone(), asked.clone());
            running.spawn(async move {
                let served = local::serve(&runners, &provider.aliases, progress.as_ref(), asked).await;
                (provider.name, served)
            });
        }
        self.record.save(&self.folder.record())?;
        Ok(running)
    }

    fn local_runners(&self, connection: &Connection, provider: &ProviderTask) -> LocalRunners {
        // Runners start in another folder than this process, perhaps inside a container.
        let key_file = self.folder.run_key();
        LocalRunners {
            run_id: self.folder.run_id.clone(),
            provider: provider.name.clone(),
            orchestrator_url: connection.record.url.clone(),
            orchestrator_pin: connection.record.pin.clone(),
            key_file: std::path::absolute(&key_file).unwrap_or(key_file),
            program: self.prepared.program.clone(),
            working_directory: self.record.working_directory.clone(),
            cpu_locks: self.prepared.cpu_locks.clone(),
            logs: self.folder.runner_logs(),
            debug: self.prepared.debug,
        }
    }

    /// Notes what became of a provider instance. Its failure does not stop the others.
    fn settle(&mut self, (name, served): Settled) -> Result<(), RunError> {
        let error = served.err().map(|error| crate::cause_chain(&error));
        let status = if error.is_some() { "failed" } else { "done" }.to_owned();
        let record = self.provider_record(&name);
        record.status.clone_from(&status);
        record.error.clone_from(&error);
        self.record.save(&self.folder.record())?;
        self.journal.write(now(), Step::ProviderSettled { name: name.clone(), status: status.clone() })?;
        let status = error.map_or(status, |error| format!("failed: {error}"));
        self.progress.tell(&MasterEvent::ProviderSettled { name, status });
        Ok(())
    }

    fn provider_record(&mut self, name: &str) -> &mut ProviderRecord {
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

    async fn finish(&mut self, connection: &Connection, view: &RunView) -> Result<Outcome, RunError> {
        self.journal.write(now(), Step::Collect)?;
        self.progress.tell(&MasterEvent::Collecting);
        let Collected { report, results_dir } =
            collect::collect(&self.folder, &connection.client, &self.record, view, &self.prepared).await?;
        self.journal.write(now(), Step::Collected { results_dir: results_dir.clone() })?;
        self.record.finished_at = Some(now());
        self.record.save(&self.folder.record())?;
        let status = self.record.status.word().to_owned();
        self.journal.write(now(), Step::Finished { status })?;
        self.progress.tell(&MasterEvent::Finished { status: view.status });
        let (record, interrupted) = (self.record.clone(), self.interrupted);
        Ok(Outcome { record, report, results_dir, interrupted })
    }
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

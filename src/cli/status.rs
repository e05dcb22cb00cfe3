//! `bench status`: where runs stand, from their files and, where it answers, from their orchestrator.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::remote::{self, RemoteArgs};
use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::api::{RunId, RunView, TaskCounts};
use crate::client::Client;
use crate::master::connection;
use crate::master::home::{Home, RunFolder};
use crate::master::record::{ProviderRecord, RecordStatus, RunRecord};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bench status\n  bench status latest --output json")]
pub struct Args {
    /// The run: its id or `latest`; absent: all runs of this home
    run: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    if let Some(client) = args.remote.client()? {
        return status_there(&client, args.run.as_deref(), context);
    }
    let home = Home::new(&context.home);
    match args.run {
        Some(run) => {
            let folder = home.find_run(&run).map_err(Failure::usage)?;
            context.output.show(&block_on(status_of(&folder))?);
        }
        None => {
            let mut runs = Vec::new();
            for run_id in home.run_ids().map_err(Failure::usage)? {
                runs.push(block_on(status_of(&home.run(&run_id)))?);
            }
            context.output.show(&Runs { runs });
        }
    }
    Ok(Exit::Done)
}

/// Whether somebody works on the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Master {
    Alive,
    /// It died before the run had ended.
    Dead,
    /// It has done its work.
    Ended,
    /// Only the orchestrator was asked.
    Unknown,
}

#[derive(Serialize)]
struct Status {
    run_id: RunId,
    status: RecordStatus,
    master: Master,
    started_at: jiff::Timestamp,
    finished_at: Option<jiff::Timestamp>,
    tasks: TaskCounts,
    providers: Vec<ProviderRecord>,
    orchestrator_url: Option<String>,
    results_dir: Option<String>,
    /// What to do next, where something is to be done.
    hint: Option<String>,
}

fn status_there(client: &Client, run: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    block_on(async {
        let Some(name) = run else {
            let runs = client.runs().await.map_err(remote::failure)?;
            context
                .output
                .show(&Runs { runs: runs.into_iter().map(|view| Status::of(view, client)).collect() });
            return Ok(Exit::Done);
        };
        let run_id = remote::find_run(client, name).await?;
        let view = client.run(&run_id).await.map_err(remote::failure)?;
        context.output.show(&Status::of(view, client));
        Ok(Exit::Done)
    })
}

impl Status {
    /// What the orchestrator alone knows.
    fn of(view: RunView, client: &Client) -> Status {
        Status {
            run_id: view.run_id,
            status: view.status.into(),
            master: Master::Unknown,
            started_at: view.created_at,
            finished_at: view.finished_at,
            tasks: view.tasks,
            providers: Vec::new(),
            orchestrator_url: Some(client.url().to_owned()),
            results_dir: None,
            hint: None,
        }
    }
}

async fn status_of(folder: &RunFolder) -> Result<Status, Failure> {
    let alive = folder.has_master();
    let mut record = RunRecord::load(&folder.record()).map_err(Failure::infrastructure)?;
    let orchestrator = record.orchestrator.clone().filter(|o| alive || !o.inside_master);
    if let Some(orchestrator) = orchestrator.as_ref().filter(|_| record.finished_at.is_none()) {
        match live_view(folder, orchestrator).await {
            Ok(view) => (record.status, record.tasks) = (RecordStatus::from(view.status), view.tasks),
            Err(error) => tracing::info!(%error, "the run's orchestrator does not answer"),
        }
    }
    let master = match (alive, record.finished_at) {
        (true, _) => Master::Alive,
        (false, Some(_)) => Master::Ended,
        (false, None) => Master::Dead,
    };
    let hint = (master == Master::Dead)
        .then(|| format!("its master died; `bench run --resume {}` goes on where it stopped", folder.run_id));
    Ok(Status {
        run_id: record.run_id,
        status: record.status,
        master,
        started_at: record.started_at,
        finished_at: record.finished_at,
        tasks: record.tasks,
        providers: record.providers,
        orchestrator_url: orchestrator.map(|orchestrator| orchestrator.url),
        results_dir: folder.results().is_dir().then(|| folder.results().display().to_string()),
        hint,
    })
}

async fn live_view(
    folder: &RunFolder,
    orchestrator: &crate::master::record::OrchestratorRecord,
) -> Result<crate::api::RunView, connection::ConnectionError> {
    let client = connection::client_of(folder, orchestrator)?;
    Ok(client.run(&folder.run_id).await?)
}

impl View for Status {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let counts = self.tasks;
        writeln!(out, "run {}: {}, master {}", self.run_id, self.status.word(), word(self.master))?;
        writeln!(
            out,
            "tasks: {} of {} completed, {} failed, {} cancelled, {} running, {} pending",
            counts.completed,
            counts.total,
            counts.failed,
            counts.cancelled,
            counts.claimed + counts.running,
            counts.pending
        )?;
        for provider in &self.providers {
            let error = provider.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            writeln!(out, "provider {}: {}{error}", provider.name, provider.status)?;
        }
        if let Some(url) = &self.orchestrator_url {
            writeln!(out, "dashboard: {url}/")?;
        }
        if let Some(results) = &self.results_dir {
            writeln!(out, "results: {results}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(out, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

fn word(master: Master) -> &'static str {
    match master {
        Master::Alive => "alive",
        Master::Dead => "dead",
        Master::Ended => "ended",
        Master::Unknown => "unknown",
    }
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<Status>,
}

impl View for Runs {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.runs.is_empty() {
            return writeln!(out, "no runs here; `bench run CONFIG` starts one");
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "RUN",
            "STATUS",
            "MASTER",
            "COMPLETED",
            "FAILED",
            "CANCELLED",
            "STARTED",
        ]);
        for run in &self.runs {
            table.add_row([
                run.run_id.to_string(),
                run.status.word().to_owned(),
                word(run.master).to_owned(),
                format!("{}/{}", run.tasks.completed, run.tasks.total),
                run.tasks.failed.to_string(),
                run.tasks.cancelled.to_string(),
                run.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        writeln!(out, "{}", table.trim_fmt())
    }
}

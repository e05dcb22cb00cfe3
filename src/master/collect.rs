//! Brings the results home: archive, per-task folders, reports.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::de::DeserializeOwned;

use super::home::{RunFolder, create_private_dir};
use super::prepare::Prepared;
use super::record::RunRecord;
use crate::api::{RunId, RunView, TaskView};
use crate::client::{Client, ClientError};
use crate::orchestrator::archive::{self, BadArchive, Layout};
use crate::report::{self, Report, ReportError, RunFacts, TaskResult};

#[derive(Debug)]
pub struct Collected {
    pub report: Report,
    pub results_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("could not fetch the results from the orchestrator")]
    Fetch(#[from] ClientError),
    #[error("the archive of results is not acceptable")]
    Archive(#[from] BadArchive),
    #[error("could not write the results")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Downloads what the run has, unpacks it beside the final place, adds the reports and moves it there as a
/// whole. Can be done again: a newer collection replaces an older one.
pub async fn collect(
    folder: &RunFolder,
    client: &Client,
    record: &RunRecord,
    view: &RunView,
    prepared: &Prepared,
) -> Result<Collected, CollectError> {
    let packed = folder.root().join("results.tar.gz");
    bring(client, &folder.run_id, packed, folder.results(), facts(record, view, prepared)).await
}

/// As [`collect`], without the run's folder: the report lacks what only the plan knew.
pub async fn fetch(client: &Client, run_id: &RunId, place: &Path) -> Result<Collected, CollectError> {
    let view = client.run(run_id).await?;
    let facts = RunFacts {
        run_id: run_id.clone(),
        status: view.status,
        workload: view.workload.name.clone(),
        seed: view.seed,
        started_at: view.created_at,
        finished_at: view.finished_at,
        config_sha256: String::new(),
        bench_version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: Vec::new(),
    };
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    bring(client, run_id, parent.join(format!(".{run_id}.tar.gz")), place, facts).await
}

async fn bring(
    client: &Client,
    run_id: &RunId,
    packed: PathBuf,
    place: &Path,
    facts: RunFacts,
) -> Result<Collected, CollectError> {
    client.download_results(run_id, &packed).await?;
    let tasks = client.tasks(run_id).await?;
    let results_dir = place.to_owned();
    let place = results_dir.clone();
    tokio::task::spawn_blocking(move || {
        let report = unpack_and_report(&packed, &place, facts, tasks)?;
        Ok(Collected { report, results_dir })
    })
    .await
    .expect("collecting does not panic")
}

fn unpack_and_report(
    packed: &Path,
    place: &Path,
    facts: RunFacts,
    tasks: Vec<TaskView>,
) -> Result<Report, CollectError> {
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let fresh = parent.join(format!(".{}.part", facts.run_id));
    remove_folder(&fresh)?;
    create_private_dir(&fresh)?;
    let file = fs::File::open(packed)?;
    archive::unpack_into(file, Layout::Run, archive::Limits::RUN, &fresh)?;
    let tasks = tasks.into_iter().map(|task| task_result(&fresh, task)).collect::<Result<_, _>>()?;
    let report = Report::new(facts, tasks);
    report::write_all(&fresh, &report)?;
    remove_folder(place)?;
    fs::rename(&fresh, place)?;
    fs::remove_file(packed)?;
    Ok(report)
}

fn task_result(results: &Path, task: TaskView) -> Result<TaskResult, CollectError> {
    let folder = results.join(format!("{}-{}", task.alias, task.number));
    // One task's files must not keep the others' results back: what is wrong with them is said.
    let mut unreadable = text_if_there(&folder.join(archive::UNREADABLE))?.map(|text| text.trim().to_owned());
    let metadata = parsed_if_there(&folder.join("metadata.json"), &mut unreadable)?;
    let output = parsed_if_there(&folder.join("output.json"), &mut unreadable)?;
    Ok(TaskResult {
        task_id: Some(task.id),
        metadata,
        output,
        unreadable,
        provider: task.provider,
        instance_type: task.instance_type,
        alias: task.alias,
        number: task.number,
        state: task.state,
        reason: task.reason,
        error_message: task.error_message,
        attempts: task.attempts,
    })
}

/// Notes in `unreadable` why a file that is there is not what it should be.
fn parsed_if_there<T: DeserializeOwned>(
    path: &Path,
    unreadable: &mut Option<String>,
) -> Result<Option<T>, CollectError> {
    let Some(text) = text_if_there(path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            unreadable.get_or_insert_with(|| format!("{name} cannot be understood: {error}"));
            Ok(None)
        }
    }
}

fn text_if_there(path: &Path) -> Result<Option<String>, CollectError> {
    match fs::read(path) {
        // What is no UTF-8 is no JSON either, and says so when it is parsed.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn facts(record: &RunRecord, view: &RunView, prepared: &Prepared) -> RunFacts {
    RunFacts {
        run_id: record.run_id.clone(),
        status: view.status,
        workload: view.workload.name.clone(),
        seed: view.seed,
        started_at: record.started_at,
        finished_at: view.finished_at,
        config_sha256: record.config_sha256.clone(),
        bench_version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: prepared.plan_facts.clone(),
    }
}

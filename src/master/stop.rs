//! Stops a run from outside its master.

use std::collections::BTreeSet;

use super::connection::{ConnectionError, client_of};
use super::home::{Home, HomeError, RunFolder};
use super::journal::{Journal, JournalError, Step};
use super::record::{RecordError, RecordStatus, RunRecord};
use crate::client::ClientError;
use crate::ledger::{Ledger, LedgerError, Standing};
use crate::orchestrator::store::{self, OpenError, Options, StoreError, StoreTarget};

#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("could not reach the run's orchestrator")]
    Connection(#[from] ConnectionError),
    #[error("the run's orchestrator did not stop it")]
    Client(#[from] ClientError),
    #[error("could not open the run's store")]
    Open(#[from] OpenError),
    #[error("the run's store did not stop it")]
    Store(#[from] StoreError),
}

/// Cancels what has not ended and says how the run stands. A living master notices, saves the results and
/// ends; for a dead one the run's files are brought up to date here.
pub async fn stop(folder: &RunFolder) -> Result<RecordStatus, StopError> {
    let record = RunRecord::load(&folder.record())?;
    if record.finished_at.is_some() {
        return Ok(record.status);
    }
    let answering = record.orchestrator.as_ref().filter(|o| !o.inside_master || folder.has_master());
    match answering {
        Some(orchestrator) => {
            let view = client_of(folder, orchestrator)?.stop_run(&folder.run_id).await?;
            Ok(view.status.into())
        }
        None => stop_dead(folder, record).await,
    }
}

/// Provider instances of a run whose hosts may still be there, with no master to destroy them.
pub fn abandoned(home: &Home, folder: &RunFolder) -> Result<Vec<String>, LedgerError> {
    if folder.has_master() {
        return Ok(Vec::new());
    }
    let history = Ledger::of(home).read()?;
    let is_there = |standing| !matches!(standing, Standing::Destroyed | Standing::Gone);
    let places = history.of_run(&folder.run_id).filter(|place| is_there(place.standing));
    let names: BTreeSet<String> = places.map(|place| place.intent.provider.clone()).collect();
    Ok(names.into_iter().collect())
}

/// With the master its orchestrator is gone too: the change is made in the store itself.
async fn stop_dead(folder: &RunFolder, mut record: RunRecord) -> Result<RecordStatus, StopError> {
    let _lock = folder.lock()?;
    Journal::open(&folder.journal())?.write(
        jiff::Timestamp::now(),
        Step::StopRun { why: "stopped while its master was dead".to_owned() },
    )?;
    record.status = RecordStatus::Cancelled;
    if folder.database().is_file() {
        let store = store::open(&StoreTarget::Sqlite(folder.database()), Options::default()).await?;
        let stopped = store.stop_run(&folder.run_id).await;
        store.close().await;
        match stopped {
            Ok(view) => (record.status, record.tasks) = (view.status.into(), view.tasks),
            // The master died before it had created the run.
            Err(StoreError::Refused { code: crate::api::ErrorCode::NotFound, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    record.save(&folder.record())?;
    Ok(record.status)
}

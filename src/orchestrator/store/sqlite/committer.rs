//! The thread that commits: writes down in the journal what the rules changed, says so, and passes it on.

use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::orchestrator::store::engine::{BackendError, Committed};

use super::backlog::Backlog;
use super::journal::Journal;
use super::lock::FileLock;
use super::record::Commit;

/// One commit that is asked for.
pub struct Job {
    pub commit: Commit,
    pub reply: oneshot::Sender<Result<Committed, BackendError>>,
}

pub struct Committer {
    pub _lock: Arc<FileLock>,
    pub journal: Journal,
    pub backlog: Arc<Backlog>,
    pub newest_event: i64,
}

impl Committer {
    /// Works until nobody can ask for anything any more.
    pub fn work(&mut self, jobs: mpsc::Receiver<Job>) {
        for Job { commit, reply } in jobs {
            // Whoever is not there for the answer any more does not need it.
            drop(reply.send(self.commit(commit)));
        }
    }

    fn commit(&mut self, mut commit: Commit) -> Result<Committed, BackendError> {
        let kept = self.backlog.ready()?;
        let newest = commit.number_events(self.newest_event);
        let (number, bytes) = self.journal.append(kept, |buffer| commit.write(buffer))?;
        // Before anybody is told, so that whoever is finds it.
        self.backlog.add(commit, number, bytes);
        let newest_event = Some(newest).filter(|newest| *newest != self.newest_event);
        self.newest_event = newest;
        Ok(Committed { newest_event, wrote: true })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.backlog.end();
    }
}

//! The thread that writes: takes what the rules changed, commits it, says so.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::engine::{BackendError, Committed, NewRun};
use crate::orchestrator::store::rules::{Changes, RunState};

use super::save::Saver;

/// What the thread is asked to do.
pub enum Job {
    /// One transaction.
    Commit {
        changes: Vec<Changes>,
        /// The orchestrator is alive at this time.
        alive: Option<Millis>,
        reply: oneshot::Sender<Result<Committed, BackendError>>,
    },
    Insert {
        new: Box<NewRun>,
        reply: oneshot::Sender<Result<RunState, BackendError>>,
    },
}

/// Works until nobody can ask for anything any more.
pub fn work(mut saver: Saver, jobs: mpsc::Receiver<Job>) {
    for job in jobs {
        // Whoever is not there for the answer any more does not need it.
        match job {
            Job::Commit { changes, alive, reply } => drop(reply.send(commit(&mut saver, changes, alive))),
            Job::Insert { new, reply } => drop(reply.send(insert(&mut saver, *new))),
        }
    }
}

fn commit(
    saver: &mut Saver,
    changes: Vec<Changes>,
    alive: Option<Millis>,
) -> Result<Committed, BackendError> {
    let before = saver.newest_event();
    in_transaction(saver, |saver| {
        for changes in changes {
            saver.save(changes)?;
        }
        if let Some(now) = alive {
            saver.save_alive(now)?;
        }
        Ok(())
    })?;
    let newest_event = Some(saver.newest_event()).filter(|newest| *newest != before);
    Ok(Committed { newest_event, wrote: true })
}

fn insert(saver: &mut Saver, new: NewRun) -> Result<RunState, BackendError> {
    let now = new.now;
    in_transaction(saver, |saver| {
        let run = saver.insert_run(new)?;
        // While no run is under way nothing is noted: with the run, so that its time before does not count.
        saver.save_alive(now)?;
        Ok(run)
    })
}

fn in_transaction<T>(
    saver: &mut Saver,
    write: impl FnOnce(&mut Saver) -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let transact = |saver: &mut Saver| {
        saver.begin()?;
        let written = write(saver)?;
        saver.commit()?;
        Ok(written)
    };
    let committed = transact(saver);
    if committed.is_err() {
        saver.rollback();
    }
    committed
}

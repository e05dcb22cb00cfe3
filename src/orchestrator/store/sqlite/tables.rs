//! The thread that writes the tables: takes in what was committed, inserts runs.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::{error, warn};

use crate::orchestrator::store::engine::{BackendError, NewRun};
use crate::orchestrator::store::rules::RunState;

use super::backlog::{Backlog, Next};
use super::save::Saver;
use super::work::Work;

/// Works until the backlog has ended. Gives whether the tables have everything then.
pub fn work(mut saver: Saver, backlog: &Arc<Backlog>) -> bool {
    let _abandoned = Abandon(backlog);
    let mut complete = true;
    loop {
        match backlog.next() {
            Next::TakeIn(work) => {
                let taken_in = take_in(&mut saver, &work, &|| backlog.rest());
                complete = taken_in.is_ok();
                match taken_in {
                    Ok(()) => {
                        backlog.taken_in(work);
                        keep(&saver, backlog);
                    }
                    Err(cause) => {
                        error!(
                            error = &*cause,
                            "could not write commits to the tables; the journal has them"
                        );
                        backlog.failed(work, cause);
                    }
                }
            }
            // Whoever is not there for the answer any more does not need it.
            Next::Insert(insert) => drop(insert.reply.send(self::insert(&mut saver, *insert.new))),
            Next::End => return complete && finish(&saver),
        }
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct Abandon<'a>(&'a Backlog);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// All of it or nothing.
pub fn take_in(saver: &mut Saver, work: &VecDeque<Work>, rest: &dyn Fn()) -> Result<(), BackendError> {
    in_transaction(saver, |saver| work.iter().try_for_each(|work| saver.save(work, rest)))
}

/// Lets the journal begin a file anew, from time to time: what was taken in is brought to disk for that.
fn keep(saver: &Saver, backlog: &Backlog) {
    if let Some(taken_in) = backlog.to_be_kept() {
        match saver.sync() {
            Ok(()) => backlog.kept(taken_in),
            Err(error) => error!(%error, "could not sync the database; the journal grows meanwhile"),
        }
    }
}

/// Leaves a database file that is whole by itself. Gives whether all of it is on disk.
fn finish(saver: &Saver) -> bool {
    if let Err(error) = saver.take_log_in() {
        // The next one to open it does.
        warn!(%error, "could not take the write-ahead log into the database");
    }
    saver.sync().is_ok()
}

fn insert(saver: &mut Saver, new: NewRun) -> Result<Box<RunState>, BackendError> {
    let now = new.now;
    let inserted = in_transaction(saver, |saver| {
        let run = saver.insert_run(new)?;
        // While no run is under way nothing is noted: with the run, so that its time before does not count.
        saver.save_alive(now)?;
        Ok(run)
    })?;
    saver.sync()?;
    Ok(inserted.into())
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

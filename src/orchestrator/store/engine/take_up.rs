//! Taking up what an earlier orchestrator, or this one before a failure, has left in the database.

use tracing::info;

use crate::orchestrator::store::clock::Millis;
use crate::orchestrator::store::rules::Take;

use super::backend::{Backend, BackendError, Commit, FindRun};
use super::writer::{OTHERS_ARE_THERE_MS, Writer};

impl<B: Backend> Writer<B> {
    /// The first transaction, in which the last orchestrator's work is taken up.
    pub async fn resume(&mut self) -> Result<(), BackendError> {
        self.begin().await?;
        self.take_up(if B::SHARED { OTHERS_ARE_THERE_MS } else { 0 }).await?;
        let changes = self.state().take_all_changes(Take::All);
        self.save_all(changes).await?;
        let committed = match self.backend.commit().await? {
            Commit::Done(committed) => committed,
            Commit::UnderWay(outcome) => outcome.await??,
        };
        self.publish(committed, true);
        Ok(())
    }

    /// Loads what has not ended, and extends all leases by the time nobody was there, once. Nobody was
    /// there if that time is longer than `least`.
    pub(super) async fn take_up(&mut self, least: Millis) -> Result<(), BackendError> {
        self.load_running().await?;
        if let Some(last_alive) = self.backend.last_alive().await? {
            self.clock.not_before(last_alive);
            let now = self.clock.now_ms();
            if now - last_alive > least {
                for run in self.state().runs_mut() {
                    run.extend_leases(now - last_alive, now);
                }
            }
        }
        self.backend.save_alive(self.clock.now_ms()).await?;
        // The extension and the time up to which it goes are saved together, or it would come twice.
        self.demand_commit();
        Ok(())
    }

    async fn load_running(&mut self) -> Result<(), BackendError> {
        for key in self.backend.running().await? {
            let is_there = self.state().contains(key);
            if !is_there && let Some(run) = self.backend.load_run(FindRun::Key(key)).await? {
                info!(run.id = %run.row.id, leases = run.held.len(), "loaded a run that has not ended");
                self.state().insert(run);
            }
        }
        self.state().loaded = true;
        Ok(())
    }
}

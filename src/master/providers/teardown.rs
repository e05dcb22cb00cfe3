//! The end of a provider instance: Terraform destroys what its state knows, a listing says whether that was all.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::terraform::TerraformProvider;
use crate::ledger::FactKind;
use crate::master::record::Leftover;
use crate::nuke::{self, Belief};
use crate::terraform::{Adopted, Destroyed, JobState, Operation, TerraformError};

/// Another try of a destroy costs nothing; what is still there after this many is named.
const DESTROY_TRIES: u32 = 3;

/// How long what a failed apply lost is deleted again and again.
const SWEEP_PATIENCE: Duration = Duration::from_secs(180);

impl TerraformProvider {
    /// Destroys what the state knows, and names what it could not. `inherited` says that an earlier master may
    /// have made something.
    pub(super) async fn take_down(&self, inherited: bool) -> (Option<String>, Vec<Leftover>) {
        if matches!(self.workspace.state(), Ok(JobState::None)) {
            // Terraform never ran here, or its folder was removed.
            let left = if inherited { self.confirm().await } else { Vec::new() };
            if left.is_empty() {
                self.note(FactKind::Destroyed);
            }
            return (None, left);
        }
        let mut last = None;
        for _ in 0..DESTROY_TRIES {
            match self.destroy().await {
                Ok(destroyed) if destroyed.remaining.is_empty() => {
                    let left = self.confirm().await;
                    if left.is_empty() {
                        self.note(FactKind::Destroyed);
                    }
                    return (None, left);
                }
                Ok(_) => {}
                Err(error) => last = Some(crate::cause_chain(&error)),
            }
        }
        let left = self.workspace.recover();
        let resources = left.found.map(|(_, state)| state.resources).unwrap_or_default();
        let mut leftovers: Vec<Leftover> =
            resources.into_iter().map(|resource| self.leftover(resource.address, resource.id)).collect();
        leftovers.extend(left.unreadable.iter().map(|error| self.leftover(error.to_string(), None)));
        (last.or_else(|| Some("its resources could not be destroyed".to_owned())), leftovers)
    }

    async fn destroy(&self) -> Result<Destroyed, TerraformError> {
        // A destroy without a state says that all is well.
        self.workspace.restore_state()?;
        let mut shown = self.shown(Operation::Destroy);
        match self.workspace.destroy(&mut shown).await {
            // The one of an earlier master, or one that lost its supervisor.
            Err(TerraformError::Busy { .. }) => match self.workspace.adopt(&mut |_| {}).await? {
                Adopted::Destroyed(destroyed) => Ok(destroyed),
                _ => self.workspace.destroy(&mut |_| {}).await,
            },
            other => other,
        }
    }

    /// Deletes what carries this run's tags and is not in the state; returns what may be left of it.
    pub(super) async fn sweep(&self) -> Vec<Leftover> {
        let known = self.made().into_iter().map(|made| made.id).collect();
        match self.sweep_all_but(known, Belief::TwoListings).await {
            Ok(left) => left,
            Err(error) => vec![self.not_looked(&error)],
        }
    }

    /// After a destroy that Terraform calls good, whose word proves nothing: what still carries this run's tags
    /// is deleted, and named where it stays.
    async fn confirm(&self) -> Vec<Leftover> {
        let doubtful = self.doubtful.load(Ordering::Relaxed);
        let belief = if doubtful { Belief::TwoListings } else { Belief::OneListing };
        match self.sweep_all_but(BTreeSet::new(), belief).await {
            Ok(left) => left,
            // No apply has failed: the state knew of everything.
            Err(error) if error.is_blind() && !doubtful => {
                let error = crate::cause_chain(&error);
                tracing::warn!(provider = self.name, error, "no listing confirms that its hosts are gone");
                Vec::new()
            }
            Err(error) => vec![self.not_looked(&error)],
        }
    }

    async fn sweep_all_but(
        &self,
        known: BTreeSet<String>,
        belief: Belief,
    ) -> Result<Vec<Leftover>, nuke::LookError> {
        let swept = nuke::sweep_unknown(&self.backend, &self.intent, known, SWEEP_PATIENCE, belief).await?;
        tracing::info!(provider = self.name, deleted = ?swept.deleted, "swept by tag");
        if swept.is_clean() {
            self.doubtful.store(false, Ordering::Relaxed);
        }
        let left = swept.left.into_iter();
        let left = left.map(|(kind, id, why)| self.leftover(format!("{kind}: {why}"), Some(id)));
        let gaps = swept.gaps.into_iter();
        let gaps = gaps.map(|gap| self.leftover(format!("scan incomplete: {}: {}", gap.what, gap.why), None));
        Ok(left.chain(gaps).collect())
    }

    fn not_looked(&self, error: &nuke::LookError) -> Leftover {
        let why = crate::cause_chain(error);
        self.leftover(format!("could not look for what Terraform does not know: {why}"), None)
    }

    fn leftover(&self, resource: String, id: Option<String>) -> Leftover {
        Leftover { provider: self.name.clone(), resource, id }
    }
}

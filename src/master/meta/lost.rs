//! EFFECT. What an attempt at the meta stack lost: deleted by tag, before anything is applied again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::MetaError;
use super::record::MetaRecord;
use super::stack::{Stack, made};
use crate::ledger::Standing;
use crate::nuke::{Belief, sweep_unknown};
use crate::terraform::Workspace;

/// How long what an earlier attempt lost is deleted again and again.
const SWEEP_PATIENCE: Duration = Duration::from_secs(180);

impl Stack {
    /// Whether the ledger knows of an apply whose end it does not, or that failed.
    pub(super) fn is_doubtful(&self, record: &MetaRecord) -> Result<bool, MetaError> {
        let history = self.setup.ledger.read()?;
        let run_id = record.run_id();
        let mut places = history.of_run(&run_id);
        Ok(places.any(|place| matches!(place.standing, Standing::Intended | Standing::Failed)))
    }

    /// Deletes what carries the stack's tags and is not in its state: an apply would make it a second time.
    pub(super) async fn sweep(&self, workspace: &Workspace, record: &MetaRecord) -> Result<(), MetaError> {
        let known: BTreeSet<String> = made(workspace).into_iter().map(|made| made.id).collect();
        let history = self.setup.ledger.read()?;
        if known.is_empty() && history.of_run(&record.run_id()).any(|place| !place.made.is_empty()) {
            // It was whole once, and only its state is lost: results lie in it.
            return Ok(());
        }
        let (stack, intent) = (&self.setup.plan.stack, self.intent(record));
        let swept = sweep_unknown(stack, &intent, known, SWEEP_PATIENCE, Belief::TwoListings).await;
        let left: Vec<String> = match swept {
            Ok(swept) if swept.is_clean() => return Ok(()),
            Ok(swept) => {
                let left = swept.left.into_iter().map(|(kind, id, why)| format!("{kind} {id}: {why}"));
                left.chain(swept.gaps.into_iter().map(|gap| format!("{}: {}", gap.what, gap.why))).collect()
            }
            Err(error) => vec![crate::cause_chain(&error)],
        };
        Err(MetaError::Unclear { left, owner: record.owner.clone() })
    }
}

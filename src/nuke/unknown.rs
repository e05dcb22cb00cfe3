//! EFFECT. For a master: which account the credentials lead to, and a sweep of what one provider instance's
//! state does not know, before anything is applied again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::command::{AskError, Commands, Urgency, Voice};
use super::erase::{Fate, Fates};
use super::report::Known;
use super::settle::BETWEEN_LISTINGS;
use super::survey::{Answers, Gap, Site, Survey};
use super::target::{Scope, Wanted, used};
use crate::ledger::Intent;
use crate::provider::Backend;
use crate::sweep::{self, SweepError};

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Manifest(#[from] SweepError),
    #[error("could not tell which account the credentials lead to")]
    Account(#[from] AskError),
    #[error("the credentials lead to account {found}, what is to be swept is in {expected}")]
    OtherAccount { found: String, expected: String },
    #[error("`{program}`, with which the cloud is listed, is not in PATH")]
    NoTool { program: String },
}

impl LookError {
    /// Whether nobody can look on this machine, whatever the cloud says.
    pub fn is_blind(&self) -> bool {
        matches!(self, LookError::NoTool { .. } | LookError::Manifest(SweepError::Missing(_)))
    }
}

/// When a sweep believes that nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// At once: every call that made something was answered before.
    OneListing,
    /// After a pause: a call that was in flight when its caller ended may take effect after the first listing.
    TwoListings,
}

/// What a sweep of the unknown came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Swept {
    /// Resources that the state did not know and that are gone now, as `KIND ID`.
    pub deleted: Vec<String>,
    /// Those that are still there: kind, id and why.
    pub left: Vec<(String, String, String)>,
    /// What could not be listed: there may be more.
    pub gaps: Vec<Gap>,
}

impl Swept {
    /// Nothing is there that the state does not know: an apply makes no second of anything.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.gaps.is_empty()
    }
}

/// The account that the credentials lead to with these settings; `None` where the backend has none.
pub async fn account(backend: &Backend, settings: &Map<String, Value>) -> Result<Option<String>, LookError> {
    Ok(site(backend, settings, None, BTreeSet::new())?.account().await?)
}

/// Deletes what carries the intent's owner, run and provider instance, and is not among `known`, the ids that
/// Terraform's state has. Tries for as long as `patience`, until listings find nothing: as many as `belief`
/// says, two where one has found something.
///
/// # Errors
/// Where nothing could be listed at all; a kind that could not be is in [`Swept::gaps`].
pub async fn sweep_unknown(
    backend: &Backend,
    intent: &Intent,
    known: BTreeSet<String>,
    patience: Duration,
    belief: Belief,
) -> Result<Swept, LookError> {
    let owners = [intent.owner.clone()].into();
    let site = site(backend, &intent.settings, intent.account.clone(), owners)?;
    let programs = site.voice.manifest.steps.iter().filter_map(|step| step.list.command.first());
    if let Some(program) = programs.into_iter().find(|program| which::which(program).is_err()) {
        return Err(LookError::NoTool { program: program.clone() });
    }
    if let Some(expected) = &intent.account {
        let found = site.account().await?;
        if found.as_ref() != Some(expected) {
            let found = found.unwrap_or_else(|| "none".to_owned());
            return Err(LookError::OtherAccount { found, expected: expected.clone() });
        }
    }
    let wanted = Wanted {
        runs: [(intent.owner.clone(), intent.run_id.clone())].into(),
        providers: [intent.provider.clone()].into(),
        ..Wanted::default()
    };
    let known = Known { ids: known };
    let deadline = Instant::now() + patience;
    let mut deleted = BTreeSet::new();
    let mut fates = Fates::new();
    let mut quiet_once = belief == Belief::OneListing;
    loop {
        let mut survey = site.survey(&wanted, &Answers::default(), |_| true).await;
        survey.ours.retain(|found| !known.has(found));
        let left: BTreeSet<String> =
            survey.ours.iter().map(|found| format!("{} {}", found.kind, found.item.id)).collect();
        if survey.ours.is_empty() && !quiet_once {
            quiet_once = true;
            tokio::time::sleep(BETWEEN_LISTINGS).await;
            continue;
        }
        if survey.ours.is_empty() || Instant::now() > deadline {
            let deleted = deleted.difference(&left).cloned().collect();
            return Ok(Swept {
                deleted,
                left: reasons(&survey, &fates),
                gaps: survey.gaps.into_iter().collect(),
            });
        }
        quiet_once = false;
        deleted.extend(left);
        let round = site.erase(&survey, &wanted, deadline).await;
        if round.values().any(|fate| !matches!(fate, Fate::Asked)) {
            tokio::time::sleep(PAUSE).await;
        }
        fates.extend(round);
    }
}

fn reasons(survey: &Survey, fates: &Fates) -> Vec<(String, String, String)> {
    let reason = |fate: Option<&Fate>| match fate {
        Some(Fate::Blocked(blockers)) => {
            let names: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            format!("something that is not ours lies in it: {}", names.join(", "))
        }
        Some(Fate::Later(said) | Fate::Failed(said)) => said.clone(),
        Some(Fate::Asked | Fate::Going) | None => "it is still going".to_owned(),
    };
    let told = survey.ours.iter().map(|found| {
        let fate = fates.get(&(found.step, found.item.id.clone()));
        (found.kind.clone(), found.item.id.clone(), reason(fate))
    });
    told.collect()
}

fn site(
    backend: &Backend,
    settings: &Map<String, Value>,
    account: Option<String>,
    owners: BTreeSet<crate::owner::OwnerId>,
) -> Result<Site, SweepError> {
    let manifest = Arc::new(sweep::load(backend)?);
    let settings = used(&manifest, settings);
    let scope = Scope { backend: backend.name().to_owned(), settings, account, owners, known: true };
    Ok(Site { voice: Voice::new(manifest, Commands::new(Urgency::Waited)), scope })
}

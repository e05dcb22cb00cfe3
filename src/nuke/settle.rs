//! EFFECT. Brings one scope to its end: list, delete, list again, until two listings find nothing, nothing
//! moves any more, or time is up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::erase::{Fate, Fates};
use super::survey::{Answers, Site, Survey};
use super::target::Wanted;
use super::{Event, Tell};

/// Between two listings that both find nothing: clouds show what was just made, or deleted, late.
pub const BETWEEN_LISTINGS: Duration = Duration::from_secs(10);
/// Pauses between rounds, growing from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Rounds without any change after which resources that failed, or that hold others' things, are given up.
const HOPELESS: u32 = 2;

/// How a scope ended.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// The last listing, with the gaps of the one before it.
    pub last: Survey,
    /// What became of each resource, in the round that touched it last.
    pub fates: Fates,
    /// Time spent deleting, pauses after what was refused included; the rest went into listings.
    pub deleting: Duration,
}

impl Settled {
    /// Two complete listings found nothing.
    pub fn is_clean(&self) -> bool {
        self.last.ours.is_empty() && self.last.gaps.is_empty()
    }
}

/// `first` is a listing that is still true, and when it ended.
pub async fn settle(
    site: &Site,
    first: Option<(Survey, Instant)>,
    wanted: &Wanted,
    deadline: Instant,
    tell: &Tell,
) -> Settled {
    let mut settled = Settled::default();
    let (mut survey, mut at) = match first {
        Some(first) => first,
        None => look(site, wanted).await,
    };
    let mut before = BTreeSet::new();
    let (mut unchanged, mut pause) = (0, PAUSES.0);
    loop {
        if survey.ours.is_empty() {
            tokio::time::sleep_until(at + BETWEEN_LISTINGS).await;
            let gaps = survey.gaps;
            (survey, _) = look(site, wanted).await;
            if survey.ours.is_empty() {
                survey.gaps.extend(gaps);
                settled.last = survey;
                return settled;
            }
        }
        let now: BTreeSet<String> = survey.ours.iter().map(|found| found.item.id.clone()).collect();
        unchanged = if now == before { unchanged + 1 } else { 0 };
        let begun = Instant::now();
        let fates = site.erase(&survey, wanted, deadline).await;
        let moves = fates.values().any(|fate| matches!(fate, Fate::Asked | Fate::Going));
        let hopeless = !fates.values().any(|fate| matches!(fate, Fate::Asked | Fate::Going | Fate::Later(_)));
        if unchanged > 0 {
            name_blockers(site, &fates, tell);
        }
        settled.fates.extend(fates);
        if (hopeless && unchanged >= HOPELESS) || Instant::now() > deadline {
            settled.deleting += begun.elapsed();
            (settled.last, _) = look(site, wanted).await;
            return settled;
        }
        // What was taken may be gone at once; what was refused needs time.
        pause = if moves && unchanged == 0 { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        if !moves || unchanged > 0 {
            tokio::time::sleep(pause).await;
        }
        settled.deleting += begun.elapsed();
        before = now;
        (survey, at) = look(site, wanted).await;
    }
}

async fn look(site: &Site, wanted: &Wanted) -> (Survey, Instant) {
    let survey = site.survey(wanted, &Answers::default(), |_| true).await;
    (survey, Instant::now())
}

/// Nothing has changed for a round: who looks on learns what holds it up.
fn name_blockers(site: &Site, fates: &Fates, tell: &Tell) {
    for ((step, id), fate) in fates {
        let kind = site.voice.manifest.steps.get(*step).map_or("", |step| step.kind.as_str());
        let why = match fate {
            Fate::Blocked(blockers) => {
                let names: Vec<String> = blockers.iter().map(ToString::to_string).collect();
                names.join(", ")
            }
            Fate::Later(said) | Fate::Failed(said) => said.clone(),
            Fate::Asked | Fate::Going => "its deletion was taken, but it is still listed".to_owned(),
        };
        tell(Event::Stuck { resource: format!("{kind} {id}"), place: site.scope.label(), why });
    }
}

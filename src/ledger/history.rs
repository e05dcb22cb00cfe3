//! PURE. What the ledger's lines come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Fact, FactKind, Intent, Made};
use crate::api::RunId;
use crate::owner::OwnerId;

/// Everything that was ever about to exist, in the order in which it was first written down.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub places: Vec<Place>,
    /// Lines that cannot be understood, from 1: what they say is not known, so nothing is certainly gone.
    pub unreadable: Vec<usize>,
}

/// One provider instance of one run in one scope and account. A run whose instance moved has one a scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// As it was written last.
    pub intent: Intent,
    pub first_at: jiff::Timestamp,
    pub last_at: jiff::Timestamp,
    pub standing: Standing,
    /// Left standing on purpose.
    pub kept: bool,
    /// Every resource that an apply told of, and of which no listing has shown that it is gone.
    pub made: BTreeSet<Made>,
}

/// Where an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may be in the making, or its master died.
    Intended,
    Applied,
    /// The last apply failed; some of it may exist.
    Failed,
    /// Terraform says that it is gone.
    Destroyed,
    /// Listings say that it is gone.
    Gone,
}

impl History {
    pub(super) fn intend(&mut self, at: jiff::Timestamp, intent: Intent) {
        let same =
            |place: &&mut Place| place.is_of(&intent.run_id, &intent.provider) && place.is_where(&intent);
        match self.places.iter_mut().find(same) {
            Some(place) => {
                (place.last_at, place.standing, place.kept) = (at, Standing::Intended, false);
                place.intent = intent;
            }
            None => self.places.push(Place {
                intent,
                first_at: at,
                last_at: at,
                standing: Standing::Intended,
                kept: false,
                made: BTreeSet::new(),
            }),
        }
    }

    pub(super) fn note(&mut self, at: jiff::Timestamp, fact: &Fact) {
        for place in self.places.iter_mut().filter(|place| place.is_of(&fact.run_id, &fact.provider)) {
            place.last_at = at;
            match &fact.kind {
                FactKind::Applied { made } => {
                    place.standing = Standing::Applied;
                    place.made.extend(made.iter().cloned());
                }
                FactKind::Failed { .. } => place.standing = Standing::Failed,
                FactKind::Kept => place.kept = true,
                FactKind::Extended { expires_at } => place.intent.expires_at = Some(*expires_at),
                FactKind::Destroyed => place.standing = Standing::Destroyed,
                FactKind::Gone => {
                    place.standing = Standing::Gone;
                    place.made.clear();
                }
            }
        }
    }

    /// What no listing has shown to be gone.
    pub fn open(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.standing != Standing::Gone)
    }

    /// Every run that was ever written down, each with its owners.
    pub fn runs(&self) -> BTreeMap<&RunId, BTreeSet<&OwnerId>> {
        let mut runs: BTreeMap<&RunId, BTreeSet<&OwnerId>> = BTreeMap::new();
        for place in &self.places {
            runs.entry(&place.intent.run_id).or_default().insert(&place.intent.owner);
        }
        runs
    }

    /// The places of one run.
    pub fn of_run(&self, run_id: &RunId) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.intent.run_id == *run_id)
    }
}

impl Place {
    fn is_of(&self, run_id: &RunId, provider: &str) -> bool {
        self.intent.run_id == *run_id && self.intent.provider == provider
    }

    /// Whether `intent` is for the same part of the same cloud.
    fn is_where(&self, intent: &Intent) -> bool {
        let key = |i: &Intent| (i.owner.clone(), i.backend.clone(), i.account.clone(), i.settings.clone());
        key(&self.intent) == key(intent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn intent(run_id: &str, provider: &str, region: &str) -> Intent {
        Intent {
            run_id: run_id.parse().unwrap(),
            owner: "me".parse().unwrap(),
            provider: provider.to_owned(),
            backend: "cloud".to_owned(),
            settings: json!({ "region": region }).as_object().unwrap().clone(),
            account: None,
            expires_at: Some(10),
            prices_usd_per_h: Default::default(),
            workspace: "/w".into(),
            state_copy: None,
        }
    }

    fn history(intents: &[Intent], facts: &[(&str, &str, FactKind)]) -> History {
        let mut history = History::default();
        let at = jiff::Timestamp::UNIX_EPOCH;
        intents.iter().for_each(|intent| history.intend(at, intent.clone()));
        for (run, provider, kind) in facts {
            let (run_id, provider, kind) = (run.parse().unwrap(), (*provider).to_owned(), kind.clone());
            history.note(at, &Fact { run_id, provider, kind });
        }
        history
    }

    #[test]
    fn every_scope_that_was_used_stays_known() {
        let all = [intent("r1", "a", "north"), intent("r1", "a", "south"), intent("r1", "a", "north")];
        let history = history(&all, &[("r1", "a", FactKind::Gone)]);
        let regions: Vec<_> = history.places.iter().map(|p| p.intent.settings["region"].clone()).collect();
        assert_eq!(regions, ["north", "south"]);
        assert_eq!(history.open().count(), 0);
        assert_eq!(history.runs().len(), 1);
    }

    #[test]
    fn facts_concern_their_run_and_provider_instance_alone() {
        let all = [intent("r1", "a", "north"), intent("r1", "b", "north"), intent("r2", "a", "north")];
        let history = history(&all, &[("r1", "a", FactKind::Gone), ("r2", "a", FactKind::Destroyed)]);
        let standings: Vec<Standing> = history.places.iter().map(|place| place.standing).collect();
        assert_eq!(standings, [Standing::Gone, Standing::Intended, Standing::Destroyed]);
        assert_eq!(history.open().count(), 2);
    }

    #[test]
    fn what_is_made_again_is_open_again() {
        let mut history = history(&[intent("r1", "a", "north")], &[("r1", "a", FactKind::Gone)]);
        assert_eq!(history.open().count(), 0);
        history.intend(jiff::Timestamp::UNIX_EPOCH, intent("r1", "a", "north"));
        assert_eq!(history.open().count(), 1);
    }

    #[test]
    fn a_deadline_can_move_and_what_was_made_gathers() {
        let made = |id: &str| FactKind::Applied { made: vec![Made { kind: "m".into(), id: id.into() }] };
        let facts = [
            ("r1", "a", made("1")),
            ("r1", "a", FactKind::Extended { expires_at: 20 }),
            ("r1", "a", made("2")),
            ("r1", "a", FactKind::Kept),
        ];
        let history = history(&[intent("r1", "a", "north")], &facts);
        let place = &history.places[0];
        assert_eq!((place.intent.expires_at, place.made.len(), place.kept), (Some(20), 2, true));
    }
}

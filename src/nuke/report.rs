//! PURE. What was found, and what became of each resource.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::erase::{Blocker, Fate};
use super::survey::{Found, Gap, Survey};
use super::target::Scope;
use crate::api::RunId;
use crate::owner::OwnerId;
use crate::sweep::SweepManifest;
use crate::terraform::State;

/// Hours that prices a month are for.
const HOURS_A_MONTH: f64 = 730.0;

/// From joining ledger, state and listing by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Terraform knows it and it is there.
    Expected,
    /// Terraform knows it, and no listing shows it: gone, or of a kind that goes with another.
    StateOnly,
    /// It is there and Terraform does not know it.
    TagOnly,
    /// It was about to be made, and nothing shows that it was.
    IntentOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Seen, nothing done yet (or `--dry-run`).
    Found,
    /// It is gone: two listings say so.
    Deleted,
    /// It was gone before.
    Gone,
    /// It was left on purpose.
    Kept,
    /// It could not be deleted.
    Failed,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    pub kind: String,
    pub id: String,
    /// Backend and place in it.
    #[serde(rename = "where")]
    pub place: String,
    pub run_id: RunId,
    pub provider: Option<String>,
    pub owner: OwnerId,
    pub class: Class,
    pub outcome: Outcome,
    /// Why it was kept or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What keeps it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_h: Option<f64>,
}

/// Resources by scope, kind and id.
pub type Resources = BTreeMap<(usize, String, String), Resource>;

/// What the state of a place knows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub ids: BTreeSet<String>,
}

impl Known {
    pub fn of(state: &State) -> Known {
        Known { ids: state.resources.iter().filter_map(|resource| resource.id.clone()).collect() }
    }

    pub fn has(&self, found: &Found) -> bool {
        let part_of = found.item.part_of.as_ref();
        self.ids.iter().any(|id| found.item.is_called(id)) || part_of.is_some_and(|of| self.ids.contains(of))
    }
}

/// Adds what a survey found to what is known already.
pub fn join(
    resources: &mut Resources,
    index: usize,
    scope: &Scope,
    survey: &Survey,
    known: &Known,
    price: &dyn Fn(&Found) -> Option<f64>,
) {
    for found in &survey.ours {
        let key = (index, found.kind.clone(), found.item.id.clone());
        resources.entry(key).or_insert_with(|| Resource {
            kind: found.kind.clone(),
            id: found.item.id.clone(),
            place: scope.label(),
            run_id: found.run_id.clone(),
            provider: found.provider.clone(),
            owner: found.owner.clone(),
            class: if known.has(found) { Class::Expected } else { Class::TagOnly },
            outcome: Outcome::Found,
            why: None,
            blockers: Vec::new(),
            usd_per_h: price(found),
        });
    }
}

/// Writes the end of one scope into the resources: what the last survey does not show is deleted.
pub fn settle(
    resources: &mut Resources,
    index: usize,
    last: &Survey,
    fates: &BTreeMap<(usize, String), Fate>,
) {
    let left: BTreeMap<(&str, &str), &Found> =
        last.ours.iter().map(|found| ((found.kind.as_str(), found.item.id.as_str()), found)).collect();
    let unseen = !last.gaps.is_empty();
    for ((of, kind, id), resource) in resources.iter_mut().filter(|((of, ..), _)| *of == index) {
        debug_assert_eq!(*of, index);
        let Some(found) = left.get(&(kind.as_str(), id.as_str())) else {
            let listed = !unseen || !last.gaps.iter().any(|gap| gap.what.contains(kind.as_str()));
            if listed {
                resource.outcome = Outcome::Deleted;
            } else {
                resource.outcome = Outcome::Failed;
                resource.why = Some("whether it is gone could not be seen".to_owned());
            }
            continue;
        };
        match fates.get(&(found.step, id.clone())) {
            Some(Fate::Blocked(blockers)) => {
                resource.outcome = Outcome::Kept;
                let names: Vec<String> = blockers.iter().map(ToString::to_string).collect();
                resource.why = Some(format!("something that is not ours lies in it: {}", names.join(", ")));
                resource.blockers.clone_from(blockers);
            }
            Some(Fate::Later(said)) => {
                (resource.outcome, resource.why) = (Outcome::Failed, Some(format!("still needed: {said}")));
            }
            Some(Fate::Failed(said)) => {
                (resource.outcome, resource.why) = (Outcome::Failed, Some(said.clone()));
            }
            Some(Fate::Asked | Fate::Going) => {
                let why = "its deletion was taken, but it is still there".to_owned();
                (resource.outcome, resource.why) = (Outcome::Failed, Some(why));
            }
            None => {
                resource.outcome = Outcome::Failed;
                resource.why.get_or_insert_with(|| "it was not reached".to_owned());
            }
        }
    }
}

/// What one resource costs, USD an hour, where that is known.
pub fn hourly(manifest: &SweepManifest, found: &Found, by_type: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    if found.item.billed == Some(false) || found.ending {
        return Some(0.0);
    }
    let cost = manifest.steps.get(found.step).and_then(|step| step.cost);
    let fixed = cost.and_then(|cost| cost.usd_per_h);
    let size = cost.and_then(|cost| cost.usd_per_gib_month).zip(found.item.gib);
    let size = size.map(|(price, gib)| price * gib / HOURS_A_MONTH);
    let of_type = found.item.instance_type.as_deref().map(by_type);
    match (of_type, fixed, size) {
        // A machine whose price nobody knows makes the whole unknown.
        (Some(None), ..) => None,
        (None, None, None) => Some(0.0),
        (of_type, fixed, size) => Some([of_type.flatten(), fixed, size].into_iter().flatten().sum()),
    }
}

/// What several resources cost: the sum of the known, and how many are unknown.
pub fn total<'r>(resources: impl IntoIterator<Item = &'r Resource>) -> (f64, usize) {
    resources.into_iter().fold((0.0, 0), |(sum, unknown), resource| match resource.usd_per_h {
        Some(price) => (sum + price, unknown),
        None => (sum, unknown + 1),
    })
}

/// What Terraform came to for one provider instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TerraformReport {
    pub run_id: RunId,
    pub provider: String,
    /// `destroyed`, `skipped` or `failed`.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub seconds: f64,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was looked for is gone, by two listings at least ten seconds apart.
    pub gone: bool,
    pub dry_run: bool,
    pub owners: BTreeSet<OwnerId>,
    pub runs: BTreeSet<RunId>,
    pub resources: Vec<Resource>,
    pub terraform: Vec<TerraformReport>,
    /// What could not be seen, each `scan incomplete: service, region`.
    pub incomplete: Vec<Gap>,
    /// Resources of our owner that belong to runs which were neither named nor are in the ledger.
    pub other_runs: BTreeMap<RunId, u64>,
    /// Runs, provider instances or accounts that were left alone, and why.
    pub refused: Vec<Gap>,
    pub usd_per_h: f64,
    /// Resources whose price is not known.
    pub without_price: usize,
    /// Seconds of the whole that went into listings and the wait between the last two. Scopes are listed side by
    /// side, which counts once.
    pub listing_seconds: f64,
}

impl Report {
    /// What is left, or may be.
    pub fn left(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|r| !matches!(r.outcome, Outcome::Deleted | Outcome::Gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::items;
    use serde_json::{Value, json};

    fn manifest() -> SweepManifest {
        serde_json::from_value(json!({ "backend": "cloud", "steps": [
            { "kind": "machine", "list": { "command": ["ls"] }, "delete": { "command": ["rm"] } },
            { "kind": "disk", "list": { "command": ["ls"] }, "delete": { "command": ["rm"] },
              "cost": { "usd_per_gib_month": 0.073 } },
            { "kind": "address", "list": { "command": ["ls"] }, "delete": { "command": ["rm"] },
              "cost": { "usd_per_h": 0.005 } }] }))
        .unwrap()
    }

    fn found(step: usize, kind: &str, item: Value) -> Found {
        Found {
            step,
            kind: kind.to_owned(),
            item: items(json!([item])).unwrap().remove(0),
            owner: "me".parse().unwrap(),
            run_id: "r1".parse().unwrap(),
            provider: None,
            ending: false,
        }
    }

    fn scope() -> Scope {
        Scope {
            backend: "cloud".into(),
            settings: serde_json::Map::new(),
            account: None,
            owners: BTreeSet::new(),
            known: true,
        }
    }

    #[test]
    fn costs_come_from_type_size_and_kind_and_an_unknown_one_stays_unknown() {
        let price = |found: &Found| hourly(&manifest(), found, &|name| (name == "small").then_some(0.04));
        assert_eq!(price(&found(0, "machine", json!({ "id": "1", "instance_type": "small" }))), Some(0.04));
        assert_eq!(price(&found(0, "machine", json!({ "id": "1", "instance_type": "big" }))), None);
        let stopped = json!({ "id": "1", "instance_type": "big", "billed": false });
        assert_eq!(price(&found(0, "machine", stopped)), Some(0.0));
        let disk = price(&found(1, "disk", json!({ "id": "2", "gib": 100 }))).unwrap();
        assert!((disk - 0.01).abs() < 1e-12, "{disk}");
        assert_eq!(price(&found(2, "address", json!({ "id": "3" }))), Some(0.005));
    }

    #[test]
    fn listing_and_state_are_joined_by_every_id_that_a_resource_has() {
        let survey = Survey {
            ours: vec![
                found(0, "machine", json!({ "id": "m-1" })),
                found(0, "machine", json!({ "id": "m-2" })),
                found(1, "disk", json!({ "id": "d-1", "part_of": "m-1" })),
                found(1, "disk", json!({ "id": "d-2", "also": ["named"] })),
            ],
            ..Survey::default()
        };
        let known = Known { ids: ["m-1".to_owned(), "named".to_owned()].into() };
        let mut resources = Resources::new();
        join(&mut resources, 0, &scope(), &survey, &known, &|_| None);
        let class = |id: &str| resources.values().find(|resource| resource.id == id).unwrap().class;
        assert_eq!(class("m-1"), Class::Expected);
        assert_eq!(class("m-2"), Class::TagOnly);
        assert_eq!(class("d-1"), Class::Expected);
        assert_eq!(class("d-2"), Class::Expected);
    }

    #[test]
    fn what_the_last_listing_does_not_show_is_deleted_unless_it_could_not_look() {
        let all = vec![
            found(0, "machine", json!({ "id": "m-1" })),
            found(1, "disk", json!({ "id": "d-1" })),
            found(2, "address", json!({ "id": "a-1" })),
        ];
        let mut resources = Resources::new();
        let before = Survey { ours: all.clone(), ..Survey::default() };
        join(&mut resources, 0, &scope(), &before, &Known::default(), &|_| None);
        let gap = Gap { what: "disk, cloud".into(), why: "403".into() };
        let last = Survey { ours: vec![all[2].clone()], gaps: [gap].into(), ..Survey::default() };
        let blocker = Blocker { kind: "port".into(), id: "p-1".into(), owner: "of owner you".into() };
        let fates = [((2, "a-1".to_owned()), Fate::Blocked(vec![blocker]))].into();
        settle(&mut resources, 0, &last, &fates);
        let outcomes: Vec<(&str, Outcome)> =
            resources.values().map(|resource| (resource.id.as_str(), resource.outcome)).collect();
        assert_eq!(outcomes, [("a-1", Outcome::Kept), ("d-1", Outcome::Failed), ("m-1", Outcome::Deleted)]);
        let kept = resources.values().next().unwrap();
        assert!(kept.why.as_ref().unwrap().contains("port p-1 (of owner you)"), "{kept:?}");
    }
}

//! PURE. What a nuke is about: which runs, in which parts of which clouds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::api::RunId;
use crate::ledger::{History, Place};
use crate::owner::OwnerId;
use crate::sweep::{Item, SweepManifest, Tags};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These runs, whether the ledger knows them or not. None: all that it knows.
    pub run_ids: BTreeSet<RunId>,
    /// Every run of the owner, whether the ledger knows it or not.
    pub all_runs: bool,
    /// Only these provider instances or backends. None: all.
    pub providers: BTreeSet<String>,
    /// The meta stack stays.
    pub providers_only: bool,
    pub all_regions: bool,
    /// Only what belongs to this owner. None: to the owners that the ledger tells.
    pub owner: Option<OwnerId>,
}

/// One part of one cloud, as one set of credentials sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    pub backend: String,
    /// The settings that its commands use.
    pub settings: Map<String, Value>,
    /// The account that it must be.
    pub account: Option<String>,
    pub owners: BTreeSet<OwnerId>,
    /// The ledger knows that it was used.
    pub known: bool,
}

/// What may be deleted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    pub runs: BTreeSet<(OwnerId, RunId)>,
    /// Every run of these owners.
    pub all_of: BTreeSet<OwnerId>,
    /// Only these provider instances or backends. None: all.
    pub providers: BTreeSet<String>,
    pub keep_meta: bool,
    /// Runs that a living master works on.
    pub busy: BTreeSet<RunId>,
    /// Backends that are swept: what carries another one's name is left to that.
    pub backends: BTreeSet<String>,
}

/// Whose a listed resource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// To be deleted.
    Ours {
        owner: OwnerId,
        run_id: RunId,
        provider: Option<String>,
    },
    /// Our owner's, of a run that was neither named nor is in the ledger.
    OtherRun(RunId),
    /// Ours, and asked to be kept.
    Kept,
    /// Perhaps ours: it carries our owner, and the rest cannot be read.
    Unclear(String),
    Foreign,
}

/// The run that the meta stack's resources carry.
pub fn meta_run(owner: &OwnerId) -> String {
    format!("meta-{owner}")
}

impl Selection {
    fn takes_provider(&self, provider: &str, backend: &str) -> bool {
        self.providers.is_empty() || self.providers.contains(provider) || self.providers.contains(backend)
    }

    /// The places of the ledger that were asked for.
    pub fn places<'h>(&self, history: &'h History) -> Vec<&'h Place> {
        let takes = |place: &&Place| {
            let intent = &place.intent;
            let meta = intent.run_id.as_str() == meta_run(&intent.owner);
            (self.run_ids.is_empty() || self.run_ids.contains(&intent.run_id))
                && self.takes_provider(&intent.provider, &intent.backend)
                && self.owner.as_ref().is_none_or(|owner| *owner == intent.owner)
                && !(self.providers_only && meta)
        };
        history.places.iter().filter(takes).collect()
    }

    /// What may be deleted. `me` is this user's owner id.
    pub fn wanted(&self, history: &History, me: &OwnerId) -> Wanted {
        let places = self.places(history);
        let mut runs: BTreeSet<(OwnerId, RunId)> =
            places.iter().map(|place| (place.intent.owner.clone(), place.intent.run_id.clone())).collect();
        let owners = self.owners(history, me);
        for run_id in &self.run_ids {
            runs.extend(owners.iter().map(|owner| (owner.clone(), run_id.clone())));
        }
        Wanted {
            runs,
            all_of: if self.all_runs { owners } else { BTreeSet::new() },
            providers: self.providers.clone(),
            keep_meta: self.providers_only,
            busy: BTreeSet::new(),
            backends: BTreeSet::new(),
        }
    }

    /// Owners whose resources are looked for.
    pub fn owners(&self, history: &History, me: &OwnerId) -> BTreeSet<OwnerId> {
        match &self.owner {
            Some(owner) => [owner.clone()].into(),
            None => {
                let told = history.places.iter().map(|place| place.intent.owner.clone());
                told.chain([me.clone()]).collect()
            }
        }
    }

    /// Where to look: every part of every cloud that was ever used by what was asked for. A run that the
    /// ledger does not know may be anywhere.
    pub fn scopes(
        &self,
        history: &History,
        me: &OwnerId,
        manifests: &BTreeMap<String, std::sync::Arc<SweepManifest>>,
    ) -> Vec<Scope> {
        let unknown = self.all_runs || self.run_ids.iter().any(|run| history.of_run(run).next().is_none());
        let mut scopes: Vec<Scope> = Vec::new();
        let chosen = self.places(history);
        let anywhere =
            |place: &Place| unknown && self.takes_provider(&place.intent.provider, &place.intent.backend);
        let rest = history.places.iter().filter(|place| anywhere(place) && !chosen.contains(place));
        for place in chosen.iter().copied().chain(rest) {
            let intent = &place.intent;
            let owners = self.owners(history, me);
            let owners = if unknown { owners } else { [intent.owner.clone()].into() };
            let settings = match manifests.get(&intent.backend) {
                Some(manifest) => used(manifest, &intent.settings),
                None => intent.settings.clone(),
            };
            let (backend, account) = (intent.backend.clone(), intent.account.clone());
            merge(&mut scopes, Scope { backend, settings, account, owners, known: true });
        }
        scopes
    }
}

/// Adds a scope, or its owners to the one that is there.
pub fn merge(scopes: &mut Vec<Scope>, scope: Scope) {
    let same = |other: &&mut Scope| {
        (&other.backend, &other.settings, &other.account) == (&scope.backend, &scope.settings, &scope.account)
    };
    match scopes.iter_mut().find(same) {
        Some(other) => {
            other.known |= scope.known;
            other.owners.extend(scope.owners);
        }
        None => scopes.push(scope),
    }
}

/// The settings that a manifest's commands use.
pub fn used(manifest: &SweepManifest, settings: &Map<String, Value>) -> Map<String, Value> {
    let text = serde_json::to_string(manifest).expect("a manifest is plain data");
    let named = |name: &str| {
        text.contains(&format!("{{{{{name}}}}}")) || manifest.arguments_when_set.contains_key(name)
    };
    settings
        .iter()
        .filter(|(name, value)| named(name) && !value.is_null())
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

impl Scope {
    /// Whether a place of the ledger lies in it.
    pub fn holds(&self, place: &Place, manifest: Option<&SweepManifest>) -> bool {
        let intent = &place.intent;
        let settings = manifest.map_or_else(|| intent.settings.clone(), |m| used(m, &intent.settings));
        self.backend == intent.backend && self.account == intent.account && self.settings == settings
    }

    /// As messages name it: the backend and where in it.
    pub fn label(&self) -> String {
        let parts = self.settings.iter().map(|(name, value)| match (name.as_str(), value) {
            ("region", Value::String(text)) => text.clone(),
            (_, Value::String(text)) => format!("{name} {text}"),
            (_, value) => format!("{name} {value}"),
        });
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() {
            self.backend.clone()
        } else {
            format!("{}, {}", self.backend, parts.join(", "))
        }
    }
}

impl Wanted {
    /// N1: the owner *and* the run decide, and the mark that we made it. Neither a name nor the mere
    /// presence of a tag does.
    pub fn whose(&self, item: &Item, backend: &str) -> Whose {
        let tags = match &item.tags {
            Tags::Known(tags) => tags,
            Tags::Unreadable(why) => return Whose::Unclear(why.clone()),
        };
        let tag = |key: &str| tags.get(key).map(String::as_str);
        let owner = tag("bench_owner").and_then(|owner| owner.parse::<OwnerId>().ok());
        let Some(owner) = owner.filter(|owner| self.knows(owner)) else { return Whose::Foreign };
        if tag("bench_managed") != Some("true") {
            return Whose::Foreign;
        }
        let run_id: RunId = match tag("bench_run_id").map(str::parse) {
            Some(Ok(run_id)) => run_id,
            Some(Err(error)) => return Whose::Unclear(format!("its tag bench_run_id: {error}")),
            None => return Whose::Unclear("it has our owner and no tag bench_run_id".to_owned()),
        };
        if self.keep_meta && run_id.as_str() == meta_run(&owner) {
            return Whose::Kept;
        }
        if !self.all_of.contains(&owner) && !self.runs.contains(&(owner.clone(), run_id.clone())) {
            return Whose::OtherRun(run_id);
        }
        let provider = tag("bench_provider");
        let named =
            [provider, tag("bench_backend")].into_iter().flatten().any(|n| self.providers.contains(n));
        let elsewhere = tag("bench_backend").is_some_and(|of| of != backend && self.backends.contains(of));
        if elsewhere || self.busy.contains(&run_id) || !(self.providers.is_empty() || named) {
            return Whose::Kept;
        }
        Whose::Ours { provider: provider.map(str::to_owned), owner, run_id }
    }

    fn knows(&self, owner: &OwnerId) -> bool {
        self.all_of.contains(owner) || self.runs.iter().any(|(of, _)| of == owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Intent, Ledger};
    use crate::sweep::items;
    use serde_json::json;

    fn intent(run_id: &str, provider: &str, region: &str, account: &str) -> Intent {
        Intent {
            run_id: run_id.parse().unwrap(),
            owner: "me".parse().unwrap(),
            provider: provider.to_owned(),
            backend: "cloud".to_owned(),
            settings: json!({ "region": region, "size": 3 }).as_object().unwrap().clone(),
            account: Some(account.to_owned()),
            expires_at: None,
            prices_usd_per_h: BTreeMap::new(),
            workspace: "/w".into(),
            state_copy: None,
        }
    }

    /// Through a real ledger.
    fn history(intents: &[Intent]) -> History {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(&crate::master::home::Home::new(folder.path()));
        intents.iter().for_each(|intent| ledger.intend(intent).unwrap());
        ledger.read().unwrap()
    }

    fn manifests() -> BTreeMap<String, std::sync::Arc<SweepManifest>> {
        let manifest = json!({ "backend": "cloud", "steps": [{ "kind": "machine",
            "list": { "command": ["ls", "{{region}}"] }, "delete": { "command": ["rm", "{{id}}"] } }] });
        [("cloud".to_owned(), std::sync::Arc::new(serde_json::from_value(manifest).unwrap()))].into()
    }

    fn me() -> OwnerId {
        "me".parse().unwrap()
    }

    fn item(tags: serde_json::Value) -> Item {
        items(json!([{ "id": "i-1", "tags": tags }])).unwrap().remove(0)
    }

    fn ours(run: &str) -> serde_json::Value {
        json!({ "bench_managed": "true", "bench_owner": "me", "bench_run_id": run, "bench_provider": "a" })
    }

    #[test]
    fn every_region_and_account_that_was_ever_used_is_visited_once() {
        let history = history(&[
            intent("r1", "a", "north", "1"),
            intent("r2", "b", "north", "1"),
            intent("r3", "a", "south", "1"),
            intent("r4", "a", "north", "2"),
        ]);
        let scopes = Selection::default().scopes(&history, &me(), &manifests());
        let labels: Vec<(String, Option<String>)> =
            scopes.iter().map(|scope| (scope.label(), scope.account.clone())).collect();
        let expected = [("cloud, north", "1"), ("cloud, south", "1"), ("cloud, north", "2")];
        assert_eq!(labels, expected.map(|(label, account)| (label.to_owned(), Some(account.to_owned()))));
        let run_ids = ["r3".parse().unwrap()].into();
        let one = Selection { run_ids, ..Selection::default() };
        assert_eq!(one.scopes(&history, &me(), &manifests()).len(), 1);
        let run_ids = ["r9".parse().unwrap()].into();
        let unknown = Selection { run_ids, ..Selection::default() };
        assert_eq!(unknown.scopes(&history, &me(), &manifests()).len(), 3);
    }

    #[test]
    fn only_the_mark_the_owner_and_the_run_together_make_it_ours() {
        let history = history(&[intent("r1", "a", "north", "1")]);
        let wanted = Selection::default().wanted(&history, &me());
        let whose = |tags| wanted.whose(&item(tags), "cloud");
        assert!(matches!(whose(ours("r1")), Whose::Ours { .. }));
        let without = |key: &str| {
            let mut tags = ours("r1");
            tags.as_object_mut().unwrap().remove(key);
            tags
        };
        let with = |key: &str, value: &str| {
            let mut tags = ours("r1");
            tags[key] = json!(value);
            tags
        };
        for foreign in [
            json!(null),
            json!({ "Name": "bench-r1-a" }),
            json!({ "bench_managed": "true" }),
            without("bench_managed"),
            without("bench_owner"),
            with("bench_owner", "you"),
            with("bench_managed", ""),
        ] {
            assert_eq!(whose(foreign.clone()), Whose::Foreign, "{foreign}");
        }
        assert_eq!(whose(ours("r2")), Whose::OtherRun("r2".parse().unwrap()));
        for unclear in [without("bench_run_id"), with("bench_run_id", "../x"), json!("text")] {
            assert!(matches!(whose(unclear.clone()), Whose::Unclear(_)), "{unclear}");
        }
    }

    #[test]
    fn named_runs_providers_and_the_meta_stack_are_told_apart() {
        let history = history(&[intent("r1", "a", "north", "1"), intent("meta-me", "meta", "north", "1")]);
        let whose =
            |selection: Selection, tags| selection.wanted(&history, &me()).whose(&item(tags), "cloud");
        let named = |name: &str| Selection { providers: [name.to_owned()].into(), ..Selection::default() };
        assert!(matches!(whose(named("a"), ours("r1")), Whose::Ours { .. }));
        assert_ne!(whose(named("b"), ours("r1")), whose(named("a"), ours("r1")));
        let all_runs = Selection { all_runs: true, ..Selection::default() };
        assert!(matches!(whose(all_runs, ours("r9")), Whose::Ours { .. }));
        let run_ids = ["r9".parse().unwrap()].into();
        assert!(matches!(
            whose(Selection { run_ids, ..Selection::default() }, ours("r9")),
            Whose::Ours { .. }
        ));
        assert!(matches!(whose(Selection::default(), ours("meta-me")), Whose::Ours { .. }));
        let providers_only = Selection { providers_only: true, ..Selection::default() };
        assert_eq!(whose(providers_only, ours("meta-me")), Whose::Kept);
    }

    #[test]
    fn a_run_that_a_master_works_on_stays() {
        let history = history(&[intent("r1", "a", "north", "1")]);
        let mut wanted = Selection::default().wanted(&history, &me());
        wanted.busy.insert("r1".parse().unwrap());
        assert_eq!(wanted.whose(&item(ours("r1")), "cloud"), Whose::Kept);
    }
}

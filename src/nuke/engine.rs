//! From what was asked for to a plan, and from the plan to a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Duration;

use futures::future::join_all;
use nix::fcntl::Flock;
use tokio::time::Instant;

use super::command::{Commands, Urgency, Voice};
use super::destroy::{Ground, Standing};
use super::prepare::{all_regions, lock, manifests, named_scopes, right_accounts, run_locks};
use super::report::{Known, Report, Resources, TerraformReport, hourly, join, settle as write_end, total};
use super::settle::{Settled, settle};
use super::survey::{Answers, Found, Gap, Site, Survey};
use super::target::{Scope, Selection, Wanted};
use super::{Event, NukeError, Tell};
use crate::api::RunId;
use crate::ledger::{FactKind, History, Ledger, Place};
use crate::master::home::{Home, RunLock};
use crate::owner::OwnerId;
use crate::provider::Registry;
use crate::terraform::Tools;

/// What a nuke is given.
#[derive(Debug)]
pub struct Order<'o> {
    pub home: &'o Home,
    pub registry: &'o Registry,
    pub selection: Selection,
    /// This user's owner id.
    pub me: OwnerId,
    pub dry_run: bool,
    /// How long it tries, from the moment at which it begins to delete.
    pub patience: Duration,
}

/// Everything was looked at, nothing touched.
pub struct Nuke<'o> {
    order: Order<'o>,
    ledger: Ledger,
    history: History,
    places: Vec<Place>,
    wanted: Wanted,
    sites: Vec<Site>,
    surveys: Vec<(Survey, Instant)>,
    grounds: Vec<Ground>,
    resources: Resources,
    refused: Vec<Gap>,
    listing: Duration,
    tell: Tell,
    _locks: Vec<RunLock>,
    _lock: Option<Flock<File>>,
}

impl<'o> Nuke<'o> {
    /// Looks at everything that was asked for. `None`: the ledger knows of nothing, and no part of a cloud
    /// was named.
    pub async fn open(order: Order<'o>, tell: Tell) -> Result<Option<Nuke<'o>>, NukeError> {
        let lock = if order.dry_run { None } else { lock(order.home, &tell).await? };
        let ledger = Ledger::of(order.home);
        let history = ledger.read()?;
        let mut refused: Vec<Gap> = Vec::new();
        let manifests = manifests(order.registry, &history, &order.selection, &mut refused);
        let mut scopes = order.selection.scopes(&history, &order.me, &manifests);
        named_scopes(&order, &history, &manifests, &mut scopes);
        if scopes.is_empty() && history.unreadable.is_empty() {
            return Ok(None);
        }
        for line in &history.unreadable {
            let what = format!("line {line} of {}", ledger.path().display());
            refused.push(Gap {
                what,
                why: "it cannot be understood: what it tells of is not looked for".into(),
            });
        }
        let commands = Commands::new(Urgency::Waited);
        let site = |scope: Scope| {
            let manifest = manifests.get(&scope.backend)?.clone();
            Some(Site { voice: Voice::new(manifest, commands.clone()), scope })
        };
        let sites: Vec<Site> = scopes.into_iter().filter_map(site).collect();
        let mut sites = right_accounts(sites, &mut refused).await;
        if order.selection.all_regions {
            sites = all_regions(sites, &mut refused).await;
        }
        let mut wanted = order.selection.wanted(&history, &order.me);
        wanted.backends = sites.iter().map(|site| site.scope.backend.clone()).collect();
        let places: Vec<Place> = order.selection.places(&history).into_iter().cloned().collect();
        let locks = run_locks(&order, &places, &mut wanted, &mut refused);
        let mut nuke = Nuke {
            ledger,
            places,
            wanted,
            sites,
            surveys: Vec::new(),
            grounds: Vec::new(),
            resources: Resources::new(),
            refused,
            listing: Duration::ZERO,
            tell,
            _locks: locks,
            _lock: lock,
            history,
            order,
        };
        nuke.grounds = nuke.find_grounds();
        nuke.survey().await;
        Ok(Some(nuke))
    }

    async fn survey(&mut self) {
        let begun = Instant::now();
        let answers = Answers::default();
        let all = self.sites.iter().map(|site| site.survey(&self.wanted, &answers, |_| true));
        let surveys = join_all(all).await;
        self.listing += begun.elapsed();
        let now = Instant::now();
        self.surveys = surveys.into_iter().map(|survey| (survey, now)).collect();
        let surveys: Vec<Survey> = self.surveys.iter().map(|(survey, _)| survey.clone()).collect();
        surveys.iter().enumerate().for_each(|(index, survey)| self.join(index, survey));
    }

    fn join(&mut self, index: usize, survey: &Survey) {
        let known = self.known();
        let site = &self.sites[index];
        let catalog = self.order.registry.find(&site.scope.backend);
        let price = |found: &Found| {
            let of_run = |name: &str| {
                let told = self.history.of_run(&found.run_id);
                let told = told.filter_map(|place| place.intent.prices_usd_per_h.get(name).copied()).next();
                told.or_else(|| catalog?.facts(name).price_usd_per_h)
            };
            hourly(&site.voice.manifest, found, &of_run)
        };
        join(&mut self.resources, index, &site.scope, survey, &known, &price);
    }

    /// What the states know.
    fn known(&self) -> Known {
        let mut known = Known::default();
        for ground in &self.grounds {
            if let Standing::Usable(state) = ground.standing() {
                known.ids.extend(Known::of(&state).ids);
            }
        }
        known
    }

    /// Terraform's folders, one each, in scopes that may be touched.
    fn find_grounds(&self) -> Vec<Ground> {
        let tools = match Tools::find() {
            Ok(tools) => tools,
            Err(error) => {
                (self.tell)(Event::NoTerraform { why: crate::cause_chain(&error) });
                return Vec::new();
            }
        };
        let mut folders = BTreeSet::new();
        let usable = |place: &&Place| {
            let intent = &place.intent;
            intent.workspace.is_dir()
                && !self.wanted.busy.contains(&intent.run_id)
                && self.sites.iter().any(|site| site.scope.holds(place, Some(&site.voice.manifest)))
                && folders.insert(intent.workspace.clone())
        };
        let cache = self.order.home.init_cache();
        let ground = |place: &Place| {
            let backend = self.order.registry.find(&place.intent.backend)?;
            Some(Ground::new(&place.intent, &tools, &backend.manifest, &cache))
        };
        self.places.iter().filter(usable).filter_map(ground).collect()
    }

    /// What would be deleted.
    pub fn plan(&self) -> Report {
        self.report(Vec::new(), &[])
    }

    /// Terraform runs that would be stopped first.
    pub fn under_way(&self) -> Vec<(RunId, String)> {
        let busy = self.grounds.iter().filter(|ground| ground.is_busy());
        busy.map(|ground| (ground.intent.run_id.clone(), ground.intent.provider.clone())).collect()
    }

    /// Deletes, and looks until nothing is left or time is up.
    pub async fn execute(mut self) -> Result<Report, NukeError> {
        let deadline = Instant::now() + self.order.patience;
        for (ground, ended) in self.grounds.iter().zip(join_all(self.grounds.iter().map(Ground::quiet)).await)
        {
            if let Err(error) = ended {
                let what = format!("{} of run {}", ground.intent.provider, ground.intent.run_id);
                self.refused.push(Gap { what, why: crate::cause_chain(&error) });
            }
        }
        let mut terraform = Vec::new();
        let mut touched = false;
        for report in join_all(self.grounds.iter().map(|ground| self.destroy(ground))).await {
            touched |= report.outcome != "skipped";
            if report.outcome == "destroyed" {
                self.ledger.note(&report.run_id, &report.provider, FactKind::Destroyed)?;
            }
            terraform.push(report);
        }
        let begun = Instant::now();
        let settled = self.settle(touched, deadline).await;
        // Scopes work side by side: the one that deletes longest tells what is left for listings.
        let deleting = settled.iter().map(|settled| settled.deleting).max().unwrap_or_default();
        self.listing += begun.elapsed().saturating_sub(deleting);
        for (index, settled) in settled.iter().enumerate() {
            self.join(index, &settled.last);
            write_end(&mut self.resources, index, &settled.last, &settled.fates);
        }
        self.note_gone(&settled)?;
        Ok(self.report(terraform, &settled))
    }

    async fn destroy(&self, ground: &Ground) -> TerraformReport {
        let (run_id, provider) = (ground.intent.run_id.clone(), ground.intent.provider.clone());
        if matches!(ground.standing(), Standing::Usable(_)) {
            (self.tell)(Event::Destroying { run_id, provider });
        }
        let holds = |site: &&Site| {
            let place = self.places.iter().find(|place| place.intent.workspace == ground.intent.workspace);
            place.is_some_and(|place| site.scope.holds(place, Some(&site.voice.manifest)))
        };
        let site = self.sites.iter().position(|site| holds(&site));
        let foreign = async || match site {
            Some(index) => self.sites[index].holds_foreign(&self.surveys[index].0, &self.wanted).await,
            None => false,
        };
        let report = ground.destroy(foreign).await;
        (self.tell)(Event::Destroyed(report.clone()));
        report
    }

    async fn settle(&self, touched: bool, deadline: Instant) -> Vec<Settled> {
        let each = self.sites.iter().zip(&self.surveys).map(|(site, (survey, at))| {
            // Where nothing was touched since, the plan's listing is still true.
            let first = (!touched).then(|| (survey.clone(), *at));
            settle(site, first, &self.wanted, deadline, &self.tell)
        });
        join_all(each).await
    }

    /// Writes down what is certainly gone: all that a run's provider instance ever used was seen empty.
    fn note_gone(&self, settled: &[Settled]) -> Result<(), NukeError> {
        let clean = |place: &Place| {
            let mut holding =
                self.sites.iter().zip(settled).filter(|(site, _)| {
                    site.scope.known && site.scope.holds(place, Some(&site.voice.manifest))
                });
            !self.wanted.busy.contains(&place.intent.run_id) && holding.any(|(_, settled)| settled.is_clean())
        };
        let mut instances: BTreeMap<(&RunId, &str), bool> = BTreeMap::new();
        for place in &self.places {
            let key = (&place.intent.run_id, place.intent.provider.as_str());
            *instances.entry(key).or_insert(true) &= clean(place);
        }
        for ((run_id, provider), _) in instances.into_iter().filter(|(_, clean)| *clean) {
            self.ledger.note(run_id, provider, FactKind::Gone)?;
        }
        Ok(())
    }

    fn report(&self, terraform: Vec<TerraformReport>, settled: &[Settled]) -> Report {
        let last = |index: usize| settled.get(index).map_or(&self.surveys[index].0, |settled| &settled.last);
        let mut incomplete = BTreeSet::new();
        let mut other_runs: BTreeMap<RunId, u64> = BTreeMap::new();
        for index in 0..self.sites.len() {
            incomplete.extend(last(index).gaps.iter().cloned());
            for (run_id, count) in &last(index).others {
                let seen = other_runs.entry(run_id.clone()).or_default();
                *seen = (*seen).max(*count);
            }
        }
        // Who named runs or providers does not ask about the rest.
        if !self.order.selection.run_ids.is_empty() || !self.order.selection.providers.is_empty() {
            other_runs.clear();
        }
        let resources: Vec<_> = self.resources.values().cloned().collect();
        let (usd_per_h, without_price) = total(&resources);
        let clean = settled.len() == self.sites.len() && settled.iter().all(Settled::is_clean);
        Report {
            gone: clean && self.refused.is_empty() && other_runs.is_empty() && !settled.is_empty(),
            dry_run: self.order.dry_run,
            owners: self.sites.iter().flat_map(|site| site.scope.owners.iter().cloned()).collect(),
            runs: self.wanted.runs.iter().map(|(_, run_id)| run_id.clone()).collect(),
            resources,
            terraform,
            incomplete: incomplete.into_iter().collect(),
            other_runs,
            refused: self.refused.clone(),
            usd_per_h,
            without_price,
            listing_seconds: self.listing.as_secs_f64(),
        }
    }
}

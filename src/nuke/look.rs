//! EFFECT. A quick look, in a few seconds and without touching anything: does something of an earlier run still
//! cost money?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::command::{Commands, Urgency, Voice};
use super::report::hourly;
use super::survey::{Answers, Found, Gap, Site};
use super::target::{Scope, Wanted, merge, meta_run, used};
use crate::api::RunId;
use crate::ledger::{History, Ledger, LedgerError, Place, Standing};
use crate::master::home::Home;
use crate::provider::Registry;
use crate::sweep::{self, Step};

/// What Terraform said it destroyed is looked at for this long, seconds.
const DISTRUST_SECONDS: i64 = 24 * 3600;

/// What one run left behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    pub run_id: RunId,
    pub resources: usize,
    /// Sum of the known prices.
    pub usd_per_h: f64,
    /// Resources whose price is not known.
    pub without_price: usize,
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let things = if self.resources == 1 { "resource" } else { "resources" };
        write!(f, "run {} left {} {things} behind, ", self.run_id, self.resources)?;
        match self.without_price {
            0 => write!(f, "{:.4} USD/h", self.usd_per_h),
            n if self.usd_per_h > 0.0 => write!(f, "{:.4} USD/h and {n} of unknown price", self.usd_per_h),
            n => write!(f, "{n} of unknown price"),
        }
    }
}

/// What a quick look saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    pub leaks: Vec<Leak>,
    /// Where it could not look, or not in time.
    pub unseen: Vec<Gap>,
    /// Parts of clouds that were looked at.
    pub scopes: usize,
}

/// Looks for what earlier runs left, for at most `patience`. Runs with a living master, what was kept on
/// purpose until its time is up, and the meta stack are no leaks.
pub async fn look(
    home: &Home,
    registry: &Registry,
    patience: Duration,
    urgency: Urgency,
) -> Result<Look, LedgerError> {
    let history = Ledger::of(home).read()?;
    let now = jiff::Timestamp::now();
    let doubtful = |place: &&Place| is_doubtful(place, now) && !home.run(&place.intent.run_id).has_master();
    let places: Vec<&Place> = history.open().filter(doubtful).collect();
    let mut look = Look::default();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut manifests = BTreeMap::new();
    for place in &places {
        let name = &place.intent.backend;
        let loaded = registry.find(name).map(sweep::load);
        let Some(Ok(manifest)) = loaded else {
            let why = "there is no sweep manifest for it here".to_owned();
            look.unseen.push(Gap { what: format!("backend {name}"), why });
            continue;
        };
        let settings = used(&manifest, &place.intent.settings);
        manifests.entry(name.clone()).or_insert_with(|| Arc::new(manifest));
        let (account, owners) = (place.intent.account.clone(), [place.intent.owner.clone()].into());
        merge(&mut scopes, Scope { backend: name.clone(), settings, account, owners, known: true });
    }
    let runs = places.iter().map(|place| (place.intent.owner.clone(), place.intent.run_id.clone()));
    let wanted = Wanted { runs: runs.collect(), ..Wanted::default() };
    let commands = Commands::new(urgency);
    let sites = scopes
        .into_iter()
        .map(|scope| Site { voice: Voice::new(manifests[&scope.backend].clone(), commands.clone()), scope });
    let sites: Vec<Site> = sites.collect();
    look.scopes = sites.len();
    let seen = join_all(sites.iter().map(|site| async {
        let seen = tokio::time::timeout(patience, see(site, &wanted)).await;
        seen.unwrap_or_else(|_| Err(format!("it did not answer within {} s", patience.as_secs())))
    }));
    let mut found: BTreeMap<RunId, BTreeMap<String, Option<f64>>> = BTreeMap::new();
    for (site, seen) in sites.iter().zip(seen.await) {
        match seen {
            Ok(seen) => seen.into_iter().for_each(|one| {
                let price = price(site, &one, &history, registry);
                found.entry(one.run_id).or_default().insert(one.item.id, price);
            }),
            Err(why) => look.unseen.push(Gap { what: site.scope.label(), why }),
        }
    }
    look.unseen = look.unseen.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    look.leaks = found.into_iter().map(|(run_id, prices)| leak(run_id, &prices)).collect();
    Ok(look)
}

fn is_doubtful(place: &Place, now: jiff::Timestamp) -> bool {
    let intent = &place.intent;
    let waits = intent.expires_at.is_none_or(|at| at > now.as_second());
    let trusted = place.standing == Standing::Destroyed
        && now.as_second() - place.last_at.as_second() > DISTRUST_SECONDS;
    let is_meta = intent.run_id.as_str() == meta_run(&intent.owner);
    !(trusted || is_meta || place.kept && waits)
}

/// What costs money in a scope.
async fn see(site: &Site, wanted: &Wanted) -> Result<Vec<Found>, String> {
    let account = site.account().await.map_err(|error| error.to_string())?;
    if site.scope.account.is_some() && account != site.scope.account {
        return Err("the credentials lead to another account".to_owned());
    }
    let bills = |step: &Step| {
        step.cost.is_some() || step.list.query.as_ref().is_some_and(|query| query.contains("instance_type"))
    };
    let some = site.voice.manifest.steps.iter().any(bills);
    let survey = site.survey(wanted, &Answers::default(), |step| bills(step) || !some).await;
    match survey.gaps.into_iter().next() {
        Some(gap) if survey.ours.is_empty() => Err(format!("{}: {}", gap.what, gap.why)),
        _ => Ok(survey.ours.into_iter().filter(|found| !found.ending).collect()),
    }
}

fn price(site: &Site, found: &Found, history: &History, registry: &Registry) -> Option<f64> {
    let of_type = |name: &str| {
        let told = history.of_run(&found.run_id);
        let told = told.filter_map(|place| place.intent.prices_usd_per_h.get(name).copied()).next();
        told.or_else(|| registry.find(&site.scope.backend)?.facts(name).price_usd_per_h)
    };
    hourly(&site.voice.manifest, found, &of_type)
}

fn leak(run_id: RunId, prices: &BTreeMap<String, Option<f64>>) -> Leak {
    Leak {
        run_id,
        resources: prices.len(),
        usd_per_h: prices.values().flatten().sum(),
        without_price: prices.values().filter(|price| price.is_none()).count(),
    }
}

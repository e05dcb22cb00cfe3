//! What comes before a nuke's first listing: its locks, the manifests and scopes that matter, and whether the
//! credentials lead where the ledger says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use futures::future::join_all;
use nix::fcntl::{Flock, FlockArg};

use super::engine::Order;
use super::survey::{Gap, Site};
use super::target::{Scope, Selection, Wanted, merge, used};
use super::{Event, NukeError, Tell};
use crate::api::RunId;
use crate::ledger::{History, Place};
use crate::master::home::{Home, RunLock, create_private_dir};
use crate::provider::Registry;
use crate::sweep::{self, SweepManifest};

pub(super) type Manifests = BTreeMap<String, Arc<SweepManifest>>;

/// One nuke of a home at a time: the second waits, and finds little left to do.
pub(super) async fn lock(home: &Home, tell: &Tell) -> Result<Option<Flock<File>>, NukeError> {
    if !home.root().is_dir() {
        return Ok(None);
    }
    create_private_dir(home.root())?;
    let path = home.root().join("nuke.lock");
    let open = || {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(&path)
    };
    match Flock::lock(open()?.into_file(), FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => tell(Event::Waiting),
        Err((_, errno)) => return Err(std::io::Error::from(errno).into()),
    }
    let file = open()?.into_file();
    let locked = tokio::task::spawn_blocking(move || Flock::lock(file, FlockArg::LockExclusive));
    let locked = locked.await.map_err(std::io::Error::other)?;
    Ok(Some(locked.map_err(|(_, errno)| std::io::Error::from(errno))?))
}

/// Sweep manifests of every backend that matters here; what cannot be swept is refused.
pub(super) fn manifests(
    registry: &Registry,
    history: &History,
    selection: &Selection,
    refused: &mut Vec<Gap>,
) -> Manifests {
    let mut names: BTreeSet<&str> = history.places.iter().map(|p| p.intent.backend.as_str()).collect();
    names.extend(selection.providers.iter().map(String::as_str).filter(|name| registry.find(name).is_some()));
    let chosen: BTreeSet<&str> =
        selection.places(history).iter().map(|place| place.intent.backend.as_str()).collect();
    let mut manifests = Manifests::new();
    for name in names {
        let loaded = match registry.find(name) {
            Some(backend) => sweep::load(backend).map_err(|error| error.to_string()),
            None => Err("there is no such backend here; `--infrastructure` names its folder".to_owned()),
        };
        match loaded {
            Ok(manifest) => drop(manifests.insert(name.to_owned(), Arc::new(manifest))),
            Err(why) if chosen.contains(name) || selection.providers.contains(name) => {
                refused.push(Gap { what: format!("backend {name}"), why });
            }
            Err(_) => {}
        }
    }
    manifests
}

/// A backend that was named, and of which the ledger knows nothing, is looked at with its default settings.
pub(super) fn named_scopes(
    order: &Order<'_>,
    history: &History,
    manifests: &Manifests,
    scopes: &mut Vec<Scope>,
) {
    let selection = &order.selection;
    if !selection.all_runs && selection.run_ids.is_empty() {
        return;
    }
    for name in &selection.providers {
        let (Some(manifest), Some(backend)) = (manifests.get(name), order.registry.find(name)) else {
            continue;
        };
        if scopes.iter().any(|scope| scope.backend == *name) {
            continue;
        }
        let settings = used(manifest, &backend.settings(&serde_json::Map::new()));
        let owners = selection.owners(history, &order.me);
        merge(scopes, Scope { backend: name.clone(), settings, account: None, owners, known: true });
    }
}

/// N9: leaves scopes alone whose credentials lead elsewhere than the ledger says.
pub(super) async fn right_accounts(sites: Vec<Site>, refused: &mut Vec<Gap>) -> Vec<Site> {
    let accounts = join_all(sites.iter().map(Site::account)).await;
    let mut right = Vec::new();
    for (mut site, account) in sites.into_iter().zip(accounts) {
        let what = site.scope.label();
        match (&site.scope.account, account) {
            (_, Err(error)) => {
                refused.push(Gap { what, why: format!("could not tell the account: {error}") })
            }
            (Some(expected), Ok(found)) if Some(expected) != found.as_ref() => {
                let found = found.unwrap_or_else(|| "none".to_owned());
                let why = format!(
                    "the credentials lead to account {found}, the ledger's is {expected}; nothing there was touched"
                );
                refused.push(Gap { what, why });
            }
            (None, Ok(found)) if !site.scope.known => {
                site.scope.account = found;
                right.push(site);
            }
            (_, Ok(_)) => right.push(site),
        }
    }
    right
}

/// Adds every region in which a question finds something of the owners.
pub(super) async fn all_regions(sites: Vec<Site>, refused: &mut Vec<Gap>) -> Vec<Site> {
    let mut scopes: Vec<Scope> = sites.iter().map(|site| site.scope.clone()).collect();
    let asked = join_all(sites.iter().map(Site::regions)).await;
    for (site, found) in sites.iter().zip(asked) {
        match found {
            Ok(more) => more.into_iter().for_each(|scope| merge(&mut scopes, scope)),
            Err(why) => refused.push(Gap { what: format!("all regions of {}", site.scope.label()), why }),
        }
    }
    let more: Vec<Scope> = scopes.split_off(sites.len());
    let voice =
        |backend: &str| sites.iter().find(|site| site.scope.backend == backend).map(|s| s.voice.clone());
    let more = more.into_iter().filter_map(|scope| Some(Site { voice: voice(&scope.backend)?, scope }));
    let more: Vec<Site> = more.collect();
    let empty = join_all(more.iter().map(Site::is_empty_by_probe)).await;
    let found = more.into_iter().zip(empty).filter(|(_, empty)| !empty).map(|(site, _)| site);
    let mut all = sites.clone();
    all.extend(found);
    all
}

/// N10: takes the lock of every run, so that none is taken up meanwhile. One that a master works on stays.
pub(super) fn run_locks(
    order: &Order<'_>,
    places: &[Place],
    wanted: &mut Wanted,
    refused: &mut Vec<Gap>,
) -> Vec<RunLock> {
    let mut runs: BTreeSet<RunId> = places.iter().map(|place| place.intent.run_id.clone()).collect();
    runs.extend(order.selection.run_ids.iter().cloned());
    let mut locks = Vec::new();
    for run_id in runs {
        let folder = order.home.run(&run_id);
        if !folder.root().is_dir() {
            continue;
        }
        if order.dry_run && !folder.has_master() {
            continue;
        }
        match folder.lock() {
            Ok(lock) => locks.push(lock),
            Err(error) => {
                let why = format!("{}; `bench stop {run_id}` asks it to end", crate::cause_chain(&error));
                refused.push(Gap { what: format!("run {run_id}"), why });
                wanted.busy.insert(run_id);
            }
        }
    }
    locks
}

//! Which orchestrator a run uses: decided before anything is created.

use std::collections::BTreeMap;
use std::path::Path;

use super::home::Home;
use super::meta::{MetaFolder, MetaPlan, MetaPlanError, Patience, Programs, Setup};
use crate::api::{ErrorCode, RunId};
use crate::client::{Client, ClientError, Endpoint};
use crate::config::{RunConfig, RunnerSource};
use crate::ledger::Ledger;
use crate::owner::{OwnerError, OwnerId};
use crate::plan::Plan;
use crate::provider::{Driver, MachineFacts, OrchestratorKind, Registry};
use crate::terraform::{BinaryError, InitCache, Tools};

/// Where a run's orchestrator comes from.
#[derive(Debug, Clone)]
pub enum OrchestratorSource {
    /// It runs inside the master, over files in the run's folder.
    Inside,
    /// It answers already.
    Answering(Endpoint),
    /// The owner's meta stack, made where it is not there.
    Meta(Box<Setup>),
}

impl OrchestratorSource {
    pub fn meta(&self) -> Option<&MetaPlan> {
        match self {
            OrchestratorSource::Meta(setup) => Some(&setup.plan),
            OrchestratorSource::Inside | OrchestratorSource::Answering(_) => None,
        }
    }
}

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub answering: Option<Endpoint>,
    /// Inside this process, or not at all.
    pub local: bool,
    /// A meta stack that is not there may be made.
    pub may_make: bool,
    /// Who a meta stack belongs to; absent: this user.
    pub owner: Option<OwnerId>,
}

#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error(
        "hosts of {} cannot reach an orchestrator inside this process: leave --local-orchestrator out, and one is \
         made at an address that they reach; or give the address of one with --orchestrator-url",
        .0.join(", ")
    )]
    NotReachable(Vec<String>),
    #[error(transparent)]
    Meta(#[from] MetaPlanError),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(transparent)]
    Terraform(#[from] BinaryError),
}

impl Wish {
    /// An address that was given wins; hosts in a cloud need a public one, for all others the one inside this
    /// process will do. `program` is this one.
    pub fn choose(
        self,
        home: &Home,
        registry: &Registry,
        config: &RunConfig,
        plan: &Plan,
        program: &Path,
    ) -> Result<OrchestratorSource, ChoiceError> {
        let far = far_away(plan);
        match self.answering {
            Some(endpoint) => return Ok(OrchestratorSource::Answering(endpoint)),
            None if far.is_empty() => return Ok(OrchestratorSource::Inside),
            None if self.local => return Err(ChoiceError::NotReachable(far)),
            None => {}
        }
        let none = BTreeMap::new();
        let others = match &config.task_runners.source {
            RunnerSource::Binary { binaries } => binaries,
            _ => &none,
        };
        let programs = Programs { own: program.to_owned(), own_arch: MachineFacts::read().arch, others };
        let owner = OwnerId::resolve(self.owner)?;
        Ok(OrchestratorSource::Meta(Box::new(Setup {
            plan: MetaPlan::new(&config.meta, registry, &programs, owner)?,
            folder: MetaFolder::of(home),
            tools: Tools::find()?,
            cache: InitCache::new(home.init_cache()),
            ledger: Ledger::of(home),
            may_make: self.may_make,
            patience: Patience::default(),
        })))
    }
}

/// Asks an orchestrator that was named for a run whether it answers and takes the key as its admin key. Nothing is
/// created, here or there.
///
/// # Errors
/// Why the run could not use it: its address, its certificate, the key.
pub async fn try_named(endpoint: &Endpoint, run: &RunId) -> Result<(), ClientError> {
    let client = Client::new(endpoint.clone())?;
    client.up().await?;
    // `/up` answers runs' keys as well. Whether it knows the run does not matter yet.
    match client.run(run).await {
        Err(error) if error.code() != Some(ErrorCode::NotFound) => Err(error),
        _ => Ok(()),
    }
}

/// Provider instances whose hosts reach an orchestrator with a public address only.
fn far_away(plan: &Plan) -> Vec<String> {
    let far = plan.providers.iter().filter(|provider| {
        provider.driver != Driver::Local && provider.orchestrator == OrchestratorKind::Public
    });
    far.map(|provider| format!("`{}`", provider.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::plan::plan;
    use crate::provider::Arch;

    fn choice(lists: &[&str], local: bool) -> Result<OrchestratorSource, ChoiceError> {
        let root = tempfile::tempdir().unwrap();
        for (name, kind) in [("near", "any"), ("far", "public")] {
            let manifest = serde_json::json!({
                "name": name, "description": "d", "phase": "pre_orchestrator", "driver": "terraform", "orchestrator": kind
            });
            fs_err::create_dir(root.path().join(name)).unwrap();
            fs_err::write(root.path().join(name).join("provider.json"), manifest.to_string()).unwrap();
        }
        let registry = Registry::load(&[root.path().to_owned()]).unwrap();
        let types = |alias| serde_json::json!([{ "instance_type": "t", "alias": alias, "vcpu": 1, "arch": "x86_64" }]);
        let lists = lists.iter().map(|name| ((*name).to_owned(), types(*name)));
        let text = serde_json::Value::Object(lists.collect()).to_string();
        let config = config::parse("run.json", &text, &registry).unwrap();
        let machine = MachineFacts { online_cpus: 2, arch: Arch::X86_64 };
        let plan = plan(&config, &registry, machine).unwrap();
        let home = Home::new(root.path().join(".bench"));
        let owner = Some("me".parse().unwrap());
        let wish = Wish { local, owner, ..Wish::default() };
        wish.choose(&home, &registry, &config, &plan, Path::new("/bin/bench"))
    }

    #[test]
    fn hosts_that_need_a_public_address_get_one_and_all_others_stay_here() {
        assert!(matches!(choice(&["near"], false), Ok(OrchestratorSource::Inside)));
        assert!(matches!(choice(&["near"], true), Ok(OrchestratorSource::Inside)));
        // Without Terraform on this machine there is another error, but never one inside.
        let far = choice(&["near", "far"], false);
        assert!(matches!(far, Ok(OrchestratorSource::Meta(_)) | Err(ChoiceError::Terraform(_))), "{far:?}");
        let refused = choice(&["near", "far"], true).unwrap_err().to_string();
        assert!(refused.contains("`far`") && !refused.contains("`near`"), "{refused}");
    }
}

//! What is needed to make the meta stack, gathered and checked before anything is created.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::config::{Binary, MetaSettings};
use crate::owner::OwnerId;
use crate::provider::{Arch, Backend, Manifest, Registry};
use crate::terraform::{Source, SourceError};

/// The setting of the same name in the stack's manifest.
const INSTANCE_TYPE: &str = "instance_type";
const IDLE_MINUTES: &str = "idle_minutes";

#[derive(Debug, Clone)]
pub struct MetaPlan {
    /// Who it belongs to.
    pub owner: OwnerId,
    /// Of this bench.
    pub version: String,
    pub backend: String,
    /// Whole, for the sweep of what Terraform loses.
    pub stack: Arc<Backend>,
    pub source: Source,
    pub manifest: Manifest,
    /// The backend's settings: what the config gives, and the defaults of the rest.
    pub settings: Map<String, Value>,
    /// Settings that cannot change while the stack is there.
    pub fixed_names: Vec<String>,
    /// Those of them that the config itself gives.
    pub fixed: Map<String, Value>,
    pub arch: Arch,
    /// The bench that becomes the orchestrator: of this version, for this architecture.
    pub program: PathBuf,
    /// Of instance types in the catalog, USD an hour.
    prices: IndexMap<String, f64>,
}

/// This program, and what the config offers for other architectures.
#[derive(Debug, Clone)]
pub struct Programs<'c> {
    pub own: PathBuf,
    pub own_arch: Arch,
    pub others: &'c BTreeMap<Arch, Binary>,
}

#[derive(Debug, thiserror::Error)]
pub enum MetaPlanError {
    #[error("could not read the module of the orchestrator's stack")]
    Source(#[from] SourceError),
    #[error(
        "`providers.meta.instance_type` is {instance_type}, whose architecture nobody knows; take one that \
         `bench provider show {backend}` lists"
    )]
    UnknownArch { instance_type: String, backend: String },
    #[error(
        "the orchestrator's instance type {instance_type} is {wanted}, this bench is {own}: give a bench of the same \
         version for it as `task_runners.binaries.{wanted}.path`, or another `providers.meta.instance_type`"
    )]
    NoProgram { instance_type: String, wanted: Arch, own: Arch },
}

impl MetaPlan {
    /// # Panics
    /// Where `settings` were checked against another registry.
    pub fn new(
        settings: &MetaSettings,
        registry: &Registry,
        programs: &Programs<'_>,
        owner: OwnerId,
    ) -> Result<MetaPlan, MetaPlanError> {
        let backend =
            registry.stack(&settings.backend).expect("a checked config names a stack of its registry");
        let (arch, program) = program(backend, &settings.given, programs)?;
        let known = &backend.manifest.settings;
        let fixed_names = known.iter().filter(|(_, setting)| setting.fixed).map(|(name, _)| name.clone());
        let fixed_names: Vec<String> = fixed_names.collect();
        let fixed = settings.given.clone().into_iter().filter(|(name, _)| fixed_names.contains(name));
        let types = backend.catalog().instance_types.iter();
        Ok(MetaPlan {
            owner,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: backend.name().to_owned(),
            stack: Arc::new(backend.clone()),
            source: Source::load(&backend.folder)?,
            manifest: backend.manifest.clone(),
            settings: backend.settings(&settings.given),
            fixed: fixed.collect(),
            fixed_names,
            arch,
            program,
            prices: types.filter_map(|(name, facts)| Some((name.clone(), facts.price_usd_per_h?))).collect(),
        })
    }

    pub fn prices(&self) -> impl Iterator<Item = (String, f64)> {
        self.prices.iter().map(|(name, price)| (name.clone(), *price))
    }

    pub fn price_usd_per_h(&self, instance_type: &str) -> Option<f64> {
        self.prices.get(instance_type).copied()
    }
}

/// After how many minutes without a run the stack with these settings ends itself.
pub fn idle_minutes(settings: &Map<String, Value>) -> Option<u64> {
    settings.get(IDLE_MINUTES).and_then(Value::as_u64)
}

fn program(
    backend: &Backend,
    given: &Map<String, Value>,
    programs: &Programs<'_>,
) -> Result<(Arch, PathBuf), MetaPlanError> {
    let own = || (programs.own_arch, programs.own.clone());
    let Some(instance_type) = given.get(INSTANCE_TYPE).and_then(Value::as_str) else { return Ok(own()) };
    let instance_type = instance_type.to_owned();
    let Some(wanted) = backend.facts(&instance_type).arch else {
        return Err(MetaPlanError::UnknownArch { instance_type, backend: backend.name().to_owned() });
    };
    if wanted == programs.own_arch {
        return Ok(own());
    }
    let other = programs.others.get(&wanted).and_then(|binary| binary.path.as_ref());
    match other {
        Some(path) => Ok((wanted, PathBuf::from(path))),
        None => Err(MetaPlanError::NoProgram { instance_type, wanted, own: programs.own_arch }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::META;

    fn made(given: Value, others: &[(Arch, &str)]) -> Result<MetaPlan, MetaPlanError> {
        let binary = |path: &str| Binary { path: Some(path.to_owned()), url: None, sha256: "0".repeat(64) };
        let others: BTreeMap<Arch, Binary> =
            others.iter().map(|(arch, path)| (*arch, binary(path))).collect();
        let Value::Object(given) = given else { unreachable!("tests give objects") };
        let settings = MetaSettings { backend: META.to_owned(), given };
        let programs = Programs { own: "/bin/bench".into(), own_arch: Arch::X86_64, others: &others };
        MetaPlan::new(&settings, &Registry::embedded().unwrap(), &programs, "me".parse().unwrap())
    }

    #[test]
    fn the_machine_has_the_architecture_of_this_bench_unless_another_is_asked_for() {
        let plan = made(json!({}), &[]).unwrap();
        assert_eq!((plan.arch, plan.program), (Arch::X86_64, PathBuf::from("/bin/bench")));
        let arm = json!({ "instance_type": "t4g.small" });
        let error = made(arm.clone(), &[]).unwrap_err().to_string();
        assert!(error.contains("task_runners.binaries.arm64.path"), "{error}");
        let plan = made(arm, &[(Arch::Arm64, "/arm/bench")]).unwrap();
        assert_eq!((plan.arch, plan.program.clone()), (Arch::Arm64, PathBuf::from("/arm/bench")));
        assert!(plan.price_usd_per_h("t4g.small").is_some_and(|price| price > 0.0));
    }

    #[test]
    fn only_what_the_config_gives_itself_can_differ_from_what_is_there() {
        let plan = made(json!({ "region": "eu-west-1", "idle_minutes": 30 }), &[]).unwrap();
        assert_eq!(Value::Object(plan.fixed), json!({ "region": "eu-west-1" }));
        assert_eq!(idle_minutes(&plan.settings), Some(30));
        assert!(made(json!({}), &[]).unwrap().fixed.is_empty());
    }
}

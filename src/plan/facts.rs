//! vCPU, architecture and price of an instance type: the config's entry, else the backend's catalog (and
//! architecture rules), else, with the local driver, the machine.

use super::Problem;
use crate::config::{InstanceType, ProviderInstance};
use crate::document::nearest;
use crate::provider::{Arch, Backend, Driver, InstanceFacts, MachineFacts};

/// Problems for which the nearest right name is looked for; after that it would take longer than it helps.
const NAMES_SOUGHT: usize = 50;

/// All that the planner needs to know about one instance type.
pub(super) struct Facts {
    pub vcpu: u32,
    pub arch: Arch,
    pub price_usd_per_h: Option<f64>,
    pub catalog: InstanceFacts,
}

pub(super) fn facts(
    instance: &ProviderInstance,
    entry: &InstanceType,
    backend: &Backend,
    machine: MachineFacts,
    problems: &mut Vec<Problem>,
) -> Option<Facts> {
    let catalog = backend.facts(&entry.instance_type);
    let is_local = backend.manifest.driver == Driver::Local;
    let own_cpus = is_local.then_some(machine.online_cpus);
    let own_arch = is_local.then_some(machine.arch);
    let vcpu = entry.vcpu.or(catalog.vcpu).or(own_cpus);
    let arch = entry.arch.or(catalog.arch).or(own_arch);
    let is_known = vcpu.is_some() && arch.is_some();
    let nearest =
        if is_known || problems.len() >= NAMES_SOUGHT { None } else { nearest_type(entry, backend) };
    let unknown = |fact: &'static str, key: &'static str| Problem::UnknownFact {
        at: entry.at.clone(),
        provider: instance.name.clone(),
        backend: backend.name().to_owned(),
        instance_type: entry.instance_type.clone(),
        alias: entry.alias.to_string(),
        fact,
        key,
        nearest: nearest.clone(),
    };
    if vcpu.is_none() {
        problems.push(unknown("vCPU count", "vcpu"));
    }
    if arch.is_none() {
        problems.push(unknown("architecture", "arch"));
    }
    let (vcpu, arch) = (vcpu?, arch?);
    if is_local {
        problems.extend(beyond_machine(instance, entry, vcpu, arch, machine));
    }
    Some(Facts { vcpu, arch, price_usd_per_h: price(entry, &catalog, is_local), catalog })
}

fn nearest_type(entry: &InstanceType, backend: &Backend) -> Option<String> {
    nearest(&entry.instance_type, backend.catalog().instance_types.keys().map(String::as_str))
}

/// What the config claims about the machine and the machine does not have.
fn beyond_machine(
    instance: &ProviderInstance,
    entry: &InstanceType,
    vcpu: u32,
    arch: Arch,
    machine: MachineFacts,
) -> Vec<Problem> {
    let (provider, alias) = (instance.name.clone(), entry.alias.to_string());
    let mut problems = Vec::new();
    if vcpu > machine.online_cpus {
        let (provider, alias) = (provider.clone(), alias.clone());
        problems.push(Problem::MoreThanMachine {
            at: entry.at.clone(),
            provider,
            alias,
            vcpu,
            online_cpus: machine.online_cpus,
        });
    }
    if arch != machine.arch {
        problems.push(Problem::OtherMachine {
            at: entry.at.clone(),
            provider,
            alias,
            arch,
            machine: machine.arch,
        });
    }
    problems
}

/// The highest price that one instance can have. The machine one sits at costs nothing more.
fn price(entry: &InstanceType, catalog: &InstanceFacts, is_local: bool) -> Option<f64> {
    let spot_cap = entry.max_price_usd_per_h.filter(|_| entry.spot);
    let own = is_local.then_some(0.0);
    entry.price_usd_per_h.or(spot_cap).or(catalog.price_usd_per_h).or(own)
}

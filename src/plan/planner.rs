//! The planner: one pass over the config, in its order.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::facts::facts;
use super::{
    Plan, PlanError, PlannedProvider, PlannedType, Problem, Totals, cost, effective_vcpu, instances_needed,
};
use crate::config::{InstanceType, ProviderInstance, RunConfig, RunnerSource};
use crate::provider::{Arch, Backend, Driver, MachineFacts, Registry};

/// Most names that one message lists.
const SHOWN: usize = 20;

/// Makes the plan of a config, or says everything that stands in its way.
///
/// # Panics
/// Where `config` was checked against another registry that had more backends.
pub fn plan(config: &RunConfig, registry: &Registry, machine: MachineFacts) -> Result<Plan, PlanError> {
    let mut problems = Vec::new();
    let providers: Vec<PlannedProvider> = config
        .providers
        .iter()
        .map(|instance| {
            let backend =
                registry.get(&instance.backend).expect("a checked config names backends of its registry");
            plan_provider(config, instance, backend, machine, &mut problems)
        })
        .collect();
    problems.extend(missing_binaries(&config.task_runners.source, &providers, machine.arch));
    if !problems.is_empty() {
        return Err(PlanError { problems });
    }
    let mut totals = Totals::default();
    providers.iter().for_each(|provider| totals.add(provider.totals));
    let cost = cost::cost(&providers, config.limits.ttl_minutes);
    Ok(Plan {
        runs_per_instance_type: config.runs_per_instance_type,
        workload: config.workload.clone(),
        runner_source: config.task_runners.source.clone(),
        ttl_minutes: config.limits.ttl_minutes,
        vcpu_count: providers.iter().flat_map(|p| p.vcpu_count.clone()).collect(),
        instance_count: providers.iter().flat_map(|p| p.instance_count.clone()).collect(),
        providers,
        totals,
        cost,
    })
}

fn plan_provider(
    config: &RunConfig,
    instance: &ProviderInstance,
    backend: &Backend,
    machine: MachineFacts,
    problems: &mut Vec<Problem>,
) -> PlannedProvider {
    let mut plan_type = |entry| plan_type(config, instance, entry, backend, machine, problems);
    let rows: Vec<PlannedType> = instance.instance_types.iter().filter_map(&mut plan_type).collect();
    let map = |value: fn(&PlannedType) -> u32| -> IndexMap<_, _> {
        rows.iter().map(|row| (row.alias.clone(), value(row))).collect()
    };
    PlannedProvider {
        name: instance.name.clone(),
        backend: instance.backend.clone(),
        phase: backend.manifest.phase,
        driver: backend.manifest.driver,
        orchestrator: backend.manifest.orchestrator,
        settings: instance.settings.clone(),
        vcpu_count: map(|row| row.effective_vcpu),
        instance_count: map(|row| row.instances),
        totals: totals(&rows, backend.manifest.driver),
        instance_types: rows,
    }
}

fn plan_type(
    config: &RunConfig,
    instance: &ProviderInstance,
    entry: &InstanceType,
    backend: &Backend,
    machine: MachineFacts,
    problems: &mut Vec<Problem>,
) -> Option<PlannedType> {
    let facts = facts(instance, entry, backend, machine, problems)?;
    let default_count = match backend.manifest.driver {
        Driver::Terraform => facts.vcpu,
        Driver::Local => 1,
    };
    let effective_vcpu = effective_vcpu(facts.vcpu, config.task_runners.count.unwrap_or(default_count));
    let instances = instances_needed(config.runs_per_instance_type, effective_vcpu);
    Some(PlannedType {
        alias: entry.alias.clone(),
        instance_type: entry.instance_type.clone(),
        vcpu: facts.vcpu,
        arch: facts.arch,
        effective_vcpu,
        instances,
        tasks: config.runs_per_instance_type,
        memory_gib: facts.catalog.memory_gib,
        threads_per_core: facts.catalog.threads_per_core,
        burstable: facts.catalog.burstable,
        spot: entry.spot,
        max_price_usd_per_h: entry.max_price_usd_per_h,
        price_usd_per_h: facts.price_usd_per_h,
        hourly_cost_usd: facts.price_usd_per_h.map(|price| price * f64::from(instances)),
    })
}

/// With the local driver, aliases take turns on one host.
fn totals(rows: &[PlannedType], driver: Driver) -> Totals {
    let instances = rows.iter().map(|row| u64::from(row.instances)).sum();
    let runners = |row: &PlannedType| u64::from(row.effective_vcpu);
    let (hosts, task_runners) = match driver {
        Driver::Terraform => {
            (instances, rows.iter().map(|row| runners(row) * u64::from(row.instances)).sum())
        }
        Driver::Local => (1, rows.iter().map(runners).max().unwrap_or(0)),
    };
    let tasks = rows.iter().map(|row| u64::from(row.tasks)).sum();
    Totals { instance_types: rows.len() as u64, hosts, instances, task_runners, tasks }
}

/// Architectures of hosts to be made for which there is no program to send.
fn missing_binaries(source: &RunnerSource, providers: &[PlannedProvider], own: Arch) -> Vec<Problem> {
    let RunnerSource::Binary { binaries } = source else { return Vec::new() };
    let mut missing: BTreeMap<Arch, Vec<String>> = BTreeMap::new();
    for row in providers.iter().filter(|p| p.driver != Driver::Local).flat_map(|p| &p.instance_types) {
        if row.arch != own && !binaries.contains_key(&row.arch) {
            let aliases = missing.entry(row.arch).or_default();
            if aliases.len() < SHOWN {
                aliases.push(row.alias.to_string());
            }
        }
    }
    missing.into_iter().map(|(arch, aliases)| Problem::MissingBinary { arch, aliases }).collect()
}

//! The planner: one pass over the config, in its order.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::facts::facts;
use super::{
    Plan, PlanError, PlannedProvider, PlannedType, Problem, Totals, cost, effective_vcpu, instances_needed,
};
use crate::api::WorkloadKind;
use crate::api::workload::TASK_DIR;
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
    problems.extend(shared_output(config, &providers));
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

/// Task runners of this machine work in the caller's folder, side by side: a results file there would be the
/// last one's.
fn shared_output(config: &RunConfig, providers: &[PlannedProvider]) -> Option<Problem> {
    let WorkloadKind::Command(command) = &config.workload.kind else { return None };
    let file = command.output.as_ref()?.file.as_ref().filter(|file| !file.contains(TASK_DIR))?;
    let local = providers.iter().filter(|p| p.driver == Driver::Local).flat_map(|p| &p.instance_types);
    let shared = local.into_iter().find(|row| row.effective_vcpu > 1 && row.tasks != 1)?;
    Some(Problem::SharedOutput { file: file.clone(), alias: shared.alias.to_string() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const MACHINE: MachineFacts = MachineFacts { online_cpus: 8, arch: Arch::X86_64 };

    fn plan_of(text: &str) -> Result<Plan, PlanError> {
        let registry = Registry::embedded().unwrap();
        let config = config::parse("run.json", text, &registry).unwrap();
        plan(&config, &registry, MACHINE)
    }

    #[test]
    fn an_absent_count_means_one_slot_on_the_local_machine() {
        let plan = plan_of(r#"{ "local": [{ "instance_type": "process", "alias": "a" }] }"#).unwrap();
        let row = &plan.providers[0].instance_types[0];
        assert_eq!((row.vcpu, row.effective_vcpu, row.instances, row.tasks), (8, 1, 6, 6));
        assert!(plan.is_local());
    }

    #[test]
    fn slots_never_exceed_the_machine_and_aliases_share_one_host() {
        let text = r#"{ "task_runners": { "count": 1000 }, "runs_per_instance_type": 20, "local": [
            { "instance_type": "process", "alias": "all" },
            { "instance_type": "docker", "alias": "some", "vcpu": 3 }
        ] }"#;
        let plan = plan_of(text).unwrap();
        let slots: Vec<u32> = plan.vcpu_count.values().copied().collect();
        assert_eq!(slots, [8, 3]);
        let counts: Vec<u32> = plan.instance_count.values().copied().collect();
        assert_eq!(counts, [3, 7]);
        assert_eq!((plan.totals.hosts, plan.totals.task_runners, plan.totals.tasks), (1, 8, 40));
    }

    #[test]
    fn every_problem_of_every_alias_is_named() {
        let text = r#"{ "local": [
            { "instance_type": "process", "alias": "a", "vcpu": 9 },
            { "instance_type": "process", "alias": "b", "arch": "arm64" }
        ] }"#;
        let error = plan_of(text).unwrap_err();
        assert!(matches!(
            error.problems.as_slice(),
            [Problem::MoreThanMachine { vcpu: 9, online_cpus: 8, .. }, Problem::OtherMachine { .. }]
        ));
    }

    #[test]
    fn groups_keep_the_order_of_the_file() {
        let text = r#"{ "runs_per_instance_type": 1000000, "local": [
            { "instance_type": "process", "alias": "z" }, { "instance_type": "process", "alias": "a" }
        ] }"#;
        let plan = plan_of(text).unwrap();
        let groups: Vec<_> = plan.task_groups().into_iter().map(|g| (g.alias.to_string(), g.count)).collect();
        assert_eq!(groups, [("z".to_owned(), 1_000_000), ("a".to_owned(), 1_000_000)]);
        let error = plan.check_limits(&config::Limits::default()).unwrap_err();
        assert_eq!(error.problems, [Problem::TooManyTasks { tasks: 2_000_000, most: 1_000_000 }]);
    }
}

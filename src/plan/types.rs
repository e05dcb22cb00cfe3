//! What a plan says.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Cost;
use crate::api::{Alias, TaskGroup, Workload};
use crate::config::RunnerSource;
use crate::provider::{Arch, Driver, OrchestratorKind, Phase};

/// Everything that a run makes and does, in the order of the config.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub runs_per_instance_type: u32,
    pub workload: Workload,
    pub runner_source: RunnerSource,
    pub ttl_minutes: u32,
    pub providers: Vec<PlannedProvider>,
    /// Task runners on one instance, by alias.
    pub vcpu_count: IndexMap<Alias, u32>,
    /// Instances, by alias.
    pub instance_count: IndexMap<Alias, u32>,
    pub totals: Totals,
    pub cost: Cost,
}

/// A provider instance and what it makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedProvider {
    pub name: String,
    pub backend: String,
    pub phase: Phase,
    pub driver: Driver,
    pub orchestrator: OrchestratorKind,
    pub settings: Map<String, Value>,
    pub instance_types: Vec<PlannedType>,
    pub vcpu_count: IndexMap<Alias, u32>,
    pub instance_count: IndexMap<Alias, u32>,
    pub totals: Totals,
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedType {
    pub alias: Alias,
    pub instance_type: String,
    pub vcpu: u32,
    pub arch: Arch,
    /// Task runners on one instance. With the local driver: slots of the one host.
    pub effective_vcpu: u32,
    /// Instances. With the local driver the same formula, though there is one host.
    pub instances: u32,
    pub tasks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_core: Option<u32>,
    /// Runs at full speed only as long as it has credits.
    pub burstable: bool,
    pub spot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price_usd_per_h: Option<f64>,
    /// Price of one instance, USD an hour; 0 on the local machine, absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd_per_h: Option<f64>,
    /// Price of all instances of this alias, USD an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_cost_usd: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub instance_types: u64,
    /// Machines in use: what Terraform makes, and 1 for a provider instance with the local driver.
    pub hosts: u64,
    /// Sum of the `instance_count` maps.
    pub instances: u64,
    pub task_runners: u64,
    pub tasks: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Totals) {
        self.instance_types += other.instance_types;
        self.hosts += other.hosts;
        self.instances += other.instances;
        self.task_runners += other.task_runners;
        self.tasks += other.tasks;
    }
}

impl Plan {
    /// The tasks to create the run with.
    pub fn task_groups(&self) -> Vec<TaskGroup> {
        let groups = self.providers.iter().flat_map(|provider| {
            provider.instance_types.iter().map(|planned| TaskGroup {
                provider: provider.name.clone(),
                instance_type: planned.instance_type.clone(),
                alias: planned.alias.clone(),
                count: planned.tasks,
                // Whoever makes the hosts says when they are made.
                unsettled: provider.driver == Driver::Terraform,
            })
        });
        groups.collect()
    }

    /// Every host is the machine that plans.
    pub fn is_local(&self) -> bool {
        self.providers.iter().all(|p| p.driver == Driver::Local)
    }
}

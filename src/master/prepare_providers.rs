//! The part of preparing a run that is about its provider instances: what each has to do, and what hosts are
//! made with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::docker;
use super::home::Home;
use super::local::{Container, LocalAlias};
use super::prepare::{Given, Hosts, PrepareError};
use super::programs;
use super::providers::{Driven, HostFacts, ProviderTask, TerraformTask};
use crate::client::Secret;
use crate::config::RunConfig;
use crate::ledger::Ledger;
use crate::orchestrator::auth::run_key;
use crate::owner::OwnerId;
use crate::plan::{Plan, PlannedProvider, PlannedType};
use crate::provider::{Driver, MachineFacts, Registry};
use crate::render::Runner;
use crate::terraform::Tools;

/// The instance type of the local backend that runs task runners in containers.
const DOCKER: &str = "docker";

/// What hosts are made with, where some are; every folder is rendered once to see that it can be.
pub(super) async fn hosts(
    home: &Home,
    config: &RunConfig,
    plan: &Plan,
    providers: &[ProviderTask],
    given: &Given,
    program: &Path,
) -> Result<Option<Hosts>, PrepareError> {
    let tasks: Vec<&TerraformTask> = providers.iter().filter_map(ProviderTask::terraform).collect();
    if tasks.is_empty() {
        return Ok(None);
    }
    let tools = Tools::find()?;
    let source = &plan.runner_source;
    let programs = match tasks.iter().any(|task| task.takes_binaries()) {
        true => programs::gather(source, MachineFacts::read().arch, program, &home.programs()).await?,
        false => Vec::new(),
    };
    let ttl = i64::from(plan.ttl_minutes) * 60;
    let facts = HostFacts {
        run_id: given.run_id.clone(),
        owner: OwnerId::resolve(given.owner.clone())?,
        ruby_version: config.ruby_version.clone(),
        mock: given.mock,
        debug: given.debug,
        ttl_minutes: plan.ttl_minutes,
        expires_at: given.expires_at.unwrap_or_else(|| jiff::Timestamp::now().as_second() + ttl),
        runner: Runner::new(source, programs::served(&programs)),
    };
    // As long as the real one.
    let key = run_key(&Secret::new("none"), &given.run_id, facts.expires_at);
    let looks = facts.with(key, home.run(&given.run_id).meta_state());
    for task in tasks {
        let failed = |source| PrepareError::Render { provider: task.planned.name.clone(), source };
        task.render(&looks, &facts.runner).map_err(failed)?;
    }
    let made = plan.providers.iter().filter(|provider| provider.driver == Driver::Terraform);
    Ok(Some(Hosts {
        facts,
        programs,
        tools,
        init_cache: home.init_cache(),
        ledger: Ledger::of(home),
        boot_timeout: Duration::from_secs_f64(config.limits.boot_timeout_minutes * 60.0),
        count: made.map(|provider| provider.totals.hosts).sum(),
        cost: plan.cost.clone(),
    }))
}

pub(super) async fn provider_tasks(
    plan: &Plan,
    registry: &Registry,
    image: Option<&str>,
    folders: Vec<PathBuf>,
) -> Result<Vec<ProviderTask>, PrepareError> {
    let local = plan.providers.iter().filter(|provider| provider.driver == Driver::Local);
    let container = if local.flat_map(|p| &p.instance_types).any(is_container) {
        let image = image.unwrap_or(docker::DEFAULT_IMAGE).to_owned();
        Some(Container { engine: docker::reachable_engine().await?, image, folders })
    } else {
        None
    };
    let task = |provider: &PlannedProvider| {
        let driven = match provider.driver {
            Driver::Local => Driven::Local(local_aliases(provider, container.as_ref())),
            Driver::Terraform => Driven::Terraform(Arc::new(load(provider, registry)?)),
        };
        Ok(ProviderTask { name: provider.name.clone(), phase: provider.phase, driven })
    };
    plan.providers.iter().map(task).collect()
}

fn load(provider: &PlannedProvider, registry: &Registry) -> Result<TerraformTask, PrepareError> {
    let backend = registry.get(&provider.backend).expect("the plan was made with this registry");
    TerraformTask::load(provider, backend)
        .map_err(|source| PrepareError::Module { provider: provider.name.clone(), source })
}

fn is_container(planned: &PlannedType) -> bool {
    planned.instance_type == DOCKER
}

fn local_aliases(provider: &PlannedProvider, container: Option<&Container>) -> Vec<LocalAlias> {
    let aliases = provider.instance_types.iter().map(|planned| LocalAlias {
        alias: planned.alias.clone(),
        instance_type: planned.instance_type.clone(),
        // No more side by side than there are tasks: the others would only wait.
        slots: planned.effective_vcpu.min(planned.tasks) as usize,
        container: container.filter(|_| is_container(planned)).cloned(),
    });
    aliases.collect()
}

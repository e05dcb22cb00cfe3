//! From what the user asked for to what a run needs: everything is checked here, nothing is created.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use std::sync::Arc;

use super::connection::OrchestratorSource;
use super::docker::{self, NoEngine};
use super::home::{Home, HomeError, RunFolder};
use super::local::{Container, LocalAlias};
use super::programs::{self, Program, ProgramError};
use super::providers::{Driven, HostFacts, ProviderTask, TerraformTask};
use super::record::{ProviderRecord, RecordError, RecordStatus, RunRecord};
use crate::api::{CreateRun, ResultsPolicy, RunId, TaskCounts, Workload, WorkloadKind};
use crate::client::{Endpoint, Secret};
use crate::config::{ConfigError, RunConfig};
use crate::document::Document;
use crate::ledger::Ledger;
use crate::orchestrator::auth::run_key;
use crate::owner::{OwnerError, OwnerId};
use crate::plan::{Plan, PlanError, PlannedProvider, PlannedType, plan_document};
use crate::provider::{Driver, MachineFacts, OrchestratorKind, Registry};
use crate::render::{RenderError, Runner};
use crate::report::PlanFact;
use crate::runner::workload::{self, PreflightError};
use crate::terraform::{BinaryError, SourceError, Tools};

/// The instance type of the local backend that runs task runners in containers.
const DOCKER: &str = "docker";

/// A run whose every precondition was checked.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What the orchestrator is told.
    pub create: CreateRun,
    pub providers: Vec<ProviderTask>,
    pub plan_facts: Vec<PlanFact>,
    pub orchestrator: OrchestratorSource,
    /// What hosts are made with; absent where no provider instance makes any.
    pub hosts: Option<Hosts>,
    /// Hosts are left running at the end.
    pub keep: bool,
    pub config_file: PathBuf,
    pub config_text: String,
    pub config_sha256: String,
    pub working_directory: PathBuf,
    pub cpu_locks: PathBuf,
    /// This program, which task runners are started from.
    pub program: PathBuf,
    pub mock: bool,
    pub debug: bool,
    /// How long the run's key is good for, seconds.
    pub ttl_seconds: u64,
    /// A run that exists and is taken up again.
    pub resumed: bool,
}

/// What all provider instances with Terraform share.
#[derive(Debug, Clone)]
pub struct Hosts {
    pub facts: HostFacts,
    /// What they fetch from the orchestrator.
    pub programs: Vec<Program>,
    pub tools: Tools,
    pub init_cache: PathBuf,
    /// Where it is written down what is about to be made.
    pub ledger: Ledger,
}

/// What the command line says beside the config.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub run_id: Option<RunId>,
    pub mock: bool,
    pub debug: bool,
    /// Start no task runners.
    pub skip_infra: bool,
    /// Leave the hosts running at the end.
    pub keep: bool,
    /// Who the hosts belong to; absent: this user.
    pub owner: Option<OwnerId>,
    pub orchestrator: Option<Endpoint>,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(
        "hosts of {} cannot reach an orchestrator inside this process: start one at an address that they reach \
         (`bench orchestrator --help`) and give it with --orchestrator-url",
        .0.join(", ")
    )]
    NotReachable(Vec<String>),
    #[error(transparent)]
    Terraform(#[from] BinaryError),
    #[error("could not read the module of the provider instance `{provider}`")]
    Module { provider: String, source: SourceError },
    #[error("could not render the provider instance `{provider}`")]
    Render { provider: String, source: RenderError },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error("the workload cannot run on this machine")]
    Workload(#[from] PreflightError),
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    #[error("could not find out where this program or the current folder is")]
    Process(#[source] std::io::Error),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("could not read what the run was started with")]
    ConfigCopy(#[source] std::io::Error),
    #[error(
        "the kept config of the run was changed: {path} has the digest {found}, the run was started with {expected}"
    )]
    ConfigChanged { path: PathBuf, found: String, expected: String },
}

/// Checks everything that a new run of `config_file` needs.
pub async fn new_run(
    home: &Home,
    registry: &Registry,
    config_file: &Path,
    options: Options,
) -> Result<Prepared, PrepareError> {
    let planned = plan_document(&Document::read(config_file)?, registry, MachineFacts::read())?;
    let run_id =
        options.run_id.clone().unwrap_or_else(|| RunId::make(jiff::Timestamp::now(), rand::random()));
    let working_directory = std::env::current_dir().map_err(PrepareError::Process)?;
    let given = Given {
        config_file: config_file.to_owned(),
        run_id,
        // 32 bits, so that every JSON reader keeps it exactly.
        seed: u64::from(rand::random::<u32>()),
        working_directory,
        mock: options.mock,
        debug: options.debug,
        skip_infra: options.skip_infra,
        keep: options.keep,
        owner: options.owner,
        expires_at: None,
        orchestrator: options.orchestrator,
        resumed: false,
    };
    prepare(home, registry, planned, given).await
}

/// Checks everything that taking up an old run needs: the same config, order and place as at its start.
pub async fn old_run(
    home: &Home,
    registry: &Registry,
    folder: &RunFolder,
    options: Options,
) -> Result<Prepared, PrepareError> {
    let record = RunRecord::load(&folder.record())?;
    let path = folder.config();
    let text = fs_err::read_to_string(&path).map_err(PrepareError::ConfigCopy)?;
    let found = digest(&text);
    if found != record.config_sha256 {
        return Err(PrepareError::ConfigChanged { path, found, expected: record.config_sha256 });
    }
    let document = Document::parse(&path.display().to_string(), &text)?;
    let planned = plan_document(&document, registry, MachineFacts::read())?;
    let given = Given {
        config_file: record.config_file,
        run_id: record.run_id,
        seed: record.seed,
        working_directory: record.working_directory,
        mock: record.mock,
        debug: options.debug,
        skip_infra: options.skip_infra,
        keep: options.keep,
        // Hosts that are there carry them in their tags.
        owner: record.owner.or(options.owner),
        expires_at: record.expires_at,
        orchestrator: options.orchestrator,
        resumed: true,
    };
    prepare(home, registry, planned, given).await
}

/// What differs between a new run and one that is taken up again.
struct Given {
    config_file: PathBuf,
    run_id: RunId,
    seed: u64,
    working_directory: PathBuf,
    mock: bool,
    debug: bool,
    skip_infra: bool,
    keep: bool,
    owner: Option<OwnerId>,
    expires_at: Option<i64>,
    orchestrator: Option<Endpoint>,
    resumed: bool,
}

async fn prepare(
    home: &Home,
    registry: &Registry,
    (config, plan): (RunConfig, Plan),
    given: Given,
) -> Result<Prepared, PrepareError> {
    plan.check_limits(&config.limits)?;
    let workload = effective_workload(&config, given.mock);
    let program = std::env::current_exe().map_err(PrepareError::Process)?;
    let orchestrator = match &given.orchestrator {
        Some(endpoint) => OrchestratorSource::Answering(endpoint.clone()),
        None => OrchestratorSource::Inside,
    };
    let (providers, hosts) = if given.skip_infra {
        (Vec::new(), None)
    } else {
        check_reach(&plan, &orchestrator)?;
        if plan.providers.iter().any(|provider| provider.driver == Driver::Local) {
            workload::preflight(&workload)?;
        }
        let folders = workload_folders(&workload, &given.working_directory);
        let image = config.task_runners.image.as_deref();
        let providers = provider_tasks(&plan, registry, image, folders).await?;
        let hosts = hosts(home, &config, &plan, &providers, &given, &program).await?;
        (providers, hosts)
    };
    let limits = &config.limits;
    Ok(Prepared {
        create: CreateRun {
            run_id: given.run_id,
            workload,
            tasks: plan.task_groups(),
            lease_seconds: limits.lease_seconds,
            max_attempts: limits.max_attempts,
            max_failure_retries: limits.max_failure_retries,
            pending_timeout_seconds: limits.pending_timeout_minutes.saturating_mul(60),
            seed: given.seed,
            results: ResultsPolicy::Required,
        },
        providers,
        plan_facts: plan.providers.iter().flat_map(plan_facts).collect(),
        orchestrator,
        hosts,
        keep: given.keep,
        config_file: given.config_file,
        config_sha256: digest(&config.text),
        config_text: config.text,
        working_directory: given.working_directory,
        cpu_locks: home.cpu_locks(),
        program,
        mock: given.mock,
        debug: given.debug,
        ttl_seconds: u64::from(limits.ttl_minutes) * 60,
        resumed: given.resumed,
    })
}

/// Hosts in a cloud need an orchestrator with a public address.
fn check_reach(plan: &Plan, orchestrator: &OrchestratorSource) -> Result<(), PrepareError> {
    let far = plan.providers.iter().filter(|provider| {
        provider.driver != Driver::Local && provider.orchestrator == OrchestratorKind::Public
    });
    let names: Vec<String> = far.map(|provider| format!("`{}`", provider.name)).collect();
    if names.is_empty() || orchestrator.is_public() { Ok(()) } else { Err(PrepareError::NotReachable(names)) }
}

/// What hosts are made with, where some are; every folder is rendered once to see that it can be.
async fn hosts(
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
    Ok(Some(Hosts { facts, programs, tools, init_cache: home.init_cache(), ledger: Ledger::of(home) }))
}

fn effective_workload(config: &RunConfig, mock: bool) -> Workload {
    let mut workload = config.workload.clone();
    if mock {
        workload.kind = WorkloadKind::Mock;
    }
    workload
}

/// Where the workload may look for its files: the caller's folder, and its own where that lies elsewhere.
fn workload_folders(workload: &Workload, callers: &Path) -> Vec<PathBuf> {
    let own = match &workload.kind {
        WorkloadKind::Command(command) => command.working_directory.as_ref().map(|own| callers.join(own)),
        _ => None,
    };
    let elsewhere = own.filter(|own| !own.starts_with(callers));
    std::iter::once(callers.to_owned()).chain(elsewhere).collect()
}

async fn provider_tasks(
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

fn plan_facts(provider: &PlannedProvider) -> impl Iterator<Item = PlanFact> {
    provider.instance_types.iter().map(|planned| PlanFact {
        provider: provider.name.clone(),
        instance_type: planned.instance_type.clone(),
        alias: planned.alias.clone(),
        architecture: Some(planned.arch.to_string()),
        vcpu: Some(planned.vcpu),
        effective_vcpu: Some(planned.effective_vcpu),
        instances: Some(u64::from(planned.instances)),
        tasks: u64::from(planned.tasks),
        price_usd_per_h: planned.price_usd_per_h,
    })
}

/// SHA-256 of a config's text, in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Prepared {
    pub fn total_tasks(&self) -> u64 {
        self.create.tasks.iter().map(|group| u64::from(group.count)).sum()
    }

    pub fn new_record(&self, started_at: jiff::Timestamp) -> RunRecord {
        let total = self.total_tasks();
        RunRecord {
            run_id: self.create.run_id.clone(),
            status: RecordStatus::Starting,
            started_at,
            finished_at: None,
            config_file: self.config_file.clone(),
            config_sha256: self.config_sha256.clone(),
            working_directory: self.working_directory.clone(),
            seed: self.create.seed,
            mock: self.mock,
            orchestrator: None,
            tasks: TaskCounts { total, pending: total, ..TaskCounts::default() },
            providers: self.providers.iter().map(ProviderTask::new_record).collect(),
            leftovers: Vec::new(),
            owner: self.hosts.as_ref().map(|hosts| hosts.facts.owner.clone()),
            expires_at: self.hosts.as_ref().map(|hosts| hosts.facts.expires_at),
        }
    }
}

impl ProviderTask {
    fn terraform(&self) -> Option<&TerraformTask> {
        match &self.driven {
            Driven::Terraform(task) => Some(task),
            Driven::Local(_) => None,
        }
    }

    fn new_record(&self) -> ProviderRecord {
        ProviderRecord {
            name: self.name.clone(),
            phase: self.phase,
            status: "pending".to_owned(),
            instances: if self.terraform().is_some() { 0 } else { 1 },
            hosts: Vec::new(),
            kept: false,
            error: None,
        }
    }
}

//! From what the user asked for to what a run needs: everything is checked here, nothing is created.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use std::time::Duration;

use super::changes;
use super::connection::{ConnectionError, endpoint_of};
use super::credentials::{self, NotReady};
use super::docker::NoEngine;
use super::home::{Home, HomeError, RunFolder};
use super::prepare_providers::{hosts, provider_tasks};
use super::programs::{Program, ProgramError};
use super::providers::{Driven, HostFacts, ProviderTask, TerraformTask};
use super::record::{ProviderRecord, RecordError, RecordStatus, RunRecord};
use super::source::{ChoiceError, OrchestratorSource, Wish, try_named};
use crate::api::{CreateRun, ResultsPolicy, RunId, TaskCounts, Workload, WorkloadKind};
use crate::client::{ClientError, Endpoint};
use crate::config::{self, ConfigError, RunConfig};
use crate::document::Document;
use crate::ledger::Ledger;
use crate::owner::{OwnerError, OwnerId};
use crate::plan::{Cost, Plan, PlanError, PlannedProvider, plan_document};
use crate::provider::{Driver, MachineFacts, Registry};
use crate::render::RenderError;
use crate::report::PlanFact;
use crate::runner::workload::{self, PreflightError};
use crate::terraform::{BinaryError, SourceError, Tools};

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
    pub on_interrupt: OnInterrupt,
    /// The checked config, without its file's name.
    pub config_values: serde_json::Value,
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
    /// Longest stay of a host at one stage of its boot.
    pub boot_timeout: Duration,
    pub count: u64,
    pub cost: Cost,
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
    pub on_interrupt: OnInterrupt,
    /// Run the orchestrator inside this process, or not at all.
    pub local_orchestrator: bool,
}

/// What becomes of the hosts of a run that is interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnInterrupt {
    #[default]
    Destroy,
    Keep,
    /// Whoever sits at the terminal says it.
    Ask,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Choice(#[from] ChoiceError),
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
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The orchestrator that was named.
    #[error(transparent)]
    Named(#[from] ClientError),
    #[error("could not find the run's orchestrator again")]
    Orchestrator(#[from] ConnectionError),
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
        "the config of the run was changed since it was started, in {path}: {}; undo that, or start a new run",
        .changes.join("; ")
    )]
    ConfigChanged { path: PathBuf, changes: Vec<String> },
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
    if let Some(endpoint) = &options.orchestrator {
        try_named(endpoint, &run_id).await?;
    }
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
        on_interrupt: options.on_interrupt,
        local_orchestrator: options.local_orchestrator,
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
    if digest(&text) != record.config_sha256 {
        let changes = changed_since(folder, &config::parse(&path.display().to_string(), &text, registry)?);
        return Err(PrepareError::ConfigChanged { path, changes });
    }
    let document = Document::parse(&path.display().to_string(), &text)?;
    let planned = plan_document(&document, registry, MachineFacts::read())?;
    // The one that the run knows is not replaced by one that it cannot use.
    if let Some(endpoint) = &options.orchestrator {
        try_named(endpoint, &record.run_id).await?;
    }
    let orchestrator = match (options.orchestrator, &record.orchestrator) {
        (None, Some(before)) if !before.inside_master && before.meta.is_none() => {
            Some(endpoint_of(folder, before)?)
        }
        (given, _) => given,
    };
    let given = Given {
        config_file: record.config_file,
        run_id: record.run_id,
        seed: record.seed,
        working_directory: record.working_directory,
        mock: record.mock,
        debug: options.debug || record.debug,
        skip_infra: options.skip_infra,
        keep: options.keep || record.keep,
        // Hosts that are there carry them in their tags.
        owner: record.owner.or(options.owner),
        expires_at: record.expires_at,
        orchestrator,
        on_interrupt: options.on_interrupt,
        local_orchestrator: options.local_orchestrator,
        resumed: true,
    };
    prepare(home, registry, planned, given).await
}

/// What was edited, as far as it is known what the run was started with.
fn changed_since(folder: &RunFolder, config: &RunConfig) -> Vec<String> {
    let started = fs_err::read(folder.started_config()).ok();
    let started = started.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let found = started.map(|started| changes::changes(&started, &values_of(config)));
    found.filter(|found| !found.is_empty()).unwrap_or_else(|| vec!["its text".to_owned()])
}

fn values_of(config: &RunConfig) -> serde_json::Value {
    let mut values = serde_json::to_value(config).expect("a config is plain data");
    if let Some(values) = values.as_object_mut() {
        values.remove("file");
    }
    values
}

/// What differs between a new run and one that is taken up again.
pub(super) struct Given {
    pub(super) config_file: PathBuf,
    pub(super) run_id: RunId,
    pub(super) seed: u64,
    pub(super) working_directory: PathBuf,
    pub(super) mock: bool,
    pub(super) debug: bool,
    pub(super) skip_infra: bool,
    pub(super) keep: bool,
    pub(super) owner: Option<OwnerId>,
    pub(super) expires_at: Option<i64>,
    pub(super) orchestrator: Option<Endpoint>,
    pub(super) on_interrupt: OnInterrupt,
    pub(super) local_orchestrator: bool,
    pub(super) resumed: bool,
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
    let orchestrator = Wish {
        answering: given.orchestrator.clone(),
        local: given.local_orchestrator,
        may_make: !given.skip_infra,
        owner: given.owner.clone(),
    };
    let orchestrator = orchestrator.choose(home, registry, &config, &plan, &program)?;
    let (providers, hosts) = if given.skip_infra {
        (Vec::new(), None)
    } else {
        if plan.providers.iter().any(|provider| provider.driver == Driver::Local) {
            workload::preflight(&workload)?;
        }
        let folders = workload_folders(&workload, &given.working_directory);
        let image = config.task_runners.image.as_deref();
        let providers = provider_tasks(&plan, registry, image, folders).await?;
        let hosts = hosts(home, &config, &plan, &providers, &given, &program).await?;
        let manifests = providers.iter().filter_map(ProviderTask::terraform);
        let manifests =
            manifests.map(|task| (task.planned.name.as_str(), &task.manifest, &task.planned.settings));
        let meta = orchestrator.meta().map(|plan| ("meta", &plan.manifest, &plan.settings));
        credentials::check(manifests.chain(meta)).await?;
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
        on_interrupt: given.on_interrupt,
        config_values: values_of(&config),
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
            debug: self.debug,
            keep: self.keep,
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
    pub(super) fn terraform(&self) -> Option<&TerraformTask> {
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

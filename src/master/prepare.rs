//! From what the user asked for to what a run needs: everything is checked here, nothing is created.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::docker::{self, NoEngine};
use super::home::{Home, HomeError, RunFolder};
use super::local::{Container, LocalAlias};
use super::record::{ProviderRecord, RecordError, RecordStatus, RunRecord};
use crate::api::{CreateRun, ResultsPolicy, RunId, TaskCounts, Workload, WorkloadKind};
use crate::client::Endpoint;
use crate::config::{self, ConfigError, RunConfig};
use crate::plan::{Plan, PlanError, PlannedProvider, PlannedType, plan};
use crate::provider::{Driver, MachineFacts, Phase, Registry};
use crate::report::PlanFact;
use crate::runner::workload::{self, PreflightError};

/// The instance type of the local backend that runs task runners in containers.
const DOCKER: &str = "docker";

/// A run whose every precondition was checked.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What the orchestrator is told.
    pub create: CreateRun,
    pub providers: Vec<ProviderTask>,
    pub plan_facts: Vec<PlanFact>,
    /// An orchestrator that answers already; without it one is started inside the master.
    pub orchestrator: Option<Endpoint>,
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

/// What one provider instance has to do.
#[derive(Debug, Clone)]
pub struct ProviderTask {
    pub name: String,
    pub phase: String,
    pub aliases: Vec<LocalAlias>,
}

/// What the command line says beside the config.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub run_id: Option<RunId>,
    pub mock: bool,
    pub debug: bool,
    /// Start no task runners.
    pub skip_infra: bool,
    pub orchestrator: Option<Endpoint>,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("this version of bench brings up hosts of no other backend than those with the local driver; the config also names {}", .0.join(", "))]
    NoDriver(Vec<String>),
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
    let config = config::load(config_file, registry)?;
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
        orchestrator: options.orchestrator,
        resumed: false,
    };
    prepare(home, registry, config, given).await
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
    let config = config::parse(&path.display().to_string(), &text, registry)?;
    let given = Given {
        config_file: record.config_file,
        run_id: record.run_id,
        seed: record.seed,
        working_directory: record.working_directory,
        mock: record.mock,
        debug: options.debug,
        skip_infra: options.skip_infra,
        orchestrator: options.orchestrator,
        resumed: true,
    };
    prepare(home, registry, config, given).await
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
    orchestrator: Option<Endpoint>,
    resumed: bool,
}

async fn prepare(
    home: &Home,
    registry: &Registry,
    config: RunConfig,
    given: Given,
) -> Result<Prepared, PrepareError> {
    let plan = plan(&config, registry, MachineFacts::read())?;
    plan.check_limits(&config.limits)?;
    let workload = effective_workload(&config, given.mock);
    let providers = if given.skip_infra {
        Vec::new()
    } else {
        refuse_other_drivers(&plan)?;
        workload::preflight(&workload)?;
        local_providers(&plan, config.task_runners.image.as_deref()).await?
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
        orchestrator: given.orchestrator,
        config_file: given.config_file,
        config_sha256: digest(&config.text),
        config_text: config.text,
        working_directory: given.working_directory,
        cpu_locks: home.cpu_locks(),
        program: std::env::current_exe().map_err(PrepareError::Process)?,
        mock: given.mock,
        debug: given.debug,
        ttl_seconds: u64::from(limits.ttl_minutes) * 60,
        resumed: given.resumed,
    })
}

fn refuse_other_drivers(plan: &Plan) -> Result<(), PrepareError> {
    let others = plan.providers.iter().filter(|provider| provider.driver != Driver::Local);
    let names: Vec<String> = others.map(|provider| format!("`{}`", provider.name)).collect();
    if names.is_empty() { Ok(()) } else { Err(PrepareError::NoDriver(names)) }
}

fn effective_workload(config: &RunConfig, mock: bool) -> Workload {
    let mut workload = config.workload.clone();
    if mock {
        workload.kind = WorkloadKind::Mock;
    }
    workload
}

async fn local_providers(plan: &Plan, image: Option<&str>) -> Result<Vec<ProviderTask>, PrepareError> {
    let in_containers = plan.providers.iter().flat_map(|p| &p.instance_types).any(is_container);
    let container = if in_containers {
        let image = image.unwrap_or(docker::DEFAULT_IMAGE).to_owned();
        Some(Container { engine: docker::reachable_engine().await?, image })
    } else {
        None
    };
    Ok(plan.providers.iter().map(|provider| provider_task(provider, container.as_ref())).collect())
}

fn is_container(planned: &PlannedType) -> bool {
    planned.instance_type == DOCKER
}

fn provider_task(provider: &PlannedProvider, container: Option<&Container>) -> ProviderTask {
    let aliases = provider.instance_types.iter().map(|planned| LocalAlias {
        alias: planned.alias.clone(),
        instance_type: planned.instance_type.clone(),
        // No more side by side than there are tasks: the others would only wait.
        slots: planned.effective_vcpu.min(planned.tasks) as usize,
        container: container.filter(|_| is_container(planned)).cloned(),
    });
    ProviderTask {
        name: provider.name.clone(),
        phase: phase_word(provider.phase).to_owned(),
        aliases: aliases.collect(),
    }
}

/// As it stands in manifests.
fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::PreOrchestrator => "pre_orchestrator",
        Phase::PostRun => "post_run",
    }
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
        }
    }
}

impl ProviderTask {
    fn new_record(&self) -> ProviderRecord {
        ProviderRecord {
            name: self.name.clone(),
            phase: self.phase.clone(),
            status: "pending".to_owned(),
            instances: 1,
            error: None,
        }
    }
}

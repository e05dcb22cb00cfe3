//! One provider instance's folder: rendered files in, resources out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::follow::{POLL, follow};
use super::job::JobFiles;
use super::state::STATE_FILE;
use super::{
    Command, Diagnostician, InitCache, Interrupted, JobState, Operation, Progress, State, StateError,
    TerraformError, TfEvent, Tools, init, supervisor,
};
use crate::master::home::{create_private_dir, write_private};
use crate::provider::Manifest;
use crate::render::Files;

/// Another process may look at a job's lock for a moment; a job that is under way holds it for good.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// From the start of a job to Terraform's own start, on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Is told each event as it comes.
pub type Watcher<'w> = &'w mut (dyn FnMut(TfEvent) + Send);

/// The handle of one folder. Operations may be called again at any time, by this master or a later one.
#[derive(Debug)]
pub struct Workspace {
    pub(super) folder: PathBuf,
    /// Where the state is copied after each operation.
    pub(super) copy: Option<PathBuf>,
    pub(super) tools: Tools,
    diagnostician: Diagnostician,
}

/// What an apply made.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub progress: Progress,
    /// Hosts by the module's own key.
    pub instances: IndexMap<String, Instance>,
    /// All outputs; sensitive ones too, so not to be shown.
    pub outputs: Map<String, Value>,
}

/// One host, as the module's output `task_runner_instances` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    #[serde(default)]
    pub public_ip: Option<String>,
    #[serde(default)]
    pub private_ip: Option<String>,
    pub instance_type: String,
    pub alias: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Destroyed {
    pub progress: Progress,
    /// Addresses that the state still holds. Empty proves nothing about the cloud: only a listing does.
    pub remaining: Vec<String>,
}

/// What an earlier master's last operation came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Adopted {
    /// There was none.
    Nothing,
    Applied(Applied),
    Destroyed(Destroyed),
}

impl Workspace {
    pub fn new(folder: impl Into<PathBuf>, tools: &Tools, manifest: &Manifest) -> Workspace {
        let diagnostician = Diagnostician::new(manifest);
        Workspace { folder: folder.into(), copy: None, tools: tools.clone(), diagnostician }
    }

    /// Copies the state to `path` after each operation.
    #[must_use]
    pub fn with_state_copy(mut self, path: impl Into<PathBuf>) -> Workspace {
        self.copy = Some(path.into());
        self
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Events of all operations, one JSON object a line.
    pub fn log(&self) -> PathBuf {
        JobFiles::of(&self.folder).stdout()
    }

    /// Writes the rendered files, readable by their owner only. `.tf` files of an earlier rendering that are
    /// not among them go: Terraform reads every one it finds.
    pub fn prepare(&self, files: &Files) -> Result<(), TerraformError> {
        self.write(files).map_err(|source| self.files_failed(source))
    }

    fn write(&self, files: &Files) -> io::Result<()> {
        create_private_dir(&self.folder)?;
        for entry in fs_err::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".tf") && !files.contains(&name) {
                fs_err::remove_file(&path)?;
            }
        }
        files.iter().try_for_each(|(name, bytes)| write_private(&self.folder.join(name), bytes))
    }

    /// Brings the providers here: from the cache, which is filled by one `init` where it must be.
    pub async fn init(&self, cache: &InitCache) -> Result<(), TerraformError> {
        let tools = &self.tools;
        let folder = cache.folder(&self.folder, &tools.terraform, &tools.environment);
        let folder = folder.map_err(|source| self.files_failed(source))?;
        if !init::is_complete(&folder) {
            let _lock = self.init_lock(cache).await?;
            if !init::is_complete(&folder) {
                self.fill(&folder).await?;
            }
        }
        init::copy(&folder, &self.folder)
    }

    async fn init_lock(&self, cache: &InitCache) -> Result<std::fs::File, TerraformError> {
        loop {
            if let Some(lock) = cache.lock().map_err(|source| self.files_failed(source))? {
                return Ok(lock);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Initialises a folder of the cache. One that a dead master left at work is waited for first.
    async fn fill(&self, folder: &Path) -> Result<(), TerraformError> {
        let failed = |source| TerraformError::Files { folder: folder.to_owned(), source };
        let mut quiet = |_: TfEvent| {};
        if folder.is_dir() && matches!(JobFiles::of(folder).state(), Ok(JobState::Running { .. })) {
            // How it ended does not matter: it is done again, alone.
            let _ = follow(folder, None, &self.diagnostician, &mut quiet).await;
        }
        init::stage(&self.folder, folder).map_err(failed)?;
        let command = Command::Init { backend: true };
        self.start_and_follow(folder, Operation::Init, &command, &mut quiet).await?;
        init::mark_complete(folder).map_err(failed)
    }

    /// Makes what the module says, or goes on making it. After any error but [`TerraformError::Busy`] look
    /// at [`TerraformError::needs_sweep`] before applying again.
    pub async fn apply(&self, watcher: Watcher<'_>) -> Result<Applied, TerraformError> {
        let progress =
            self.operate(Operation::Apply, &Command::Apply { replaced: Vec::new() }, watcher).await?;
        self.applied(progress)
    }

    /// As [`Workspace::apply`], and makes the resources at these addresses anew.
    pub async fn apply_replacing(
        &self,
        addresses: &[String],
        watcher: Watcher<'_>,
    ) -> Result<Applied, TerraformError> {
        let command = Command::Apply { replaced: addresses.to_vec() };
        let progress = self.operate(Operation::Apply, &command, watcher).await?;
        self.applied(progress)
    }

    /// Destroys what the state knows. What it does not know lives on.
    pub async fn destroy(&self, watcher: Watcher<'_>) -> Result<Destroyed, TerraformError> {
        let progress = self.operate(Operation::Destroy, &Command::Destroy, watcher).await?;
        self.destroyed(progress)
    }

    /// Waits for the operation that an earlier master began, and tells its events from the beginning. One
    /// that ended meanwhile is reported as if it ended now.
    pub async fn adopt(&self, watcher: Watcher<'_>) -> Result<Adopted, TerraformError> {
        let operation = match self.state()? {
            JobState::None => return Ok(Adopted::Nothing),
            JobState::Running { operation, .. }
            | JobState::Ended { operation, .. }
            | JobState::Lost { operation, .. } => operation,
        };
        let followed = follow(&self.folder, None, &self.diagnostician, watcher).await;
        self.keep_state();
        let progress = followed?;
        match operation {
            Operation::Apply => self.applied(progress).map(Adopted::Applied),
            Operation::Destroy => self.destroyed(progress).map(Adopted::Destroyed),
            Operation::Init => Ok(Adopted::Nothing),
        }
    }

    /// Where the last operation stands.
    pub fn state(&self) -> Result<JobState, TerraformError> {
        if !self.folder.is_dir() {
            return Ok(JobState::None);
        }
        JobFiles::of(&self.folder).state().map_err(|source| self.files_failed(source))
    }

    /// Asks Terraform to stop, once: it waits for what is in flight, saves its state and ends, which the
    /// future of the operation tells. It may take minutes, and is never shortened.
    pub async fn interrupt(&self) -> Result<Interrupted, TerraformError> {
        let files = JobFiles::of(&self.folder);
        let deadline = tokio::time::Instant::now() + START_PATIENCE;
        loop {
            let done = files.interrupt().map_err(|source| self.files_failed(source))?;
            let starting = matches!(self.state()?, JobState::Running { process: None, .. });
            if done != Interrupted::NotRunning || !starting || tokio::time::Instant::now() > deadline {
                return Ok(done);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn operate(
        &self,
        operation: Operation,
        command: &Command,
        watcher: Watcher<'_>,
    ) -> Result<Progress, TerraformError> {
        let followed = self.start_and_follow(&self.folder, operation, command, watcher).await;
        self.keep_state();
        followed
    }

    async fn start_and_follow(
        &self,
        folder: &Path,
        operation: Operation,
        command: &Command,
        watcher: Watcher<'_>,
    ) -> Result<Progress, TerraformError> {
        let failed = |source| TerraformError::Files { folder: folder.to_owned(), source };
        let files = JobFiles::of(folder);
        let lock = take_lock(&files, folder).await?;
        // A Terraform whose supervisor was killed runs without the lock.
        if let Ok(Some(job)) = files.read_job()
            && files.read_process(job.number).is_some_and(|process| process.is_alive())
        {
            return Err(TerraformError::Busy { folder: folder.to_owned() });
        }
        let program = &self.tools.terraform.program;
        let begun = files.begin(operation, program, command.arguments(), jiff::Timestamp::now());
        begun.map_err(failed)?;
        let supervisor = supervisor::detach(&self.tools.bench, folder, lock, &self.tools.environment)?;
        follow(folder, Some(supervisor), &self.diagnostician, watcher).await
    }

    fn applied(&self, progress: Progress) -> Result<Applied, TerraformError> {
        let path = self.folder.join(STATE_FILE);
        let state = State::read(&path)?.unwrap_or_default();
        let instances = match state.outputs.get("task_runner_instances") {
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| StateError::Invalid {
                path,
                reason: format!("its output task_runner_instances: {error}"),
            })?,
            None => IndexMap::new(),
        };
        Ok(Applied { progress, instances, outputs: state.outputs })
    }

    fn destroyed(&self, progress: Progress) -> Result<Destroyed, TerraformError> {
        let state = State::read(&self.folder.join(STATE_FILE))?.unwrap_or_default();
        Ok(Destroyed { progress, remaining: state.resources.into_iter().map(|r| r.address).collect() })
    }

    /// The hosts that the state's outputs tell of, also after an apply that failed; none where there are none.
    pub fn known_instances(&self) -> IndexMap<String, Instance> {
        let state = State::read(&self.folder.join(STATE_FILE)).ok().flatten().unwrap_or_default();
        let told = state.outputs.get("task_runner_instances").cloned();
        told.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }

    /// What is to be thought of an apply of which nothing is left, its files neither.
    pub fn without_trace(&self) -> TerraformError {
        let (operation, folder) = (Operation::Apply, self.folder.clone());
        TerraformError::Lost { operation, folder, progress: Box::default() }
    }

    pub(super) fn files_failed(&self, source: io::Error) -> TerraformError {
        TerraformError::Files { folder: self.folder.clone(), source }
    }
}

async fn take_lock(files: &JobFiles, folder: &Path) -> Result<std::fs::File, TerraformError> {
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match files.lock() {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if tokio::time::Instant::now() > deadline => {
                return Err(TerraformError::Busy { folder: folder.to_owned() });
            }
            Ok(None) => tokio::time::sleep(POLL).await,
            Err(source) => return Err(TerraformError::Files { folder: folder.to_owned(), source }),
        }
    }
}

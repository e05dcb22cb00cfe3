//! Where a user's runs, state and keys are kept, and who may use a run.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::api::RunId;

/// The home folder (`.bench`): mode 0700, because it holds keys.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// The folder of one run inside the home.
#[derive(Debug, Clone)]
pub struct RunFolder {
    pub run_id: RunId,
    root: PathBuf,
    results: PathBuf,
}

/// Held for as long as a master works on a run; the kernel lets go of it when the master dies.
#[derive(Debug)]
pub struct RunLock {
    _file: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("could not use the home folder")]
    Io(#[from] io::Error),
    #[error("there is no run `{0}` in {1}")]
    UnknownRun(String, PathBuf),
    #[error("there are no runs in {0}")]
    NoRuns(PathBuf),
    #[error("run `{0}` exists already in {1}")]
    RunExists(RunId, PathBuf),
    #[error("run `{0}` is being worked on by another master (process {1})")]
    RunBusy(RunId, String),
}

impl Home {
    pub fn new(root: impl Into<PathBuf>) -> Home {
        Home { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `results/` stands beside the home.
    pub fn results_root(&self) -> PathBuf {
        match self.root.parent() {
            Some(parent) => parent.join("results"),
            None => PathBuf::from("results"),
        }
    }

    /// Folder of the lock files that share out this machine's CPUs.
    pub fn cpu_locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Folders that `terraform init` has filled, shared by all runs.
    pub fn init_cache(&self) -> PathBuf {
        self.root.join("init")
    }

    /// Programs of the task runner that were fetched for hosts, by digest.
    pub fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    pub fn run(&self, run_id: &RunId) -> RunFolder {
        RunFolder {
            run_id: run_id.clone(),
            root: self.root.join("runs").join(run_id.as_str()),
            results: self.results_root().join(run_id.as_str()),
        }
    }

    /// Makes a new run's folder. Refuses an id that was used before.
    pub fn create_run(&self, run_id: &RunId) -> Result<RunFolder, HomeError> {
        create_private_dir(&self.root)?;
        create_private_dir(&self.root.join("runs"))?;
        let folder = self.run(run_id);
        if folder.results.exists() {
            return Err(HomeError::RunExists(run_id.clone(), folder.results));
        }
        match std::fs::DirBuilder::new().mode(0o700).create(&folder.root) {
            Ok(()) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(HomeError::RunExists(run_id.clone(), folder.root))
            }
            Err(error) => Err(named(error, "create", &folder.root).into()),
        }
    }

    /// Finds a run by its id, or the newest one by the word `latest`.
    pub fn find_run(&self, name: &str) -> Result<RunFolder, HomeError> {
        if name == "latest" {
            let newest = self.run_ids()?.pop().ok_or_else(|| HomeError::NoRuns(self.root.clone()))?;
            return Ok(self.run(&newest));
        }
        let unknown = || HomeError::UnknownRun(name.to_owned(), self.root.clone());
        let run_id: RunId = name.parse().ok().ok_or_else(unknown)?;
        let folder = self.run(&run_id);
        if folder.root.is_dir() || folder.results.is_dir() { Ok(folder) } else { Err(unknown()) }
    }

    /// Every run of this home, oldest first (by when it was started, then by id).
    pub fn run_ids(&self) -> Result<Vec<RunId>, HomeError> {
        let runs = self.root.join("runs");
        if !runs.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&runs)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
            if let Some(id) = id {
                // The journal's first line is written when the run starts.
                let folder = self.run(&id);
                let started = super::journal::started_at(&folder.journal());
                found.push((started, id));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }
}

impl RunFolder {
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }
    pub fn record(&self) -> PathBuf {
        self.root.join("run.json")
    }
    pub fn config(&self) -> PathBuf {
        self.root.join("config.json")
    }
    /// The checked config that the run was started with, to tell what was changed since.
    pub fn started_config(&self) -> PathBuf {
        self.root.join("config.started.json")
    }
    /// Store of the orchestrator inside the master.
    pub fn database(&self) -> PathBuf {
        self.root.join("orchestrator.db")
    }
    /// Home of the orchestrator inside the master: its keys and the archives that runners upload.
    pub fn orchestrator_home(&self) -> PathBuf {
        self.root.join("orchestrator")
    }
    pub fn uploads(&self) -> PathBuf {
        self.orchestrator_home().join("uploads")
    }
    /// The run's key, for the runners of this machine (mode 0600).
    pub fn run_key(&self) -> PathBuf {
        self.root.join("run.key")
    }
    /// The orchestrator's admin key, for `bench status` and `bench stop` (mode 0600).
    pub fn admin_key(&self) -> PathBuf {
        self.root.join("admin.key")
    }
    pub fn runner_logs(&self) -> PathBuf {
        self.root.join("logs")
    }
    /// Rendered module, state and logs of a provider instance.
    pub fn provider(&self, name: &str) -> PathBuf {
        self.root.join("providers").join(name)
    }
    /// Where the state of a provider instance is copied after each operation.
    pub fn state_copy(&self, name: &str) -> PathBuf {
        self.root.join("states").join(format!("{name}.tfstate"))
    }
    /// State that tells modules where this run's orchestrator is.
    pub fn meta_state(&self) -> PathBuf {
        self.root.join("orchestrator.tfstate")
    }
    /// Results that the orchestrator did not take.
    pub fn undelivered(&self) -> PathBuf {
        self.root.join("undelivered")
    }
    pub fn results(&self) -> &Path {
        &self.results
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("master.lock")
    }

    /// Becomes the run's only master.
    pub fn lock(&self) -> Result<RunLock, HomeError> {
        let path = self.lock_file();
        let file = private_options().open(&path).map_err(|e| named(e, "open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                let id = std::process::id();
                let written = held.set_len(0).and_then(|()| write!(held, "{id}"));
                written.map_err(|e| named(e, "write", &path))?;
                Ok(RunLock { _file: held })
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                Err(HomeError::RunBusy(self.run_id.clone(), holder))
            }
            Err((_, errno)) => Err(named(errno.into(), "lock", &path).into()),
        }
    }

    /// Whether some master works on the run right now.
    pub fn has_master(&self) -> bool {
        let Ok(file) = File::open(self.lock_file()) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }
}

/// Makes a folder (and its parents) that only its owner may enter; an existing one is left as it is but
/// for its mode.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| named(e, "create", path))?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Replaces a file as a whole, readable by its owner only: written beside it, synced, renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // tempfile makes its files with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| named(e, "write", path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| named(e, "write", path))?;
    file.persist(path).map_err(|e| named(e.error, "replace", path))?;
    fs::File::open(folder)?.sync_all()
}

fn private_options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// An error that names the file, as `fs_err` makes them, for the calls it does not cover.
pub(super) fn named(error: io::Error, verb: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("failed to {verb} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_master_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join(".bench"));
        let folder = home.create_run(&"r1".parse().unwrap()).unwrap();
        assert!(!folder.has_master());
        let lock = folder.lock().unwrap();
        assert!(folder.has_master());
        let refused = folder.lock().unwrap_err();
        assert!(matches!(refused, HomeError::RunBusy(..)), "{refused}");
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(lock);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn a_lock_that_cannot_be_taken_is_named_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Home::new(dir.path().join(".bench")).create_run(&"r1".parse().unwrap()).unwrap();
        fs::create_dir(folder.lock_file()).unwrap();
        let refused = crate::cause_chain(&folder.lock().unwrap_err());
        assert!(refused.contains("runs/r1/master.lock") && refused.contains("directory"), "{refused}");
        assert!(!folder.has_master());
    }

    #[test]
    fn the_home_is_private_and_a_run_id_is_used_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join(".bench"));
        let id: RunId = "r1".parse().unwrap();
        home.create_run(&id).unwrap();
        let mode = fs::metadata(home.root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(home.create_run(&id), Err(HomeError::RunExists(..))));
    }

    #[test]
    fn runs_are_found_by_id_and_by_the_word_latest() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join(".bench"));
        assert!(matches!(home.find_run("latest"), Err(HomeError::NoRuns(_))));
        home.create_run(&"a1".parse().unwrap()).unwrap();
        home.create_run(&"a2".parse().unwrap()).unwrap();
        assert_eq!(home.find_run("a1").unwrap().run_id.as_str(), "a1");
        assert_eq!(home.find_run("latest").unwrap().run_id.as_str(), "a2");
        assert!(matches!(home.find_run("../a1"), Err(HomeError::UnknownRun(..))));
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }
}

//! One run of Terraform in a folder, as files: what was started, as which process, how it ended. They are
//! all that a later master needs to adopt it.
//!
//! ```text
//!  logs/job.lock      held (flock) by the supervisor while it lives: one job at a time
//!  logs/job.json      what was asked for, and where its output begins in the logs
//!  logs/process       Terraform's process, written before its exec
//!  logs/interrupted   made by whoever sends the one interrupt
//!  logs/exit.json     its exit status, written by the supervisor
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::process::{ProcessId, boot_id};
use crate::master::home::{create_private_dir, write_private};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Init,
    Apply,
    Destroy,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Operation::Init => "init",
            Operation::Apply => "apply",
            Operation::Destroy => "destroy",
        })
    }
}

/// What the supervisor is to start: `job.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Counts the jobs of a folder, from 1; ties the other files to this one.
    pub number: u64,
    pub operation: Operation,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where this job's output begins in [`JobFiles::stdout`] and [`JobFiles::stderr`], bytes.
    pub stdout_offset: u64,
    pub stderr_offset: u64,
    pub created_at: jiff::Timestamp,
}

/// How a job ended: `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    pub number: u64,
    #[serde(default)]
    pub status: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
    /// Why Terraform could not be started.
    #[serde(default)]
    pub spawn_error: Option<String>,
    pub ended_at: jiff::Timestamp,
}

/// Where a folder's last job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// There was none.
    None,
    /// Terraform runs, or its supervisor is about to start it.
    Running { operation: Operation, process: Option<ProcessId> },
    /// `status` is absent where a signal ended it.
    Ended { operation: Operation, status: Option<i32> },
    /// Supervisor and Terraform are gone without having said how it ended: a crash of the machine, or a
    /// kill of both. Without `started`, Terraform did nothing at all.
    Lost { operation: Operation, started: bool },
}

/// What became of a request to interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    Sent,
    /// One interrupt asks for a graceful stop, a second one might force it: it is not sent.
    Already,
    NotRunning,
}

/// The files of a folder's job.
#[derive(Debug, Clone)]
pub(super) struct JobFiles {
    logs: PathBuf,
}

impl JobFiles {
    pub fn of(folder: &Path) -> JobFiles {
        JobFiles { logs: folder.join("logs") }
    }

    /// Events, one JSON object a line; all jobs of the folder one after the other.
    pub fn stdout(&self) -> PathBuf {
        self.logs.join("terraform.jsonl")
    }
    pub fn stderr(&self) -> PathBuf {
        self.logs.join("terraform.err")
    }
    /// What the supervisor itself had to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.logs.join("supervisor.log")
    }
    fn job(&self) -> PathBuf {
        self.logs.join("job.json")
    }
    pub fn process(&self) -> PathBuf {
        self.logs.join("process")
    }
    fn exit(&self) -> PathBuf {
        self.logs.join("exit.json")
    }
    fn interrupted(&self) -> PathBuf {
        self.logs.join("interrupted")
    }

    /// The folder's only job, as long as the file is open in some process: an inherited copy keeps it.
    pub fn lock(&self) -> io::Result<Option<File>> {
        create_private_dir(&self.logs)?;
        let path = self.logs.join("job.lock");
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Opens a log for appending, readable by its owner only.
    pub fn append(path: &Path) -> io::Result<File> {
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        file.map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))
    }

    /// Writes down a new job. Only the holder of the lock may, with no Terraform of an earlier job alive.
    pub fn begin(
        &self,
        operation: Operation,
        program: &Path,
        arguments: Vec<String>,
        now: jiff::Timestamp,
    ) -> io::Result<Job> {
        let length = |path: PathBuf| fs_err::metadata(path).map_or(0, |metadata| metadata.len());
        let job = Job {
            number: self.read_job()?.map_or(1, |job| job.number + 1),
            operation,
            program: program.to_owned(),
            arguments,
            stdout_offset: length(self.stdout()),
            stderr_offset: length(self.stderr()),
            created_at: now,
        };
        remove_if_there(&self.interrupted())?;
        self.write(&self.job(), &job)?;
        Ok(job)
    }

    pub fn read_job(&self) -> io::Result<Option<Job>> {
        read(&self.job())
    }

    pub fn end(&self, exit: &Exit) -> io::Result<()> {
        self.write(&self.exit(), exit)
    }

    /// The exit of a job, if it ended.
    pub fn read_exit(&self, number: u64) -> io::Result<Option<Exit>> {
        Ok(read::<Exit>(&self.exit())?.filter(|exit| exit.number == number))
    }

    /// The process of a job, once it was started. What another boot, or a cut line, left is none.
    pub fn read_process(&self, number: u64) -> Option<ProcessId> {
        let text = fs_err::read_to_string(self.process()).ok()?;
        let (head, stat) = text.split_once('\n')?;
        let (of, boot) = head.split_once(' ')?;
        (of.parse() == Ok(number)).then(|| ProcessId::from_stat(stat, boot)).flatten()
    }

    /// First line of the process file, to which the starting process adds its line of `/proc/self/stat`.
    pub fn process_head(number: u64) -> String {
        format!("{number} {}\n", boot_id())
    }

    /// Where the last job stands. The supervisor's lock says more than its process id could.
    pub fn state(&self) -> io::Result<JobState> {
        let Some(job) = self.read_job()? else { return Ok(JobState::None) };
        let operation = job.operation;
        // Looked at first: an exit that is missing once the lock is free was written by nobody.
        let supervised = self.lock()?.is_none();
        let process = self.read_process(job.number);
        if process.as_ref().is_some_and(ProcessId::is_alive) {
            return Ok(JobState::Running { operation, process });
        }
        match self.read_exit(job.number)? {
            Some(exit) => Ok(JobState::Ended { operation, status: exit.status }),
            None if supervised => Ok(JobState::Running { operation, process: None }),
            None => Ok(JobState::Lost { operation, started: process.is_some() }),
        }
    }

    /// Sends Terraform the one interrupt of this job.
    pub fn interrupt(&self) -> io::Result<Interrupted> {
        let Some(job) = self.read_job()? else { return Ok(Interrupted::NotRunning) };
        let process = self.read_process(job.number).filter(ProcessId::is_alive);
        let Some(process) = process else { return Ok(Interrupted::NotRunning) };
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(self.interrupted()) {
            Ok(mut file) => write!(file, "{}", job.number)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Interrupted::Already),
            Err(error) => return Err(error),
        }
        Ok(if process.signal(Signal::SIGINT) { Interrupted::Sent } else { Interrupted::NotRunning })
    }

    pub fn was_interrupted(&self) -> bool {
        self.interrupted().exists()
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        write_private(path, &serde_json::to_vec(value)?)
    }
}

/// An absent file is `None`; an unreadable one is an error that names it.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs_err::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(files: &JobFiles) -> Job {
        files.begin(Operation::Apply, Path::new("terraform"), vec![], jiff::Timestamp::UNIX_EPOCH).unwrap()
    }

    /// Writes what a starting process would.
    fn start(files: &JobFiles, number: u64, pid: u32) {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        fs_err::write(files.process(), JobFiles::process_head(number) + &stat).unwrap();
    }

    /// A process that another test is just starting has every open lock until its exec.
    fn settled(files: &JobFiles) -> JobState {
        loop {
            match files.state().unwrap() {
                JobState::Running { process: None, .. } => std::thread::yield_now(),
                state => return state,
            }
        }
    }

    #[test]
    fn a_job_is_running_while_its_supervisor_holds_the_lock_and_lost_without_an_exit() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::of(folder.path());
        assert_eq!(files.state().unwrap(), JobState::None);
        let lock = files.lock().unwrap().unwrap();
        begin(&files);
        let running = JobState::Running { operation: Operation::Apply, process: None };
        assert_eq!(files.state().unwrap(), running);
        assert!(files.lock().unwrap().is_none());
        drop(lock);
        assert_eq!(settled(&files), JobState::Lost { operation: Operation::Apply, started: false });
        let exit = Exit {
            number: 1,
            status: Some(0),
            signal: None,
            spawn_error: None,
            ended_at: jiff::Timestamp::UNIX_EPOCH,
        };
        files.end(&exit).unwrap();
        let ended = JobState::Ended { operation: Operation::Apply, status: Some(0) };
        assert_eq!(files.state().unwrap(), ended);
    }

    #[test]
    fn a_job_without_supervisor_runs_as_long_as_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::of(folder.path());
        drop(files.lock().unwrap());
        begin(&files);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        start(&files, 1, child.id());
        assert!(matches!(files.state().unwrap(), JobState::Running { process: Some(_), .. }));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(settled(&files), JobState::Lost { operation: Operation::Apply, started: true });
    }

    #[test]
    fn a_job_is_interrupted_once_and_the_next_one_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::of(folder.path());
        drop(files.lock().unwrap());
        begin(&files);
        assert_eq!(files.interrupt().unwrap(), Interrupted::NotRunning);
        let mut child =
            std::process::Command::new("sh").args(["-c", "trap '' INT; sleep 60"]).spawn().unwrap();
        start(&files, 1, child.id());
        assert_eq!(files.interrupt().unwrap(), Interrupted::Sent);
        assert_eq!(files.interrupt().unwrap(), Interrupted::Already);
        assert!(files.was_interrupted());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(begin(&files).number, 2);
        assert!(!files.was_interrupted());
    }

    #[test]
    fn a_process_file_of_another_job_or_cut_short_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::of(folder.path());
        drop(files.lock().unwrap());
        start(&files, 1, std::process::id());
        assert!(files.read_process(1).is_some());
        assert_eq!(files.read_process(2), None);
        fs_err::write(files.process(), JobFiles::process_head(1) + "12 (terra").unwrap();
        assert_eq!(files.read_process(1), None);
    }

    #[test]
    fn an_unreadable_record_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::of(folder.path());
        drop(files.lock().unwrap());
        fs_err::write(folder.path().join("logs/job.json"), "{").unwrap();
        assert!(files.state().unwrap_err().to_string().contains("job.json"));
    }
}

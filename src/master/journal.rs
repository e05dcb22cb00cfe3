//! The run's journal: one JSON line a step, synced to disk before the step is done.
//!
//! A master that died is picked up from here: what was begun but not finished may be half done, and every
//! step can be done twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What the master is about to do, or has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The run's folder exists; what was asked for is in `config.json`.
    Started {
        bench_version: String,
        config_sha256: String,
    },
    /// A dead run is taken up again.
    Resumed,
    StartOrchestrator,
    OrchestratorReady {
        url: String,
    },
    CreateRun {
        tasks: u64,
    },
    RunCreated,
    SetUpProvider {
        name: String,
    },
    HostsUp {
        name: String,
        hosts: usize,
    },
    ProviderSettled {
        name: String,
        status: String,
    },
    StopRun {
        why: String,
    },
    Collect,
    Collected {
        results_dir: PathBuf,
    },
    Finished {
        status: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: jiff::Timestamp,
    #[serde(flatten)]
    pub step: Step,
}

#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("could not write the journal {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("could not read the journal {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("line {line} of the journal {path} cannot be understood")]
    Malformed { path: PathBuf, line: usize, source: serde_json::Error },
}

impl Journal {
    /// Opens for appending. A last line that a crash cut short is ended, so that the next one stands alone.
    pub fn open(path: &Path) -> Result<Journal, JournalError> {
        let write_error = |source| JournalError::Write { path: path.to_owned(), source };
        let torn = std::fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(path).map_err(write_error)?;
        if torn {
            file.write_all(b"\n").map_err(write_error)?;
        }
        Ok(Journal { file, path: path.to_owned() })
    }

    /// Writes a step and waits until the disk has it.
    pub fn write(&mut self, at: jiff::Timestamp, step: Step) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(&Entry { at, step }).expect("a step is plain data");
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| JournalError::Write { path: self.path.clone(), source })
    }
}

/// Reads a journal. A last line that a crash cut short is left out; any other line that cannot be
/// understood is an error that names it.
pub fn read(path: &Path) -> Result<Vec<Entry>, JournalError> {
    let read_error = |source| JournalError::Read { path: path.to_owned(), source };
    let lines: Vec<String> = BufReader::new(File::open(path).map_err(read_error)?)
        .lines()
        .collect::<Result<_, _>>()
        .map_err(read_error)?;
    let mut entries = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            // A line without its end is what a crash leaves: it is not complete JSON.
            Err(error) if error.is_eof() => {}
            Err(source) => {
                return Err(JournalError::Malformed { path: path.to_owned(), line: index + 1, source });
            }
        }
    }
    Ok(entries)
}

/// When the run was started, as far as its journal can be read.
pub fn started_at(path: &Path) -> Option<jiff::Timestamp> {
    let mut first = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut first).ok()?;
    serde_json::from_str::<Entry>(&first).ok().map(|entry| entry.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        vec![
            Step::Started { bench_version: "1".into(), config_sha256: "ab".into() },
            Step::CreateRun { tasks: 6 },
            Step::RunCreated,
        ]
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        for step in steps() {
            journal.write(jiff::Timestamp::UNIX_EPOCH, step).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_journal_cut_at_any_byte_still_reads_up_to_its_last_whole_line() {
        let (_dir, path) = written();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let read: Vec<Step> = read(&path).unwrap().into_iter().map(|entry| entry.step).collect();
            assert!(steps().starts_with(&read), "cut at {cut}: {read:?}");
            let complete = whole[..cut].iter().filter(|b| **b == b'\n').count();
            assert!(read.len() >= complete, "cut at {cut}: {} of {complete}", read.len());
        }
    }

    #[test]
    fn writing_goes_on_after_a_torn_line() {
        let (_dir, path) = written();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        Journal::open(&path).unwrap().write(jiff::Timestamp::UNIX_EPOCH, Step::Resumed).unwrap();
        let read: Vec<Step> = read(&path).unwrap().into_iter().map(|entry| entry.step).collect();
        assert_eq!(read, [steps()[0].clone(), steps()[1].clone(), Step::Resumed]);
    }

    #[test]
    fn a_line_that_is_not_ours_is_named() {
        let (_dir, path) = written();
        let text = std::fs::read_to_string(&path).unwrap().replace("\"run_created\"", "\"teleported\"");
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, JournalError::Malformed { line: 3, .. }), "{error:?}");
    }
}

//! The ledger's file: one writer at a time, every line on disk before the call returns.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::entry::{Entry, Line};
use super::{Fact, FactKind, History, Intent};
use crate::api::RunId;
use crate::master::home::{Home, create_private_dir};

/// The handle of one home's ledger. Cheap; any number of processes may have one.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("could not write the ledger `{}`; nothing may be made in a cloud without it", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("could not read the ledger `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl Ledger {
    pub fn of(home: &Home) -> Ledger {
        Ledger { path: home.root().join("ledger.jsonl") }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is about to be made. Only when this came back may the cloud be called.
    pub fn intend(&self, intent: &Intent) -> Result<(), LedgerError> {
        self.append(Entry::Intent(intent.clone()))
    }

    /// Writes down what became of it.
    pub fn note(&self, run_id: &RunId, provider: &str, kind: FactKind) -> Result<(), LedgerError> {
        self.append(Entry::Fact(Fact { run_id: run_id.clone(), provider: provider.to_owned(), kind }))
    }

    /// All that was ever written; nothing where there is no ledger yet.
    pub fn read(&self) -> Result<History, LedgerError> {
        let failed = |source| LedgerError::Read { path: self.path.clone(), source };
        let bytes = match fs_err::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok(parse(&bytes))
    }

    fn append(&self, entry: Entry) -> Result<(), LedgerError> {
        let line = Line { at: jiff::Timestamp::now(), entry };
        let mut bytes = serde_json::to_vec(&line).expect("a line is plain data");
        bytes.push(b'\n');
        self.write(&bytes).map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        create_private_dir(folder)?;
        let is_new = !self.path.exists();
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        if is_torn(&mut file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(line)?;
        file.sync_all()?;
        if is_new {
            // Without this the file itself, or the home, may be gone after a power cut.
            fs_err::File::open(folder)?.sync_all()?;
            fs_err::File::open(folder.join(".."))?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether the last line was cut short: the next one must stand alone.
fn is_torn(file: &mut std::fs::File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn parse(bytes: &[u8]) -> History {
    let mut history = History::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        // A power cut may leave zeros where a line was to stand.
        let line = line.trim_ascii();
        if line.iter().all(|byte| *byte == 0) {
            continue;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(Line { at, entry: Entry::Intent(intent) }) => history.intend(at, intent),
            Ok(Line { at, entry: Entry::Fact(fact) }) => history.note(at, &fact),
            Err(error) if error.is_eof() => {}
            Err(_) => history.unreadable.push(index + 1),
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::super::{Made, Standing};
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    fn intent(run_id: &str, region: &str) -> Intent {
        Intent {
            run_id: run_id.parse().unwrap(),
            owner: "me".parse().unwrap(),
            provider: "cloud".to_owned(),
            backend: "cloud".to_owned(),
            settings: json!({ "region": region }).as_object().unwrap().clone(),
            account: Some("1".to_owned()),
            expires_at: Some(1_800_000_000),
            prices_usd_per_h: Default::default(),
            workspace: PathBuf::from("/w"),
            state_copy: None,
        }
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(&Home::new(folder.path().join(".bench")));
        (folder, ledger)
    }

    #[test]
    fn what_was_written_reads_back_and_is_private() {
        let (_folder, ledger) = ledger();
        assert_eq!(ledger.read().unwrap(), History::default());
        ledger.intend(&intent("r1", "north")).unwrap();
        let made = vec![Made { kind: "machine".into(), id: "i-1".into() }];
        ledger.note(&"r1".parse().unwrap(), "cloud", FactKind::Applied { made: made.clone() }).unwrap();
        let history = ledger.read().unwrap();
        let [place] = history.places.as_slice() else { panic!("{history:?}") };
        assert_eq!((place.standing, place.made.iter().cloned().collect()), (Standing::Applied, made));
        assert_eq!(fs_err::metadata(ledger.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_ledger_cut_at_any_byte_keeps_its_whole_lines_and_takes_new_ones() {
        let (_folder, ledger) = ledger();
        for run in ["r1", "r2"] {
            ledger.intend(&intent(run, "north")).unwrap();
        }
        let whole = fs_err::read(ledger.path()).unwrap();
        for cut in 0..whole.len() {
            fs_err::write(ledger.path(), &whole[..cut]).unwrap();
            ledger.intend(&intent("r3", "north")).unwrap();
            let history = ledger.read().unwrap();
            let complete = whole[..cut].iter().filter(|b| **b == b'\n').count();
            let runs: Vec<&str> = history.places.iter().map(|p| p.intent.run_id.as_str()).collect();
            assert!(runs.len() > complete && runs.last() == Some(&"r3"), "cut at {cut}: {runs:?}");
            assert_eq!(history.unreadable, [0; 0], "cut at {cut}");
        }
    }

    #[test]
    fn zeros_are_passed_over_and_a_line_of_somebody_else_is_counted() {
        let (_folder, ledger) = ledger();
        ledger.intend(&intent("r1", "north")).unwrap();
        let mut bytes = fs_err::read(ledger.path()).unwrap();
        bytes.extend_from_slice(b"\0\0\0\0\n{\"entry\":\"prophecy\"}\n");
        fs_err::write(ledger.path(), &bytes).unwrap();
        let history = ledger.read().unwrap();
        assert_eq!((history.places.len(), history.unreadable.as_slice()), (1, &[3][..]));
    }

    #[test]
    fn writers_at_once_do_not_mix_their_lines() {
        let (_folder, ledger) = ledger();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let ledger = &ledger;
                scope.spawn(move || {
                    for n in 0..10 {
                        ledger.intend(&intent(&format!("r{writer}-{n}"), "north")).unwrap();
                    }
                });
            }
        });
        let history = ledger.read().unwrap();
        assert_eq!((history.places.len(), history.unreadable.len()), (80, 0));
    }

    #[test]
    fn a_ledger_that_cannot_be_written_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("ledger.jsonl")).unwrap();
        let error = Ledger::of(&Home::new(folder.path())).intend(&intent("r1", "north")).unwrap_err();
        assert!(error.to_string().contains("ledger.jsonl"), "{error}");
    }
}

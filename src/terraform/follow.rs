//! Follows a job to its end by its files, whether this process started it or another one did.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duct::Handle;

use super::events::{Diagnostic, Severity, parse};
use super::job::{Job, JobFiles};
use super::tail::Tail;
use super::{Diagnostician, JobState, Progress, TerraformError, TfEvent};

/// Between two looks at the files. A look costs some ten microseconds.
pub(super) const POLL: Duration = Duration::from_millis(40);
/// Most of stderr that goes into an error; the file keeps it whole.
const STDERR_SHOWN: u64 = 8 * 1024;

/// Waits for the end of a folder's job, telling its events on the way. `supervisor` is reaped if given.
///
/// Dropping the future ends nothing but the telling.
pub(super) async fn follow(
    folder: &Path,
    supervisor: Option<Handle>,
    diagnostician: &Diagnostician,
    tell: &mut (dyn FnMut(TfEvent) + Send),
) -> Result<Progress, TerraformError> {
    let files = JobFiles::of(folder);
    let failed = |source| TerraformError::Files { folder: folder.to_owned(), source };
    let job = files.read_job().map_err(failed)?;
    let job = job.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let mut tail = Tail::new(&files.stdout(), job.stdout_offset);
    let mut progress = Progress::default();
    let mut take = |line: &[u8]| {
        if let Some(event) = parse(line) {
            progress.add(&event);
            tell(event);
        }
    };
    let state = loop {
        // Before the output is read: what an ended Terraform wrote is all there.
        let state = files.state().map_err(failed)?;
        tail.read(&mut take).map_err(failed)?;
        if !matches!(state, JobState::Running { .. }) {
            break state;
        }
        if let Some(supervisor) = &supervisor {
            // Only reaped: how Terraform ended is in the files.
            let _ = supervisor.try_wait();
        }
        tokio::time::sleep(POLL).await;
    };
    tail.finish(&mut take);
    Outcome { folder, files: &files, job: &job, diagnostician }.judge(&state, progress)
}

struct Outcome<'a> {
    folder: &'a Path,
    files: &'a JobFiles,
    job: &'a Job,
    diagnostician: &'a Diagnostician,
}

impl Outcome<'_> {
    fn judge(&self, state: &JobState, progress: Progress) -> Result<Progress, TerraformError> {
        let (folder, operation) = (self.folder.to_owned(), self.job.operation);
        let exit = self.files.read_exit(self.job.number);
        let exit = exit.map_err(|source| TerraformError::Files { folder: folder.clone(), source })?;
        if let Some(error) = exit.and_then(|exit| exit.spawn_error) {
            let source = io::Error::other(error);
            return Err(TerraformError::Supervisor { program: self.job.program.clone(), source });
        }
        match state {
            JobState::Ended { status: Some(0), .. } => Ok(progress),
            JobState::Ended { .. } if self.files.was_interrupted() => {
                Err(TerraformError::Interrupted { operation, folder, progress: Box::new(progress) })
            }
            JobState::Ended { status, .. } => Err(self.failure(*status, progress)),
            JobState::Lost { started: false, .. } => Err(self.not_started()),
            JobState::None | JobState::Running { .. } | JobState::Lost { .. } => {
                Err(TerraformError::Lost { operation, folder, progress: Box::new(progress) })
            }
        }
    }

    fn failure(&self, status: Option<i32>, progress: Progress) -> TerraformError {
        let stderr = end_of(&self.files.stderr(), self.job.stderr_offset);
        let diagnosis = match progress.errors.as_slice() {
            [] => self.diagnostician.diagnose(&errors_in(&stderr)),
            errors => self.diagnostician.diagnose(errors),
        };
        TerraformError::Failed {
            operation: self.job.operation,
            folder: self.folder.to_owned(),
            status,
            diagnosis: Box::new(diagnosis),
            progress: Box::new(progress),
            stderr,
            log: self.log(),
        }
    }

    fn not_started(&self) -> TerraformError {
        let said = end_of(&self.files.supervisor_log(), 0);
        let said = said.lines().last().unwrap_or("its supervisor ended at once and said nothing").to_owned();
        TerraformError::Supervisor { program: self.job.program.clone(), source: io::Error::other(said) }
    }

    fn log(&self) -> PathBuf {
        self.files.stdout()
    }
}

/// What a file holds from `offset` on, at most its last [`STDERR_SHOWN`] bytes.
fn end_of(path: &Path, offset: u64) -> String {
    let bytes = fs_err::read(path).unwrap_or_default();
    let start = offset.max((bytes.len() as u64).saturating_sub(STDERR_SHOWN)) as usize;
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).trim().to_owned()
}

/// The errors that Terraform wrote for people, in boxes, where it writes no JSON: `init`, and mistakes in
/// its own configuration.
fn errors_in(text: &str) -> Vec<Diagnostic> {
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim_start_matches(['│', '╷', '╵', ' ']).trim_end();
        if let Some(summary) = line.strip_prefix("Error: ") {
            let summary = summary.to_owned();
            errors.push(Diagnostic {
                severity: Severity::Error,
                summary,
                detail: String::new(),
                address: None,
            });
            inside = true;
        } else if line.starts_with("Warning: ") {
            inside = false;
        } else if let (true, Some(error)) = (inside && !line.is_empty(), errors.last_mut()) {
            error.detail.push_str(if error.detail.is_empty() { "" } else { " " });
            error.detail.push_str(line);
        }
    }
    // The first one announces the others.
    errors.reverse();
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::FailureClass;

    #[test]
    fn errors_for_people_are_read_out_of_their_boxes() {
        let text = "╷\n│ Warning: old\n│ \n│ words\n╵\n╷\n│ Error: Failed to query available provider packages\n│ \n\
                    │ Could not retrieve the list of versions: could not\n│ connect to registry: no such host\n╵\n";
        let errors = errors_in(text);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].summary, "Failed to query available provider packages");
        assert!(errors[0].detail.ends_with("connect to registry: no such host"), "{}", errors[0].detail);
        assert_eq!(Diagnostician::default().diagnose(&errors).class, FailureClass::Network);
    }
}

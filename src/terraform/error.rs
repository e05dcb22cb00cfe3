//! What can go wrong with Terraform, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::{Diagnosis, Operation, Progress, StateError};

#[derive(Debug, thiserror::Error)]
pub enum TerraformError {
    /// Terraform said no. What it made until then is in its state, or is found by tag.
    #[error("terraform {operation} failed in `{}`: {}", .folder.display(), summary(.diagnosis, .stderr))]
    Failed {
        operation: Operation,
        folder: PathBuf,
        /// Absent where a signal ended it.
        status: Option<i32>,
        diagnosis: Box<Diagnosis>,
        progress: Box<Progress>,
        /// End of what Terraform wrote to stderr.
        stderr: String,
        log: PathBuf,
    },
    /// It was asked to stop and did. What was in flight may exist without being in the state.
    #[error("terraform {operation} was interrupted in `{}`", .folder.display())]
    Interrupted { operation: Operation, folder: PathBuf, progress: Box<Progress> },
    /// It ended, and nobody is left to say how.
    #[error(
        "terraform {operation} in `{}` ended without a trace of how; look for resources by tag before \
         anything is applied again",
        .folder.display()
    )]
    Lost { operation: Operation, folder: PathBuf, progress: Box<Progress> },
    #[error("another terraform works in `{}`; wait for it, or interrupt it", .folder.display())]
    Busy { folder: PathBuf },
    #[error("could not start `{}`", .program.display())]
    Supervisor { program: PathBuf, source: io::Error },
    #[error("could not use the files of terraform in `{}`", .folder.display())]
    Files { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    State(#[from] StateError),
}

impl TerraformError {
    /// What is known about why Terraform failed.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            TerraformError::Failed { diagnosis, .. } => Some(diagnosis),
            _ => None,
        }
    }

    /// Whether something may exist that the state does not know: a sweep by tag must follow.
    pub fn needs_sweep(&self) -> bool {
        use Operation::Init;
        match self {
            TerraformError::Failed { operation, .. }
            | TerraformError::Interrupted { operation, .. }
            | TerraformError::Lost { operation, .. } => *operation != Init,
            TerraformError::State(_) => true,
            TerraformError::Busy { .. }
            | TerraformError::Supervisor { .. }
            | TerraformError::Files { .. } => false,
        }
    }

    /// What to do next, as a sentence.
    pub fn next_step(&self) -> String {
        match self {
            TerraformError::Failed { diagnosis, log, .. } => {
                format!("{} (log: {})", diagnosis.next_step, log.display())
            }
            TerraformError::Interrupted { .. } | TerraformError::Lost { .. } => {
                "`bench run --resume` goes on, `bench nuke` removes what is there".to_owned()
            }
            TerraformError::Busy { .. } => "`bench stop` asks it to end".to_owned(),
            TerraformError::Supervisor { .. } | TerraformError::Files { .. } => {
                "free disk space or correct the folder's rights, then `bench run --resume`".to_owned()
            }
            TerraformError::State(_) => {
                "`bench nuke --run-id` finds by tag what the state no longer says".to_owned()
            }
        }
    }
}

/// The first line that says what failed.
fn summary(diagnosis: &Diagnosis, stderr: &str) -> String {
    let told = diagnosis.diagnostic.as_ref().map(|diagnostic| match &diagnostic.address {
        Some(address) => format!("{} (at {address})", diagnostic.summary),
        None => diagnostic.summary.clone(),
    });
    let from_stderr = || stderr.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
    told.or_else(from_stderr).unwrap_or_else(|| "it gave no reason".to_owned())
}

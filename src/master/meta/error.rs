//! What can go wrong with the meta stack, and what to do about it.

use super::decision::Refusal;
use super::record::MetaRecordError;
use crate::client::ClientError;
use crate::ledger::LedgerError;
use crate::master::programs::ProgramError;
use crate::orchestrator::tls::TlsError;
use crate::owner::OwnerId;
use crate::terraform::{StateError, TerraformError};

#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "no orchestrator is there to be used ({why}), and --skip-infra makes none; name one with --orchestrator-url"
    )]
    NotThere { why: String },
    #[error("could not make the orchestrator; {}", .0.next_step())]
    Terraform(#[from] TerraformError),
    #[error(
        "the module of the orchestrator's stack does not tell its address: output `orchestrator_url` is missing"
    )]
    NoAddress,
    #[error(
        "the orchestrator's machine {} was made, but nothing answered at {url} for {minutes} minutes{}; \
         `bench nuke --run-id meta-{owner}` removes it, the next run makes it anew",
        .instance.as_deref().unwrap_or("(of unknown id)"),
        .boot_log.as_deref().map(|log| format!(" (the log of its boot: {log})")).unwrap_or_default()
    )]
    Silent {
        url: String,
        instance: Option<String>,
        boot_log: Option<String>,
        owner: OwnerId,
        minutes: u64,
        #[source]
        last: Option<Box<ClientError>>,
    },
    #[error(
        "the program that was given for the orchestrator is bench {found}, this is {wanted}: give one of this version \
         under `task_runners.binaries`"
    )]
    WrongProgram { found: String, wanted: String },
    #[error(
        "the orchestrator's machine was replaced and now answers at {found} instead of {url}, which hosts were given; \
         start the run again"
    )]
    Moved { url: String, found: String },
    #[error(
        "an earlier attempt at the orchestrator may have left something that would be made twice: {}; \
         `bench nuke --run-id meta-{owner}` removes it",
        .left.join("; ")
    )]
    Unclear { left: Vec<String>, owner: OwnerId },
    #[error("interrupted while the orchestrator was being made")]
    Interrupted,
    #[error("could not use the files of the orchestrator's stack")]
    Files(#[from] std::io::Error),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("could not make or read the orchestrator's keys")]
    Keys(#[from] TlsError),
    #[error(transparent)]
    Record(#[from] MetaRecordError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl MetaError {
    /// Whether an apply ended in a way after which something may exist that its state does not know.
    pub(super) fn may_have_lost(&self) -> bool {
        match self {
            MetaError::Terraform(error) => error.needs_sweep(),
            other => matches!(other, MetaError::Interrupted),
        }
    }
}

//! One provider instance with Terraform, from its first file to the end of its last host.
//!
//! ```text
//!  files ─▶ init ─▶ apply ─▶ News::Up or Failed ─▶ (asked to leave) ─▶ destroy, or kept
//!                     ▲ one interrupt, where the run is cancelled meanwhile
//! ```

use std::sync::Arc;

use tokio::sync::watch;

use super::fleet::Line;
use super::{End, News};
use crate::ledger::{FactKind, Intent, Ledger, LedgerError, Made};
use crate::master::leave::{Leave, asked};
use crate::master::progress::{MasterEvent, Progress};
use crate::master::record::{HostRecord, Leftover};
use crate::render::Files;
use crate::terraform::{
    self, Adopted, Applied, Destroyed, FailureClass, InitCache, JobState, Operation, TerraformError, TfEvent,
    Workspace,
};

/// Another try of a destroy costs nothing; what is still there after this many is named.
const DESTROY_TRIES: u32 = 3;

/// What one provider instance is made from.
pub struct TerraformProvider {
    pub name: String,
    pub workspace: Workspace,
    pub cache: InitCache,
    pub files: Files,
    pub ledger: Ledger,
    /// What is written down before the cloud is called.
    pub intent: Intent,
    /// Leave the hosts to their deadline.
    pub keep: bool,
    pub progress: Arc<dyn Progress>,
}

/// Makes the hosts, waits for the end of the run, removes them.
pub async fn serve(provider: TerraformProvider, line: Line) -> End {
    let mut leave = line.leave.clone();
    let error = match provider.bring_up(&mut leave).await {
        Ok(Some(applied)) => {
            let hosts = HostRecord::list(&applied.instances);
            provider
                .progress
                .tell(&MasterEvent::ProviderUp { name: provider.name.clone(), hosts: hosts.len() });
            provider.note(FactKind::Applied { made: provider.made() });
            line.tell(News::Up(hosts));
            None
        }
        // Nothing was begun, and nothing is wanted any more.
        Ok(None) => return End::default(),
        Err(SetUpError::Terraform(TerraformError::Interrupted { .. })) if *leave.borrow() != Leave::No => {
            None
        }
        Err(error) => Some(provider.failed(&error, &line)),
    };
    asked(&mut leave).await;
    if provider.keep {
        provider.note(FactKind::Kept);
        return End { error, leftovers: Vec::new(), kept: true };
    }
    let (destroy_error, leftovers) = provider.take_down().await;
    End { error: error.or(destroy_error), leftovers, kept: false }
}

/// Why a provider instance could not be set up.
#[derive(Debug, thiserror::Error)]
enum SetUpError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Terraform(#[from] TerraformError),
}

impl SetUpError {
    fn class(&self) -> Option<FailureClass> {
        match self {
            SetUpError::Terraform(error) => error.diagnosis().map(|diagnosis| diagnosis.class),
            SetUpError::Ledger(_) => None,
        }
    }

    fn next_step(&self) -> String {
        match self {
            SetUpError::Terraform(error) => error.next_step(),
            SetUpError::Ledger(_) => "free disk space or correct the home folder's rights".to_owned(),
        }
    }
}

impl TerraformProvider {
    /// `None` where nothing was ever begun here and the run is over.
    async fn bring_up(&self, leave: &mut watch::Receiver<Leave>) -> Result<Option<Applied>, SetUpError> {
        if self.workspace.state()? == JobState::None && *leave.borrow() != Leave::No {
            return Ok(None);
        }
        self.ledger.intend(&self.intent)?;
        self.workspace.prepare(&self.files)?;
        self.workspace.init(&self.cache).await?;
        let mut shown = self.shown(Operation::Apply);
        let apply = self.workspace.apply(&mut shown);
        tokio::pin!(apply);
        let how = tokio::select! {
            applied = &mut apply => return Ok(Some(applied?)),
            how = asked(leave) => how,
        };
        if how == Leave::AtOnce {
            self.workspace.interrupt().await?;
        }
        Ok(Some(apply.await?))
    }

    /// Tells that the set-up failed, and what came up all the same.
    fn failed(&self, error: &SetUpError, line: &Line) -> String {
        let hosts = HostRecord::list(&self.workspace.known_instances());
        let next_step = error.next_step();
        self.note(FactKind::Failed { error: crate::cause_chain(error) });
        self.progress.tell(&MasterEvent::ProviderFailed {
            name: self.name.clone(),
            error: crate::cause_chain(error),
            class: error.class(),
            next_step: next_step.clone(),
            hosts: hosts.len(),
        });
        let error = format!("{}; {next_step}", crate::cause_chain(error));
        line.tell(News::Failed { error: error.clone(), hosts });
        error
    }

    /// Destroys what the state knows, and names what it could not.
    async fn take_down(&self) -> (Option<String>, Vec<Leftover>) {
        let mut last = None;
        for _ in 0..DESTROY_TRIES {
            match self.destroy().await {
                Ok(destroyed) if destroyed.remaining.is_empty() => {
                    self.note(FactKind::Destroyed);
                    return (None, Vec::new());
                }
                Ok(_) => {}
                Err(error) => last = Some(crate::cause_chain(&error)),
            }
        }
        let left = self.workspace.recover();
        let resources = left.found.map(|(_, state)| state.resources).unwrap_or_default();
        let mut leftovers: Vec<Leftover> = resources
            .into_iter()
            .map(|resource| Leftover {
                provider: self.name.clone(),
                resource: resource.address,
                id: resource.id,
            })
            .collect();
        leftovers.extend(left.unreadable.iter().map(|error| Leftover {
            provider: self.name.clone(),
            resource: error.to_string(),
            id: None,
        }));
        (last.or_else(|| Some("its resources could not be destroyed".to_owned())), leftovers)
    }

    async fn destroy(&self) -> Result<Destroyed, TerraformError> {
        // A destroy without a state says that all is well.
        self.workspace.restore_state()?;
        let mut shown = self.shown(Operation::Destroy);
        match self.workspace.destroy(&mut shown).await {
            // The one of an earlier master, or one that lost its supervisor.
            Err(TerraformError::Busy { .. }) => match self.workspace.adopt(&mut |_| {}).await? {
                Adopted::Destroyed(destroyed) => Ok(destroyed),
                _ => self.workspace.destroy(&mut |_| {}).await,
            },
            other => other,
        }
    }

    /// What the state knows, for the ledger.
    fn made(&self) -> Vec<Made> {
        let resources = self.workspace.recover().found.map(|(_, state)| state.resources).unwrap_or_default();
        resources.into_iter().filter_map(|r| Some(Made { kind: r.kind, id: r.id? })).collect()
    }

    /// A fact that cannot be written down leaves the intent standing, which is the safe side.
    fn note(&self, fact: FactKind) {
        if let Err(error) = self.ledger.note(&self.intent.run_id, &self.name, fact) {
            tracing::warn!(error = crate::cause_chain(&error), "the ledger does not know the latest");
        }
    }

    /// Counts events and tells each change.
    fn shown(&self, operation: Operation) -> impl FnMut(TfEvent) + Send + use<> {
        let (name, progress) = (self.name.clone(), self.progress.clone());
        let mut counted = terraform::Progress::default();
        move |event| {
            counted.add(&event);
            let (name, counted) = (name.clone(), counted.clone());
            progress.tell(&MasterEvent::ProviderProgress { name, operation, progress: counted });
        }
    }
}

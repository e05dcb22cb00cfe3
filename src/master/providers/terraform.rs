//! One provider instance with Terraform, from its first file to the end of its last host.
//!
//! ```text
//!  intent ─▶ files ─▶ init ─▶ apply ─▶ hosts watched until they are there ─▶ settled
//!                      ▲ one interrupt, where the run is cancelled meanwhile    │ (asked to leave)
//!                      └── the missing ones replaced, once                      ▼
//!                                                                       destroy, or kept
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::fleet::Line;
use super::{End, News};
use crate::api::Alias;
use crate::client::Client;
use crate::ledger::{FactKind, Intent, Ledger, LedgerError, Made};
use crate::master::leave::{Leave, asked, cancelled};
use crate::master::progress::{MasterEvent, Progress};
use crate::master::record::HostRecord;
use crate::nuke;
use crate::provider::Backend;
use crate::render::Files;
use crate::terraform::{
    self, Adopted, Applied, FailureClass, InitCache, JobState, Operation, TerraformError, TfEvent, Workspace,
};

/// What one provider instance is made from, and how it is watched.
pub struct TerraformProvider {
    pub name: String,
    pub aliases: Vec<Alias>,
    pub workspace: Workspace,
    pub cache: InitCache,
    pub files: Files,
    pub ledger: Ledger,
    /// What is written down before the cloud is called.
    pub intent: Intent,
    /// Knows how to find what carries our tags.
    pub backend: Arc<Backend>,
    pub orchestrator: Client,
    /// Longest stay of a host at one stage of its boot.
    pub boot_timeout: Duration,
    /// Leave the hosts to their deadline.
    pub keep: bool,
    pub progress: Arc<dyn Progress>,
    /// An apply ended in a way that may have lost something, and no sweep has followed yet.
    pub doubtful: AtomicBool,
}

/// Makes the hosts, waits for the end of the run, removes them.
pub async fn serve(provider: TerraformProvider, line: Line) -> End {
    let mut leave = line.leave.clone();
    let inherited = provider.is_inherited();
    let set_up = provider.set_up(inherited, &mut leave).await;
    // Whatever made it end early: what was in flight may be there and in no state.
    let lost = if set_up.as_ref().is_err_and(SetUpError::may_have_lost) {
        provider.sweep().await
    } else {
        Vec::new()
    };
    let (hosts, mut error) = match set_up {
        Ok(Some(applied)) => (provider.came_up(&applied, &line), None),
        // Nothing is wanted any more; an earlier master may have begun something.
        Ok(None) => (Vec::new(), None),
        Err(error) if error.was_wanted(&leave) => (Vec::new(), None),
        Err(error) => provider.failed(&error, &line),
    };
    let watched = provider.watch(hosts, error.is_none(), &line).await;
    error = error.or(watched);
    asked(&mut leave).await;
    if provider.keep || *leave.borrow() == Leave::Stay {
        provider.note(FactKind::Kept);
        return End { error, leftovers: lost, kept: true };
    }
    let (destroy_error, mut leftovers) = provider.take_down(inherited).await;
    leftovers.extend(lost);
    End { error: error.or(destroy_error), leftovers, kept: false }
}

/// Why a provider instance could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetUpError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Terraform(#[from] TerraformError),
}

impl SetUpError {
    /// Interrupted because the run is over.
    pub(super) fn was_wanted(&self, leave: &watch::Receiver<Leave>) -> bool {
        let interrupted = matches!(self, SetUpError::Terraform(TerraformError::Interrupted { .. }));
        interrupted && *leave.borrow() != Leave::No
    }

    /// Whether something may have been made that the state does not know: any apply that did not succeed.
    fn may_have_lost(&self) -> bool {
        match self {
            SetUpError::Terraform(error) => error.needs_sweep(),
            SetUpError::Ledger(_) => false,
        }
    }

    fn class(&self) -> Option<FailureClass> {
        match self {
            SetUpError::Terraform(error) => error.diagnosis().map(|diagnosis| diagnosis.class),
            SetUpError::Ledger(_) => None,
        }
    }

    pub(super) fn next_step(&self) -> String {
        match self {
            SetUpError::Terraform(error) => error.next_step(),
            SetUpError::Ledger(_) => "free disk space or correct the home folder's rights".to_owned(),
        }
    }
}

impl TerraformProvider {
    /// Makes the hosts, or takes over what an earlier master has begun: its Terraform may still be at work.
    /// Where that has failed, or died, what it lost is swept, and the rest is made. `None` where the run is over.
    async fn set_up(
        &self,
        inherited: bool,
        leave: &mut watch::Receiver<Leave>,
    ) -> Result<Option<Applied>, SetUpError> {
        let adopted = match self.workspace.state()? {
            // Its folder is gone, or somebody else's.
            JobState::None if inherited && *leave.borrow() == Leave::No => {
                self.after_lost(self.workspace.without_trace()).await?
            }
            JobState::None | JobState::Lost { started: false, .. } => Adopted::Nothing,
            JobState::Running { .. } | JobState::Ended { .. } | JobState::Lost { .. } => {
                match self.adopt(leave).await {
                    Err(error) if error.needs_sweep() && *leave.borrow() == Leave::No => {
                        self.after_lost(error).await?
                    }
                    adopted => adopted?,
                }
            }
        };
        match adopted {
            Adopted::Applied(applied) => Ok(Some(applied)),
            Adopted::Nothing | Adopted::Destroyed(_) => self.bring_up(&[], leave).await,
        }
    }

    /// Whether an earlier master was about to make something here that no listing has shown to be gone. Where
    /// the ledger cannot be read, it may have been.
    fn is_inherited(&self) -> bool {
        let history = self.ledger.read();
        history.map_or(true, |history| {
            let mut open = history.open().map(|place| &place.intent);
            open.any(|intent| intent.run_id == self.intent.run_id && intent.provider == self.name)
        })
    }

    async fn adopt(&self, leave: &mut watch::Receiver<Leave>) -> Result<Adopted, TerraformError> {
        let mut shown = self.shown(Operation::Apply);
        let adopted = self.workspace.adopt(&mut shown);
        tokio::pin!(adopted);
        tokio::select! {
            adopted = &mut adopted => return adopted,
            () = cancelled(leave) => {}
        }
        self.workspace.interrupt().await?;
        adopted.await
    }

    /// After an earlier master's apply that may have lost something: only what a sweep leaves clean is applied
    /// to again, since anything else could be made twice.
    async fn after_lost(&self, error: TerraformError) -> Result<Adopted, TerraformError> {
        let why = crate::cause_chain(&error);
        tracing::info!(provider = self.name, why, "what an earlier apply may have lost is looked for");
        self.doubtful.store(true, Ordering::Relaxed);
        if self.sweep().await.is_empty() { Ok(Adopted::Nothing) } else { Err(error) }
    }

    /// Applies, replacing the resources at these addresses. `None` where the run is over.
    pub(super) async fn bring_up(
        &self,
        replaced: &[String],
        leave: &mut watch::Receiver<Leave>,
    ) -> Result<Option<Applied>, SetUpError> {
        if *leave.borrow() != Leave::No {
            return Ok(None);
        }
        self.intend().await?;
        self.workspace.prepare(&self.files)?;
        self.workspace.init(&self.cache).await?;
        let mut shown = self.shown(Operation::Apply);
        let apply = async {
            match replaced {
                [] => self.workspace.apply(&mut shown).await,
                addresses => self.workspace.apply_replacing(addresses, &mut shown).await,
            }
        };
        tokio::pin!(apply);
        // A run that ended well meanwhile waits: an interrupt may lose what is being made.
        let applied = tokio::select! {
            applied = &mut apply => applied,
            () = cancelled(leave) => {
                self.workspace.interrupt().await?;
                apply.await
            }
        };
        if applied.as_ref().is_err_and(TerraformError::needs_sweep) {
            self.doubtful.store(true, Ordering::Relaxed);
        }
        Ok(Some(applied?))
    }

    /// Writes down what is about to exist, with the account where it can be told.
    async fn intend(&self) -> Result<(), LedgerError> {
        let mut intent = self.intent.clone();
        match nuke::account(&self.backend, &intent.settings).await {
            Ok(account) => intent.account = account,
            Err(error) => {
                let error = crate::cause_chain(&error);
                tracing::warn!(provider = self.name, error, "the ledger does not learn the account");
            }
        }
        self.ledger.intend(&intent)
    }

    /// Tells what was made.
    pub(super) fn came_up(&self, applied: &Applied, line: &Line) -> Vec<HostRecord> {
        let hosts = HostRecord::list(&applied.instances);
        self.progress.tell(&MasterEvent::ProviderUp { name: self.name.clone(), hosts: hosts.len() });
        self.note(FactKind::Applied { made: self.made() });
        line.tell(News::Up(hosts.clone()));
        hosts
    }

    /// Tells that the set-up failed, and what came up all the same.
    fn failed(&self, error: &SetUpError, line: &Line) -> (Vec<HostRecord>, Option<String>) {
        let hosts = self.known_hosts();
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
        line.tell(News::Failed { error: error.clone(), hosts: hosts.clone() });
        (hosts, Some(error))
    }

    /// The hosts of the state, by the module's outputs; an apply that failed may not have written them, then
    /// by the keys of its resources.
    fn known_hosts(&self) -> Vec<HostRecord> {
        let told = self.workspace.known_instances();
        if !told.is_empty() {
            return HostRecord::list(&told);
        }
        let state = self.workspace.recover().found.map(|(_, state)| state).unwrap_or_default();
        let mut hosts: Vec<HostRecord> = Vec::new();
        for resource in state.resources {
            let Some(key) = resource.key().filter(|key| !hosts.iter().any(|host| host.key == *key)) else {
                continue;
            };
            let alias = key.rsplit_once('-').and_then(|(alias, number)| {
                number.parse::<u32>().ok()?;
                self.aliases.iter().find(|known| known.as_str() == alias)
            });
            let Some(alias) = alias else { continue };
            hosts.push(HostRecord {
                alias: alias.to_string(),
                key,
                id: resource.id.unwrap_or_default(),
                instance_type: String::new(),
                public_ip: None,
                private_ip: None,
            });
        }
        hosts
    }

    /// What the state knows, for the ledger.
    pub(super) fn made(&self) -> Vec<Made> {
        let resources = self.workspace.recover().found.map(|(_, state)| state.resources).unwrap_or_default();
        resources.into_iter().filter_map(|r| Some(Made { kind: r.kind, id: r.id? })).collect()
    }

    /// A fact that cannot be written down leaves the intent standing, which is the safe side.
    pub(super) fn note(&self, fact: FactKind) {
        if let Err(error) = self.ledger.note(&self.intent.run_id, &self.name, fact) {
            tracing::warn!(error = crate::cause_chain(&error), "the ledger does not know the latest");
        }
    }

    /// Counts events and tells each change.
    pub(super) fn shown(&self, operation: Operation) -> impl FnMut(TfEvent) + Send + use<> {
        let (name, progress) = (self.name.clone(), self.progress.clone());
        let mut counted = terraform::Progress::default();
        move |event| {
            counted.add(&event);
            let (name, counted) = (name.clone(), counted.clone());
            progress.tell(&MasterEvent::ProviderProgress { name, operation, progress: counted });
        }
    }
}

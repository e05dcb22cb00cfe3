//! EFFECT. Finds the meta stack, or makes it: Terraform, then patience until it answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::decision::{Answer, Decision, decide};
use super::error::MetaError;
use super::folder::{Keys, Making, MetaFolder};
use super::opened::{Booting, Opened};
use super::plan::{MetaPlan, idle_minutes};
use super::record::MetaRecord;
use super::step::MetaStep;
use super::variables;
use crate::client::{Client, ClientError, Endpoint};
use crate::ledger::{FactKind, Intent, Ledger, Made};
use crate::master::interrupt::Interrupts;
use crate::master::programs::sha256_of;
use crate::master::progress::{MasterEvent, Progress};
use crate::provider::META;
use crate::render::{Files, TFVARS};
use crate::terraform::{Applied, InitCache, JobState, State, TerraformError, Tools, Workspace};

/// Between two looks at a lock or an address.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// How long an orchestrator is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One that was there before.
    pub probe: Duration,
    /// One whose machine boots.
    pub boot: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { probe: Duration::from_secs(10), boot: Duration::from_secs(600) }
    }
}

/// What was found and checked before anything is created.
#[derive(Debug, Clone)]
pub struct Setup {
    pub plan: MetaPlan,
    pub folder: MetaFolder,
    pub tools: Tools,
    pub cache: InitCache,
    /// Where it is written down what is about to be made.
    pub ledger: Ledger,
    /// Absent: only one that answers will do.
    pub may_make: bool,
    pub patience: Patience,
}

/// One master's work on the stack.
pub struct Stack {
    pub(super) setup: Setup,
    progress: Arc<dyn Progress>,
    pub(super) interrupts: Interrupts,
}

impl Stack {
    pub fn new(setup: Setup, progress: Arc<dyn Progress>, interrupts: Interrupts) -> Stack {
        Stack { setup, progress, interrupts }
    }

    /// Finds the stack's orchestrator, or makes it. One that was made may still boot: [`Opened::ready`] waits.
    pub async fn open(mut self) -> Result<Opened, MetaError> {
        let making = self.become_maker().await?;
        self.adopt().await?;
        let record = MetaRecord::load(&self.setup.folder.record())?;
        let answer = self.ask(record.as_ref(), &making).await?;
        let unused = self.setup.folder.is_unused(&making)?;
        match decide(&self.setup.plan, record.as_ref(), &answer, unused)? {
            Decision::Use => {
                let record = record.expect("only a stack with a record answers");
                self.opened(record, making, None)
            }
            Decision::Make { why, .. } if !self.setup.may_make => Err(MetaError::NotThere { why }),
            Decision::Make { why, fresh } => {
                let before = record.as_ref().and_then(|record| record.instance_id.clone());
                let record = match (fresh, record) {
                    (false, Some(record)) => record,
                    (_, record) => self.fresh_record(record.as_ref(), &making)?,
                };
                self.tell(MetaStep::Applying { why });
                let record = self.make(record, fresh, &making).await?;
                let may_replace = fresh && before.is_some() && before == record.instance_id;
                self.opened(record, making, Some(may_replace))
            }
        }
    }

    fn opened(
        self,
        record: MetaRecord,
        making: Making,
        may_replace: Option<bool>,
    ) -> Result<Opened, MetaError> {
        let keys = self.setup.folder.keys(&making)?;
        let url = record.url.clone().ok_or(MetaError::NoAddress)?;
        let endpoint = Endpoint { url, key: keys.admin_key, pin: Some(keys.pin) };
        let using = self.setup.folder.using(&making)?;
        let booting = may_replace.map(|may_replace| Booting { stack: self, making, may_replace });
        Ok(Opened { endpoint, record, booting: Mutex::new(booting), _using: using })
    }

    /// Of several masters of a home, one looks and makes; the others wait for it.
    async fn become_maker(&mut self) -> Result<Making, MetaError> {
        let mut told = false;
        loop {
            if let Some(making) = self.setup.folder.try_making()? {
                return Ok(making);
            }
            if !std::mem::replace(&mut told, true) {
                self.tell(MetaStep::WaitingForMaker);
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.interrupts.reached(1) => return Err(MetaError::Interrupted),
            }
        }
    }

    /// What an earlier master began goes on without it; nothing can be known before its end.
    async fn adopt(&self) -> Result<(), MetaError> {
        let workspace = self.workspace();
        if matches!(workspace.state()?, JobState::Running { .. }) {
            self.tell(MetaStep::Adopting);
            // However it ended, the state and the orchestrator itself are looked at next.
            if let Err(error) = workspace.adopt(&mut |_| {}).await {
                tracing::warn!(error = %crate::cause_chain(&error), "the adopted terraform failed");
            }
        }
        Ok(())
    }

    async fn ask(&self, record: Option<&MetaRecord>, making: &Making) -> Result<Answer, MetaError> {
        let Some(url) = record.and_then(|record| record.url.clone()) else { return Ok(Answer::Silent) };
        let keys = self.setup.folder.keys(making)?;
        let client = Client::new(Endpoint { url, key: keys.admin_key, pin: Some(keys.pin) })?;
        let asked = async {
            let version = client.ready().await?;
            let runs = client.runs().await?;
            let active = runs.into_iter().filter(|run| !run.status.is_final()).map(|run| run.run_id);
            Ok::<_, ClientError>(Answer::Ready { version, active: active.collect() })
        };
        Ok(match tokio::time::timeout(self.setup.patience.probe, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::info!(error = %crate::cause_chain(&error), "the orchestrator does not answer");
                Answer::Silent
            }
            Err(_) => Answer::Silent,
        })
    }

    fn fresh_record(&self, old: Option<&MetaRecord>, making: &Making) -> Result<MetaRecord, MetaError> {
        let plan = &self.setup.plan;
        let mut settings = plan.settings.clone();
        // Where it is does not change while something of it is there; the config did not ask for that.
        let kept = old.into_iter().flat_map(|old| plan.fixed_names.iter().map(move |name| (old, name)));
        for (old, name) in kept {
            match old.settings.get(name) {
                Some(value) => settings.insert(name.clone(), value.clone()),
                None => settings.remove(name),
            };
        }
        Ok(MetaRecord {
            url: old.and_then(|old| old.url.clone()),
            pin: self.setup.folder.keys(making)?.pin.to_string(),
            key_file: "meta/admin.key".into(),
            owner: plan.owner.clone(),
            backend: plan.backend.clone(),
            version: plan.version.clone(),
            arch: plan.arch,
            idle_minutes: idle_minutes(&settings),
            settings,
            generation: old.map_or(0, |old| old.generation),
            instance_id: None,
            instance_type: None,
            region: None,
            boot_log: None,
            price_usd_per_h: None,
        })
    }

    /// Applies the module. The record is on disk before anything exists.
    pub(super) async fn make(
        &self,
        mut record: MetaRecord,
        fresh: bool,
        making: &Making,
    ) -> Result<MetaRecord, MetaError> {
        let keys = self.setup.folder.keys(making)?;
        if fresh || !self.setup.folder.program().exists() {
            self.setup.folder.keep_program(&self.setup.plan.program)?;
        }
        let program = std::path::absolute(self.setup.folder.program())?;
        let sha256 = sha256(program.clone()).await?;
        let workspace = self.workspace();
        let first = State::read(&self.setup.folder.state())?.is_none_or(|state| state.resources.is_empty());
        record.save(&self.setup.folder.record())?;
        if self.is_doubtful(&record)? {
            self.sweep(&workspace, &record).await?;
        }
        self.setup.ledger.intend(&self.intent(&record))?;
        workspace.prepare(&self.files(&record, &keys, &program, &sha256))?;
        workspace.init(&self.setup.cache).await?;
        let applied = match self.apply(&workspace).await {
            Ok(applied) => applied,
            Err(error) => {
                self.note(&record, FactKind::Failed { error: crate::cause_chain(&error) });
                if error.may_have_lost()
                    && let Err(error) = self.sweep(&workspace, &record).await
                {
                    let error = crate::cause_chain(&error);
                    tracing::error!(%error, "what the failed apply lost could not be removed");
                }
                if first {
                    self.undo(&workspace, &record).await;
                }
                return Err(error);
            }
        };
        self.note(&record, FactKind::Applied { made: made(&workspace) });
        self.take_outputs(&mut record, &applied)?;
        Ok(record)
    }

    fn files(&self, record: &MetaRecord, keys: &Keys, program: &Path, sha256: &str) -> Files {
        let source = &self.setup.plan.source;
        let mut files = source.files();
        let values = variables::values(&source.module, record, keys, program, sha256);
        files.insert(TFVARS, format!("{:#}\n", Value::Object(values)));
        files
    }

    /// An interrupt is handed on to Terraform, once, and its end awaited.
    async fn apply(&self, workspace: &Workspace) -> Result<Applied, MetaError> {
        let mut interrupts = self.interrupts.clone();
        let mut asked = false;
        let mut quiet = |_| {};
        let apply = workspace.apply(&mut quiet);
        tokio::pin!(apply);
        loop {
            tokio::select! {
                done = &mut apply => return match done {
                    Err(TerraformError::Interrupted { .. }) if asked => Err(MetaError::Interrupted),
                    done => Ok(done?),
                },
                () = interrupts.reached(1), if !asked => {
                    asked = true;
                    workspace.interrupt().await?;
                }
            }
        }
    }

    /// A first attempt that failed leaves nothing behind that Terraform knows of.
    async fn undo(&self, workspace: &Workspace, record: &MetaRecord) {
        self.tell(MetaStep::Destroying);
        let destroyed = workspace.destroy(&mut |_| {}).await;
        match destroyed {
            Ok(destroyed) if destroyed.remaining.is_empty() => {
                self.note(record, FactKind::Destroyed);
                let removed = fs_err::remove_file(self.setup.folder.record());
                if let Err(error) = removed {
                    tracing::warn!(%error, "the orchestrator's record stays");
                }
            }
            Ok(destroyed) => {
                tracing::error!(left = ?destroyed.remaining, "something of the orchestrator is left; `bench nuke` removes it");
            }
            Err(error) => {
                let error = crate::cause_chain(&error);
                tracing::error!(%error, "something of the orchestrator is left; `bench nuke` removes it");
            }
        }
    }

    fn take_outputs(&self, record: &mut MetaRecord, applied: &Applied) -> Result<(), MetaError> {
        let text = |name: &str| applied.outputs.get(name).and_then(Value::as_str).map(str::to_owned);
        record.url = Some(text("orchestrator_url").ok_or(MetaError::NoAddress)?);
        record.instance_id = text("instance_id");
        record.instance_type = text("instance_type");
        record.region = text("region");
        record.boot_log = text("boot_log");
        let price = |name: &String| self.setup.plan.price_usd_per_h(name);
        record.price_usd_per_h = record.instance_type.as_ref().and_then(price);
        Ok(record.save(&self.setup.folder.record())?)
    }

    pub(super) fn intent(&self, record: &MetaRecord) -> Intent {
        Intent {
            run_id: record.run_id(),
            owner: record.owner.clone(),
            provider: META.to_owned(),
            backend: record.backend.clone(),
            settings: record.settings.clone(),
            account: None,
            expires_at: None,
            prices_usd_per_h: self.setup.plan.prices().collect(),
            workspace: self.setup.folder.root().to_owned(),
            state_copy: None,
        }
    }

    /// A fact that cannot be written down leaves the intent standing, which is the safe side.
    fn note(&self, record: &MetaRecord, fact: FactKind) {
        if let Err(error) = self.setup.ledger.note(&record.run_id(), META, fact) {
            tracing::warn!(error = crate::cause_chain(&error), "the ledger does not know the latest");
        }
    }

    fn workspace(&self) -> Workspace {
        Workspace::new(self.setup.folder.root(), &self.setup.tools, &self.setup.plan.manifest)
    }

    pub(super) fn tell(&self, step: MetaStep) {
        self.progress.tell(&MasterEvent::Meta(step));
    }
}

/// What the state knows, for the ledger.
pub(super) fn made(workspace: &Workspace) -> Vec<Made> {
    let resources = workspace.recover().found.map(|(_, state)| state.resources).unwrap_or_default();
    resources.into_iter().filter_map(|r| Some(Made { kind: r.kind, id: r.id? })).collect()
}

async fn sha256(path: PathBuf) -> Result<String, MetaError> {
    let digest = tokio::task::spawn_blocking(move || sha256_of(&path)).await;
    Ok(digest.map_err(std::io::Error::other)??)
}

//! What a provider instance with Terraform is rendered from, gathered once and checked before anything runs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::RunId;
use crate::client::Secret;
use crate::ledger::Intent;
use crate::owner::OwnerId;
use crate::plan::PlannedProvider;
use crate::provider::{Backend, Manifest};
use crate::render::{self, Inputs, RenderError, Rendered, RunFacts, Runner};
use crate::terraform::{Source, SourceError};

/// A provider instance with Terraform: its part of the plan and its backend's files.
#[derive(Debug)]
pub struct TerraformTask {
    pub planned: PlannedProvider,
    pub manifest: Manifest,
    /// Whole, for the sweep of what Terraform loses.
    pub backend: Arc<Backend>,
    pub source: Source,
}

/// What holds for the hosts of all provider instances of a run.
#[derive(Debug, Clone)]
pub struct HostFacts {
    pub run_id: RunId,
    pub owner: OwnerId,
    pub ruby_version: Option<String>,
    pub mock: bool,
    pub debug: bool,
    pub ttl_minutes: u32,
    /// Deadline of every host, seconds since 1970.
    pub expires_at: i64,
    pub runner: Runner,
}

impl HostFacts {
    /// Adds what is known only once the run has an orchestrator.
    pub fn with(&self, run_key: Secret, meta_state_path: PathBuf) -> RunFacts {
        RunFacts {
            run_id: self.run_id.clone(),
            owner: self.owner.to_string(),
            ruby_version: self.ruby_version.clone(),
            mock: self.mock,
            debug: self.debug,
            ttl_minutes: self.ttl_minutes,
            expires_at: self.expires_at,
            run_key,
            meta_state_path,
            tags: Default::default(),
        }
    }
}

impl TerraformTask {
    pub fn load(planned: &PlannedProvider, backend: &Backend) -> Result<TerraformTask, SourceError> {
        let source = Source::load(&backend.folder)?;
        let manifest = backend.manifest.clone();
        Ok(TerraformTask { planned: planned.clone(), manifest, backend: Arc::new(backend.clone()), source })
    }

    /// The files of its folder.
    pub fn render(&self, run: &RunFacts, runner: &Runner) -> Result<Rendered, RenderError> {
        render::render(&Inputs {
            run,
            provider: &self.planned,
            manifest: &self.manifest,
            runner,
            module: &self.source.module,
            extra: &self.source.extra,
            templates: &self.source.templates,
        })
    }

    /// What it is about to make, for the ledger.
    pub fn intent(&self, facts: &HostFacts, workspace: PathBuf, state_copy: PathBuf) -> Intent {
        let rows = self.planned.instance_types.iter();
        let prices = rows.filter_map(|row| Some((row.instance_type.clone(), row.price_usd_per_h?)));
        Intent {
            run_id: facts.run_id.clone(),
            owner: facts.owner.clone(),
            provider: self.planned.name.clone(),
            backend: self.planned.backend.clone(),
            settings: self.planned.settings.clone(),
            account: None,
            expires_at: Some(facts.expires_at),
            prices_usd_per_h: prices.collect(),
            workspace,
            state_copy: Some(state_copy),
        }
    }

    /// Whether its hosts fetch the task runner's program.
    pub fn takes_binaries(&self) -> bool {
        self.source.module.declares("runner")
    }
}

//! Starting provider instances: each in its phase, as a task of the fleet.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use super::connection::Connection;
use super::flow::{RunError, Session, now};
use super::home::{HomeError, create_private_dir};
use super::journal::Step;
use super::local::{self, LocalAlias, LocalRunners};
use super::providers::{Driven, End, Fleet, ProviderTask, TerraformProvider, TerraformTask, serve_terraform};
use crate::api::Settled;
use crate::provider::Phase;
use crate::terraform::{InitCache, Workspace};

impl Session {
    pub(super) fn start_providers(
        &mut self,
        phase: Phase,
        connection: &Connection,
        fleet: &mut Fleet,
    ) -> Result<(), RunError> {
        for provider in self.prepared.providers.clone() {
            if starts_in(&provider) != phase {
                continue;
            }
            self.journal.write(now(), Step::SetUpProvider { name: provider.name.clone() })?;
            self.provider_record(&provider.name).status = "running".to_owned();
            match &provider.driven {
                Driven::Local(aliases) => self.start_local(&provider, aliases.clone(), connection, fleet)?,
                Driven::Terraform(task) => self.start_terraform(&provider, task, connection, fleet)?,
            }
        }
        self.record.save(&self.folder.record())?;
        Ok(())
    }

    /// Hosts that this master does not make are there, or come by themselves.
    pub(super) async fn settle_strangers(&self, connection: &Connection) -> Result<(), RunError> {
        let groups = &self.prepared.create.tasks;
        let made = |name: &str| self.prepared.providers.iter().any(|provider| provider.name == name);
        let strangers: BTreeSet<&str> = groups
            .iter()
            .filter(|group| group.unsettled && !made(&group.provider))
            .map(|group| group.provider.as_str())
            .collect();
        for provider in strangers {
            connection.client.settle(&self.folder.run_id, provider, &Settled::default()).await?;
        }
        Ok(())
    }

    /// Tasks of a provider instance that ended too early would wait for nobody.
    pub(super) async fn give_up(&self, connection: &Connection, name: &str) -> Result<(), RunError> {
        let groups = self.prepared.create.tasks.iter().filter(|group| group.provider == name);
        let settled = Settled {
            hopeless: groups.map(|group| group.alias.clone()).collect(),
            message: format!("`{name}` has failed"),
            hosts_stay: false,
        };
        connection.client.settle(&self.folder.run_id, name, &settled).await?;
        Ok(())
    }

    fn start_local(
        &self,
        provider: &ProviderTask,
        aliases: Vec<LocalAlias>,
        connection: &Connection,
        fleet: &mut Fleet,
    ) -> Result<(), RunError> {
        create_private_dir(&self.folder.runner_logs()).map_err(HomeError::Io)?;
        let runners = self.local_runners(connection, provider);
        let progress = self.progress.clone();
        fleet.start(&provider.name, |line| async move {
            let served = local::serve(&runners, &aliases, progress.as_ref(), line.leave).await;
            End { error: served.err().map(|error| crate::cause_chain(&error)), ..End::default() }
        });
        Ok(())
    }

    fn start_terraform(
        &self,
        provider: &ProviderTask,
        task: &TerraformTask,
        connection: &Connection,
        fleet: &mut Fleet,
    ) -> Result<(), RunError> {
        let hosts = self.prepared.hosts.as_ref().expect("a plan with Terraform was prepared for hosts");
        let meta_state = self.folder.meta_state();
        let meta_state = std::path::absolute(&meta_state).unwrap_or(meta_state);
        let facts = hosts.facts.with(connection.run_key.clone(), meta_state);
        let files = task.render(&facts, &hosts.facts.runner)?.files;
        let folder = self.folder.provider(&provider.name);
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let state_copy = self.folder.state_copy(&provider.name);
        let state_copy = std::path::absolute(&state_copy).unwrap_or(state_copy);
        let intent = task.intent(&hosts.facts, folder.clone(), state_copy.clone());
        let workspace = Workspace::new(folder, &hosts.tools, &task.manifest).with_state_copy(state_copy);
        let provider = TerraformProvider {
            name: provider.name.clone(),
            workspace,
            cache: InitCache::new(&hosts.init_cache),
            files,
            ledger: hosts.ledger.clone(),
            intent,
            backend: task.backend.clone(),
            aliases: task.planned.instance_types.iter().map(|planned| planned.alias.clone()).collect(),
            orchestrator: connection.client.clone(),
            boot_timeout: hosts.boot_timeout,
            keep: self.prepared.keep,
            progress: self.progress.clone(),
            doubtful: AtomicBool::new(false),
        };
        fleet.start(&provider.name.clone(), |line| serve_terraform(provider, line));
        Ok(())
    }

    fn local_runners(&self, connection: &Connection, provider: &ProviderTask) -> LocalRunners {
        // Runners start in another folder than this process, perhaps inside a container.
        LocalRunners {
            run_id: self.folder.run_id.clone(),
            provider: provider.name.clone(),
            orchestrator_url: connection.record.url.clone(),
            orchestrator_pin: connection.record.pin.clone(),
            key_file: absolute(self.folder.run_key()),
            program: self.prepared.program.clone(),
            working_directory: self.record.working_directory.clone(),
            cpu_locks: self.prepared.cpu_locks.clone(),
            logs: self.folder.runner_logs(),
            undelivered: absolute(self.folder.undelivered()),
            debug: self.prepared.debug,
        }
    }
}

/// Task runners of this machine need a run to work for, whatever their manifest says.
fn starts_in(provider: &ProviderTask) -> Phase {
    match provider.driven {
        Driven::Local(_) => Phase::PostRun,
        Driven::Terraform(_) => provider.phase,
    }
}

fn absolute(path: std::path::PathBuf) -> std::path::PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

//! `run.json`: where a run stands, replaced as a whole at each change. `bench status` reads it.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::home::write_private;
use super::meta::MetaRecord;
use crate::api::{RunId, RunStatus, TaskCounts};
use crate::owner::OwnerId;
use crate::provider::Phase;
use crate::terraform::Instance;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run_id: RunId,
    pub status: RecordStatus,
    pub started_at: jiff::Timestamp,
    #[serde(default)]
    pub finished_at: Option<jiff::Timestamp>,
    /// The file the run was started from, for people; what was run is in `config.json`.
    pub config_file: PathBuf,
    pub config_sha256: String,
    /// Where `bench run` was called: relative paths of the workload start here.
    pub working_directory: PathBuf,
    /// Seed of the order in which tasks are handed out.
    pub seed: u64,
    pub mock: bool,
    #[serde(default)]
    pub debug: bool,
    /// Hosts are left running at the end.
    #[serde(default)]
    pub keep: bool,
    /// Where the run's orchestrator answers (or answered).
    #[serde(default)]
    pub orchestrator: Option<OrchestratorRecord>,
    #[serde(default)]
    pub tasks: TaskCounts,
    #[serde(default)]
    pub providers: Vec<ProviderRecord>,
    /// What could not be removed.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// Who the hosts belong to, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerId>,
    /// Deadline of the hosts, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrchestratorRecord {
    pub url: String,
    /// SPKI pin of its key, where it speaks HTTPS.
    #[serde(default)]
    pub pin: Option<String>,
    /// Whether it runs inside the master and ends with it.
    pub inside_master: bool,
    /// Present where it is the meta stack's, which stays after the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<MetaFacts>,
}

/// What a meta stack costs, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetaFacts {
    pub owner: OwnerId,
    #[serde(default)]
    pub instance_type: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// The machine alone, USD an hour, where its price is known.
    #[serde(default)]
    pub price_usd_per_h: Option<f64>,
    /// It ends itself after so long without a run.
    #[serde(default)]
    pub idle_minutes: Option<u64>,
}

impl MetaFacts {
    pub fn of(record: &MetaRecord) -> MetaFacts {
        MetaFacts {
            owner: record.owner.clone(),
            instance_type: record.instance_type.clone(),
            region: record.region.clone(),
            price_usd_per_h: record.price_usd_per_h,
            idle_minutes: record.idle_minutes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// Being prepared; no task exists yet.
    Starting,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl From<RunStatus> for RecordStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => RecordStatus::Running,
            RunStatus::Completed => RecordStatus::Completed,
            RunStatus::Failed => RecordStatus::Failed,
            RunStatus::Cancelled => RecordStatus::Cancelled,
        }
    }
}

impl RecordStatus {
    pub fn is_final(self) -> bool {
        !matches!(self, RecordStatus::Starting | RecordStatus::Running)
    }

    pub fn word(self) -> &'static str {
        match self {
            RecordStatus::Starting => "starting",
            RecordStatus::Running => "running",
            RecordStatus::Completed => "completed",
            RecordStatus::Failed => "failed",
            RecordStatus::Cancelled => "cancelled",
        }
    }
}

/// What became of one provider instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRecord {
    pub name: String,
    pub phase: Phase,
    /// `pending`, `running`, `done` or `failed`.
    pub status: String,
    /// Hosts it made; 1 for this machine.
    pub instances: u64,
    /// Hosts that were made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostRecord>,
    /// Its hosts were left running, until their deadline ends them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A host that a provider instance made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The module's own key: alias and number.
    pub key: String,
    /// The cloud's id.
    pub id: String,
    pub alias: String,
    pub instance_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<String>,
}

impl HostRecord {
    pub fn list(instances: &IndexMap<String, Instance>) -> Vec<HostRecord> {
        let record = |(key, instance): (&String, &Instance)| HostRecord {
            key: key.clone(),
            id: instance.id.clone(),
            alias: instance.alias.clone(),
            instance_type: instance.instance_type.clone(),
            public_ip: instance.public_ip.clone(),
            private_ip: instance.private_ip.clone(),
        };
        instances.iter().map(record).collect()
    }
}

/// Something that was made and may still be there, and cost money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Name of the provider instance.
    pub provider: String,
    /// What it is, as Terraform or the sweep names it.
    pub resource: String,
    /// The cloud's id, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.resource, self.provider)?;
        match &self.id {
            Some(id) => write!(f, " ({id})"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("could not read the state of the run")]
    Read(#[source] std::io::Error),
    #[error("{path} is not a run's state; it is left as it is")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("could not write the state of the run")]
    Write(#[source] std::io::Error),
}

impl RunRecord {
    pub fn load(path: &Path) -> Result<RunRecord, RecordError> {
        let text = fs_err::read(path).map_err(RecordError::Read)?;
        serde_json::from_slice(&text)
            .map_err(|source| RecordError::Malformed { path: path.to_owned(), source })
    }

    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        let mut text = serde_json::to_vec_pretty(self).expect("a record is plain data");
        text.push(b'\n');
        write_private(path, &text).map_err(RecordError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_record_is_named_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        fs_err::write(&path, "{\"run_id\":").unwrap();
        let error = RunRecord::load(&path).unwrap_err();
        assert!(error.to_string().contains("run.json"), "{error}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "{\"run_id\":");
    }
}

//! `orchestrator.json`: where the meta stack's orchestrator answers, and what it was made as.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::RunId;
use crate::master::home::write_private;
use crate::owner::OwnerId;
use crate::provider::Arch;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetaRecord {
    /// Absent until the first apply has told.
    #[serde(default)]
    pub url: Option<String>,
    /// SPKI pin of its key.
    pub pin: String,
    /// File with the key of the masters, from the home on.
    pub key_file: PathBuf,
    pub owner: OwnerId,
    /// The backend that made it.
    pub backend: String,
    /// Version of the bench that it runs.
    pub version: String,
    /// Of that program and its machine.
    pub arch: Arch,
    /// Settings that it was made with.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Counts replacements of a machine that was there and did not answer.
    #[serde(default)]
    pub generation: u32,
    #[serde(default)]
    pub instance_id: Option<String>,
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Where it is, e.g. a region.
    #[serde(default)]
    pub region: Option<String>,
    /// Where the machine leaves the log of its boot.
    #[serde(default)]
    pub boot_log: Option<String>,
    /// What the machine costs, USD an hour, where the catalog knows.
    #[serde(default)]
    pub price_usd_per_h: Option<f64>,
    /// It ends itself after so long without a run.
    #[serde(default)]
    pub idle_minutes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum MetaRecordError {
    #[error("could not read where the orchestrator is")]
    Read(#[source] std::io::Error),
    #[error(
        "{} does not say where an orchestrator is; it is left as it is. Restore it, or remove what was made with \
         `bench nuke` and then the file",
        .path.display()
    )]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("could not write where the orchestrator is")]
    Write(#[source] std::io::Error),
}

impl MetaRecord {
    /// What its resources carry in the place of a run's id.
    pub fn run_id(&self) -> RunId {
        format!("meta-{}", self.owner).parse().expect("every owner makes a run id behind `meta-`")
    }

    /// `None` where no stack was made yet.
    pub fn load(path: &Path) -> Result<Option<MetaRecord>, MetaRecordError> {
        let text = match fs_err::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(MetaRecordError::Read(error)),
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|source| MetaRecordError::Malformed { path: path.to_owned(), source })
    }

    pub fn save(&self, path: &Path) -> Result<(), MetaRecordError> {
        let mut text = serde_json::to_vec_pretty(self).expect("a record is plain data");
        text.push(b'\n');
        write_private(path, &text).map_err(MetaRecordError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_record_is_named_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orchestrator.json");
        assert!(MetaRecord::load(&path).unwrap().is_none());
        fs_err::write(&path, "{\"url\":").unwrap();
        let error = MetaRecord::load(&path).unwrap_err();
        assert!(error.to_string().contains("orchestrator.json"), "{error}");
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "{\"url\":");
    }
}

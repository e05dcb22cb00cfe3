//! What rendering works from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;

use crate::api::RunId;
use crate::client::Secret;
use crate::config::RunnerSource;
use crate::plan::PlannedProvider;
use crate::provider::{Arch, Manifest};

use super::{Module, Templates};

/// Everything about one provider instance of one run.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub run: &'a RunFacts,
    pub provider: &'a PlannedProvider,
    pub manifest: &'a Manifest,
    pub runner: &'a Runner,
    pub module: &'a Module,
    /// Files of the module beside its `.tf` files and the manifest, to be copied as they are.
    pub extra: &'a [(String, Vec<u8>)],
    pub templates: &'a Templates,
}

/// What holds for the whole run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    pub run_id: RunId,
    /// Who the resources belong to.
    pub owner: String,
    pub ruby_version: Option<String>,
    pub mock: bool,
    pub debug: bool,
    /// Longest life of a host, minutes.
    pub ttl_minutes: u32,
    /// Deadline of everything, seconds since 1970.
    pub expires_at: i64,
    /// The only key that hosts are given.
    pub run_key: Secret,
    /// Absolute path of the state that says where the orchestrator is.
    pub meta_state_path: PathBuf,
    /// Further tags of every resource.
    pub tags: BTreeMap<String, String>,
}

/// How hosts get their task runner.
#[derive(Debug, Clone, PartialEq)]
pub enum Runner {
    Image { image: String },
    Build { repo: String, reference: String, binaries: IndexMap<Arch, BinaryFile> },
    Binary { binaries: IndexMap<Arch, BinaryFile> },
}

/// A program to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryFile {
    /// Absolute, or a path that the orchestrator serves.
    pub url: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

impl Runner {
    /// From the config; `binaries` are the programs that hosts can fetch, by architecture. They are what a
    /// `build` copies into its image, too.
    pub fn new(source: &RunnerSource, binaries: IndexMap<Arch, BinaryFile>) -> Runner {
        match source {
            RunnerSource::Image { image } => Runner::Image { image: image.clone() },
            RunnerSource::Build { repo, reference } => {
                Runner::Build { repo: repo.clone(), reference: reference.clone(), binaries }
            }
            RunnerSource::Binary { .. } => Runner::Binary { binaries },
        }
    }

    pub fn mode(&self) -> &'static str {
        match self {
            Runner::Image { .. } => "image",
            Runner::Build { .. } => "build",
            Runner::Binary { .. } => "binary",
        }
    }

    pub(super) fn binaries(&self) -> Option<&IndexMap<Arch, BinaryFile>> {
        match self {
            Runner::Image { .. } => None,
            Runner::Build { binaries, .. } | Runner::Binary { binaries } => Some(binaries),
        }
    }
}

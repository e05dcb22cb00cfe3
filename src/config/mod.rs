//! The run config: one JSON file, checked whole before anything is created.
//!
//! ```text
//!  path ──▶ document (limits, spans, duplicate keys)
//!             ├─▶ schema of RunFile ──▶ mistakes
//!             ├─▶ checks against the registry ──▶ mistakes
//!             └─▶ RunFile (serde) ──▶ RunConfig, what the rest of the program works with
//! ```

mod check;
mod check_providers;
mod file;
mod run_config;
mod workload;

use std::path::Path;
use std::sync::LazyLock;

pub use crate::document::{InvalidDocument as ConfigError, Mistake};
pub use file::{Binary, Limits};
pub use run_config::{InstanceType, ProviderInstance, RunConfig, RunnerSource, TaskRunners};

use crate::document::{Document, Schema};
use crate::provider::Registry;
use file::{InstanceEntry, RunFile};

/// Where the examples' `$schema` leads, and what CI compares with [`schema`].
pub const SCHEMA_FILE: &str = "config/run.schema.json";

/// The JSON Schema of the run config (draft 2020-12), generated from the types.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of_open::<RunFile, Vec<InstanceEntry>>);
    &SCHEMA
}

/// Reads and checks a config against the backends of `registry`. The error holds every mistake of the file.
pub fn load(path: &Path, registry: &Registry) -> Result<RunConfig, ConfigError> {
    from_document(&Document::read(path)?, registry)
}

/// As [`load`], from text that is already there; `file` is what messages call it.
pub fn parse(file: &str, text: &str, registry: &Registry) -> Result<RunConfig, ConfigError> {
    from_document(&Document::parse(file, text)?, registry)
}

fn from_document(document: &Document, registry: &Registry) -> Result<RunConfig, ConfigError> {
    check::check(document, registry)?;
    Ok(run_config::convert(document, registry))
}

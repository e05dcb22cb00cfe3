//! Whether a provider backend's folder keeps the contract: every check with its name and what it found. Data
//! driven: nothing here knows a cloud.
//!
//! ```text
//!  Backend ──▶ module (variables, outputs, tags, remote state, pins)   PURE
//!          ──▶ data (credentials, catalog, sweep manifest, error classes)
//!          ──▶ user_data (renders in every mode, fits, is a script)
//!          ──▶ terraform (fmt, validate, test with mocked providers)    EFFECT
//! ```

mod data;
mod module;
mod scaffold;
mod terraform;
mod user_data;

pub use scaffold::{ScaffoldError, scaffold};

use serde::Serialize;

use crate::provider::{Backend, Driver, Role};
use crate::terraform::Source;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
    /// What was found: the mistakes, why it was skipped, or what speaks for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It could not be looked at here; the findings say why.
    Skipped,
}

impl Check {
    fn passed(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Passed, findings: vec![found.into()] }
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Skipped, findings: vec![why.into()] }
    }

    fn failed(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Failed, findings: vec![why.into()] }
    }

    /// Failed where there are mistakes, else passed.
    fn of(name: &'static str, mistakes: Vec<String>) -> Check {
        let outcome = if mistakes.is_empty() { Outcome::Passed } else { Outcome::Failed };
        Check { name, outcome, findings: mistakes }
    }
}

/// Looks at everything. The manifest itself was checked when the registry was loaded.
pub async fn check(backend: &Backend) -> Vec<Check> {
    let mut checks = vec![Check::passed("manifest", "fits its schema")];
    checks.extend(data::checks(backend));
    if backend.manifest.driver == Driver::Local {
        return checks;
    }
    match Source::load(&backend.folder) {
        Ok(source) if backend.manifest.role == Role::Orchestrator => {
            checks.push(Check::of("module", Vec::new()));
            checks.extend(module::stack_checks(&backend.manifest, &source.module));
            checks.extend(terraform::checks(backend).await);
        }
        Ok(source) => {
            checks.push(Check::of("module", Vec::new()));
            checks.extend(module::checks(&backend.manifest, &source.module));
            checks.extend(user_data::checks(backend, &source));
            checks.extend(terraform::checks(backend).await);
        }
        Err(error) => checks.push(Check::failed("module", error.to_string())),
    }
    checks
}

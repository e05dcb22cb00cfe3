//! Whether a provider backend's folder keeps the contract: every check with its name and what it found. Data
//! driven: nothing here knows a cloud.
//!
//! ```text
//!  Backend ──▶ module (variables, outputs, tags, remote state, pins)   PURE
//!          ──▶ data (credentials, catalog, sweep manifest, error classes)
//!          ──▶ user_data (renders in every mode, fits, is a script)
//!          ──▶ terraform (validate, test with mocked providers)         EFFECT
//! ```

mod data;
mod module;
mod own_tests;
mod scaffold;
mod terraform;
mod user_data;

pub use scaffold::{ScaffoldError, scaffold};

use serde::Serialize;

use crate::provider::{Backend, Driver, Role};
use crate::terraform::Source;
use crate::words::count;

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
    /// Nothing of that kind is asked of such a backend; the findings say why.
    NotApplicable,
}

impl Check {
    fn passed(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Passed, findings: vec![found.into()] }
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Skipped, findings: vec![why.into()] }
    }

    fn not_applicable(name: &'static str, why: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::NotApplicable, findings: vec![why.into()] }
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

const MODULE: &str = "module";

/// Looks at everything; what is not looked at is named with its reason. The manifest itself was checked when the
/// registry was loaded.
pub async fn check(backend: &Backend) -> Vec<Check> {
    let mut checks = vec![Check::passed("manifest", "fits its schema")];
    checks.extend(data::checks(backend));
    if backend.manifest.driver == Driver::Local {
        let why = "the host is this machine: there is no Terraform module";
        let names = [MODULE].into_iter().chain(module_checks());
        checks.extend(names.map(|name| Check::not_applicable(name, why)));
        return checks;
    }
    let source = match Source::load(&backend.folder) {
        Ok(source) => source,
        Err(error) => {
            checks.push(Check::failed(MODULE, crate::cause_chain(&error)));
            checks.extend(module_checks().map(|name| Check::skipped(name, "the module cannot be read")));
            return checks;
        }
    };
    let resources = count(source.module.resources().count(), "resource");
    checks.push(Check::passed(MODULE, resources));
    match backend.manifest.role {
        Role::Orchestrator => {
            checks.extend(module::stack_checks(&backend.manifest, &source.module));
            let why = "its own module writes it: that it renders and fits is for its *.tftest.hcl to check";
            checks.extend(user_data::NAMES.map(|name| Check::not_applicable(name, why)));
        }
        Role::TaskRunners => {
            checks.extend(module::checks(&backend.manifest, &source.module));
            checks.extend(user_data::checks(backend, &source));
        }
    }
    checks.extend(terraform::checks(backend, &source.module).await);
    checks
}

/// Names of all checks that need the module.
fn module_checks() -> impl Iterator<Item = &'static str> {
    module::NAMES.into_iter().chain(user_data::NAMES).chain(terraform::NAMES)
}

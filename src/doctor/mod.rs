//! What is there and what is missing on this machine, each finding with its fix. Changes nothing that stays.

mod clock;
mod home;
mod leaks;
mod noise;
mod tools;

pub use leaks::earlier_runs;

use std::path::Path;

use serde::Serialize;

use crate::provider::Registry;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, e.g. `home folder`.
    pub name: String,
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// Not needed by every run, or bad for measurements.
    Warning,
    /// Nothing can be run.
    Failed,
}

/// Looks at everything: the home, the clock, what disturbs measurements, and each backend's tools and
/// credentials.
pub fn examine(home: &Path, registry: &Registry) -> Vec<Check> {
    let mut checks = vec![home::writable(home), clock::synchronised()];
    checks.extend(noise::checks(Path::new("/")));
    checks.extend(tools::checks(registry));
    checks
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Check {
        Check { name: name.into(), state: State::Ok, found: found.into(), fix: None }
    }

    fn warning(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name: name.into(), state: State::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    fn failed(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name: name.into(), state: State::Failed, found: found.into(), fix: Some(fix.into()) }
    }
}

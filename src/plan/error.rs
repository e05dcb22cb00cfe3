//! What keeps a config without mistakes from becoming a plan.

use std::fmt;

use serde::Serialize;

use crate::config::Located;
use crate::document::MAX_MISTAKES;
use crate::provider::Arch;
use crate::words::count;

/// Every problem of a config, found against the backends' facts and the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanError {
    pub problems: Vec<Problem>,
}

impl std::error::Error for PlanError {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().take(MAX_MISTAKES).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(MAX_MISTAKES) {
            0 => Ok(()),
            omitted => write!(f, "\n… and {omitted} more"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    #[error(
        "the {fact} of `{instance_type}` (alias `{alias}` of `{provider}`) is unknown: the config gives no \
         `{key}`, the catalog of the backend `{backend}` does not say it, and there is no live query that could \
         ask the cloud; add one of the three{}",
        .nearest.as_ref().map(|n| format!(", or did you mean `{n}`?")).unwrap_or_default()
    )]
    UnknownFact {
        at: Located,
        provider: String,
        backend: String,
        instance_type: String,
        alias: String,
        /// `vCPU count` or `architecture`.
        fact: &'static str,
        /// The config's key for it.
        key: &'static str,
        nearest: Option<String>,
    },
    #[error(
        "`vcpu` of alias `{alias}` of `{provider}` is {vcpu}, but bench may use {} of this machine",
        count(*online_cpus, "CPU")
    )]
    MoreThanMachine { at: Located, provider: String, alias: String, vcpu: u32, online_cpus: u32 },
    #[error("`arch` of alias `{alias}` of `{provider}` is {arch}, but this machine is {machine}")]
    OtherMachine { at: Located, provider: String, alias: String, arch: Arch, machine: Arch },
    #[error(
        "no task runner program for {arch} (needed by {}): give `task_runners.binaries.{arch}`, or an image",
        .aliases.iter().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(", ")
    )]
    MissingBinary { arch: Arch, aliases: Vec<String> },
    #[error(
        "task runners of `{alias}` work side by side in one folder, and each execution would leave its results \
         in the same `{file}`: put it into the task's own folder, `$BENCH_TASK_DIR/{}`",
        .file.rsplit('/').next().unwrap_or(file)
    )]
    SharedOutput { file: String, alias: String },
    #[error("the run has {}, the orchestrator takes at most {most} in one run", count(*tasks, "task"))]
    TooManyTasks { tasks: u64, most: u64 },
    #[error("the run has {}, the orchestrator takes at most {most} in one run", count(*instance_types, "instance type"))]
    TooManyTypes { instance_types: u64, most: u64 },
    #[error(
        "the price of {} is unknown, and `limits.max_cost_usd` is set: give `price_usd_per_h` in the config, \
         or add it to the backend's catalog",
        .aliases.iter().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(", ")
    )]
    UnknownPrice { aliases: Vec<String> },
    #[error(
        "the plan costs up to {cost_usd:.2} USD ({hourly_usd:.2} USD an hour until hosts end themselves after \
         {}), `limits.max_cost_usd` is {limit_usd:.2}",
        count(*ttl_minutes, "minute")
    )]
    OverLimit { cost_usd: f64, hourly_usd: f64, ttl_minutes: u32, limit_usd: f64 },
}

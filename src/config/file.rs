//! The config as it stands in the file. Descriptions here are the schema's, which editors show.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::{Builtin, OutputFormat};
use crate::provider::Arch;

/// One run: what is measured, how often, and on which instance types. Every key that is not listed here names
/// a provider instance and holds its instance types. Keys that start with `_` or `$` are comments, at every level.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Run config of bench")]
pub(super) struct RunFile {
    /// Version of Ruby. Without `workload`, the run measures ruby-bench under it; with one, it is told to hosts
    /// and recorded.
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+(\.[0-9]+)?([.-][A-Za-z0-9]+)*$"))]
    #[schemars(extend("x-expected" = "a Ruby version such as \"3.4.7\""))]
    pub ruby_version: Option<String>,
    /// Tasks for each instance type, each one execution of the workload. Six give a confidence interval that
    /// is worth reading.
    #[serde(default = "default_runs")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub runs_per_instance_type: u32,
    #[serde(default)]
    pub task_runners: TaskRunnersFile,
    /// What a task executes: a command or a builtin. Default: ruby-bench where `ruby_version` is given, else
    /// the builtin `cpu`.
    pub workload: Option<WorkloadFile>,
    #[serde(default)]
    pub limits: Limits,
    /// Provider instances beside the backends themselves, by name: each names its backend and gives the
    /// backend's settings (`bench provider show BACKEND` lists them). The name `meta` is the orchestrator's
    /// stack, which runs with cloud hosts share.
    #[serde(default)]
    #[schemars(schema_with = "providers_schema")]
    pub providers: BTreeMap<String, Map<String, Value>>,
}

fn default_runs() -> u32 {
    6
}

fn providers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "backend": {
                    "type": "string",
                    "description": "Name of the backend, a folder with a provider.json. May be left out where the \
                                    instance has its backend's name."
                }
            },
            "additionalProperties": true
        }
    })
}

/// Task runners: worker processes or containers on a host, each pinned to a CPU.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRunnersFile {
    /// Most task runners on one host. Default: one a vCPU on clouds, 1 on the local machine.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: Option<u32>,
    /// How the task runner comes to a cloud's host. Default: `image` where an image is given, `build` where a
    /// repo is given, else `binary`. On the local machine the instance type decides.
    pub mode: Option<Mode>,
    /// Container image that holds the task runner.
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Git repository whose Dockerfile makes the image on the host.
    #[schemars(length(min = 1, max = 512))]
    pub repo: Option<String>,
    /// Branch, tag or commit of `repo`. Default: `main`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub reference: Option<String>,
    /// Programs for mode `binary`. Default: the running `bench` for its own architecture.
    #[serde(default)]
    pub binaries: Binaries,
}

/// How the task runner comes to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// `image` is pulled.
    Image,
    /// An image is made on the host from `repo` at `ref`; it copies a prebuilt program and compiles nothing.
    Build,
    /// The program itself is fetched from the orchestrator.
    Binary,
}

/// The task runner's program, by architecture.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Binaries {
    pub arm64: Option<Binary>,
    pub x86_64: Option<Binary>,
}

impl Binaries {
    pub fn by_arch(self) -> BTreeMap<Arch, Binary> {
        let pairs = [(Arch::Arm64, self.arm64), (Arch::X86_64, self.x86_64)];
        pairs.into_iter().filter_map(|(arch, binary)| Some((arch, binary?))).collect()
    }
}

/// A program: exactly one of `path` and `url`, and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// File on the master's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub path: Option<String>,
    /// Address from which the master fetches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"))]
    #[schemars(extend("x-expected" = "a URL that starts with https:// or http://"))]
    pub url: Option<String>,
    /// SHA-256 of the file.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    #[schemars(extend("x-expected" = "64 lower-case hexadecimal digits"))]
    pub sha256: String,
}

/// What a task executes: exactly one of `command` and `builtin`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadFile {
    /// Shown in tables and results. Default: the program's file name, or the builtin's name.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// Program and arguments; no shell is involved, but `$BENCH_TASK_DIR` stands for a folder of the task alone.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Program and arguments run once before the first execution, not measured.
    #[schemars(length(min = 1))]
    pub setup: Option<Vec<String>>,
    /// Environment variables. (A name that starts with `_` would be a comment.)
    pub env: Option<BTreeMap<String, String>>,
    /// Folder in which the command runs. Default: on this machine the one in which `bench run` was called, on
    /// hosts the task runner's.
    #[schemars(length(min = 1))]
    pub working_directory: Option<String>,
    /// Longest wall time of one task, setup included, minutes. Default: 60; 240 for ruby-bench.
    #[schemars(range(max = 10_080), extend("exclusiveMinimum" = 0))]
    pub timeout_minutes: Option<f64>,
    /// Executions before the measured ones, whose times are kept apart. Default: 0.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub warmup: Option<u32>,
    /// Measured executions in one task. Default: 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub repetitions: Option<u32>,
    /// Where the command leaves results of its own.
    pub output: Option<OutputFile>,
    /// A benchmark inside the binary.
    pub builtin: Option<Builtin>,
}

impl WorkloadFile {
    /// Whether it says what to execute, and says it once.
    pub fn is_one(&self) -> bool {
        match &self.command {
            Some(command) => self.builtin.is_none() && !command.is_empty(),
            None => self.builtin.is_some(),
        }
    }
}

/// Results that a command writes by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputFile {
    /// Path relative to the working directory, or in `$BENCH_TASK_DIR`, which task runners that work side by side
    /// need. Default: standard output.
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    pub format: OutputFormat,
    /// For `regex`: a regular expression with a group `value`, and optionally `name` and `unit`.
    #[schemars(length(min = 1))]
    pub pattern: Option<String>,
}

/// Bounds on money, time and patience.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most that the planned hosts may cost until their time to live ends, USD. A plan over it, or with
    /// unknown prices, is refused. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000), extend("exclusiveMinimum" = 0))]
    pub max_cost_usd: Option<f64>,
    /// Time after which every host ends itself, whatever happens, minutes.
    #[schemars(range(min = 5, max = 10_080))]
    pub ttl_minutes: u32,
    /// How often a task may be handed out in all.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
    /// How often a task that failed (as opposed to one whose machine was lost) is tried again. A failing
    /// benchmark is a result: 0.
    #[schemars(range(min = 0, max = 99))]
    pub max_failure_retries: u32,
    /// Life of a lease that is not renewed, seconds: how soon the task of a lost machine is tried again.
    #[schemars(range(min = 1, max = 3_600))]
    pub lease_seconds: u32,
    /// A task that no runner could claim for this long fails, minutes.
    #[schemars(range(min = 1, max = 10_080))]
    pub pending_timeout_minutes: u32,
    /// Longest stay of a new host at one stage of its boot, minutes. Then it is replaced once, and given up
    /// after as long again. An image that hosts build themselves may need more than the default.
    #[schemars(range(max = 1_440), extend("exclusiveMinimum" = 0))]
    pub boot_timeout_minutes: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_cost_usd: None,
            ttl_minutes: 240,
            max_attempts: 4,
            max_failure_retries: 0,
            lease_seconds: 60,
            pending_timeout_minutes: 60,
            boot_timeout_minutes: 15.0,
        }
    }
}

/// One instance type of a provider instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceEntry {
    /// The cloud's own name for it; `process` or `docker` on the local machine.
    #[schemars(length(min = 1, max = 128))]
    pub instance_type: String,
    /// Its short name in results, unique in the config.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,32}$"))]
    #[schemars(extend("x-expected" = "1 to 32 characters from a-z, 0-9 and `-`"))]
    pub alias: String,
    /// Number of virtual CPUs. Default: what the backend knows.
    #[schemars(range(min = 1, max = 1_024))]
    pub vcpu: Option<u32>,
    /// Architecture. Default: what the backend knows.
    pub arch: Option<Arch>,
    /// Spare capacity that the cloud may take back. Default: false.
    #[serde(default)]
    pub spot: bool,
    /// Highest price at which a spot instance is taken, USD an hour.
    #[schemars(range(max = 100_000), extend("exclusiveMinimum" = 0))]
    pub max_price_usd_per_h: Option<f64>,
    /// Its price, USD an hour, for the plan's cost. Default: what the backend knows.
    #[schemars(range(min = 0, max = 100_000))]
    pub price_usd_per_h: Option<f64>,
}

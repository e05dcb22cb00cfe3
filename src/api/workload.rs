//! What a task executes, as it travels from the config through the orchestrator to the runner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Environment variable that names a folder of the task alone, empty at first and removed afterwards. In a
/// command and in the place of its results, `$BENCH_TASK_DIR` stands for it without a shell.
pub const TASK_DIR: &str = "BENCH_TASK_DIR";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    /// Shown in tables and results.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// Wall time of one task, setup included, after which its process group is ended, seconds.
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: u64,
    #[serde(flatten)]
    pub kind: WorkloadKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkloadKind {
    Command(CommandWorkload),
    /// A benchmark inside the binary.
    Builtin {
        builtin: Builtin,
    },
    /// ruby-bench's headline set under the Ruby of this version.
    RubyBench {
        ruby_version: String,
    },
    /// Quick and deterministic: for trying a config and for tests.
    Mock,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CommandWorkload {
    /// Program and arguments; no shell is involved.
    #[schema(min_items = 1)]
    pub command: Vec<String>,
    /// Run once before the first execution, not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Vec<String>>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Measured executions in one task, at least 1.
    #[schema(minimum = 1)]
    pub repetitions: u32,
    /// Executions before them whose times are kept apart.
    #[serde(default)]
    pub warmup: u32,
    /// Where the workload leaves results of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSource>,
}

/// A file that the workload writes, or its standard output, read after each execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputSource {
    /// Path relative to the working directory; absent: standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    pub format: OutputFormat,
    /// For `regex`: a pattern with a group `value`, and optionally `name` and `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Bencher Metric Format: <https://bencher.dev/docs/reference/bencher-metric-format/>
    Bmf,
    /// What `hyperfine --export-json` writes.
    Hyperfine,
    /// ruby-bench's JSON.
    RubyBenchJson,
    /// ruby-bench's CSV.
    RubyBenchCsv,
    Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// CPU and memory kernels.
    Cpu,
}

//! `output.json` of a task: what was measured, raw. Nothing here is rounded, averaged or left out.

use serde::{Deserialize, Serialize};

/// Version of the layout of `output.json` and `metadata.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// `output.txt` of a task is never longer, bytes: a runner cuts there, and whoever unpacks may count on it.
pub const MOST_TEXT_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOutput {
    pub schema: u32,
    pub workload: String,
    /// What the workload itself measured, and for a command the figures of its executions.
    pub benchmarks: Vec<Benchmark>,
    /// Every execution of a process, in order, the setup and warm-up included.
    pub executions: Vec<Execution>,
}

/// One series of measurements under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    pub name: String,
    /// `ns`, `bytes`, `bytes/s`, `1/s`, …; times are nanoseconds wherever the source allows it.
    pub unit: String,
    pub better: Better,
    /// Samples before the machine was warm, in order; not part of any statistic.
    #[serde(default, with = "super::samples")]
    pub warmup: Vec<f64>,
    /// Every measured sample, in order. What is not finite is the text `NaN`, `inf` or `-inf` in JSON.
    #[serde(with = "super::samples")]
    pub samples: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Setup,
    Warmup,
    Measure,
}

/// One process run to its end under the launcher (`wait4`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    pub phase: Phase,
    /// From 0 within its phase.
    pub index: u32,
    pub started_at: jiff::Timestamp,
    /// By the monotonic clock, around fork and wait.
    pub wall_ns: u64,
    /// User time of the process and the children it waited for; the kernel counts microseconds.
    pub user_ns: u64,
    pub system_ns: u64,
    /// How long its processes could have run but had to wait for a CPU (`run_delay` of `/proc/*/schedstat`): of
    /// the first process to its end, of the others as they were seen once a second. Absent where the kernel
    /// does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_wait_ns: Option<u64>,
    /// Peak resident memory of the largest process of the tree, bytes.
    pub max_rss_bytes: u64,
    /// Exit status; absent when a signal ended it.
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    pub stdout: CapturedText,
    pub stderr: CapturedText,
}

/// How much of a stream `output.txt` holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedText {
    pub total_bytes: u64,
    pub kept_bytes: u64,
}

//! `metadata.json` of a task: what the machine was, and what went on on it before, during and after.
//! Whatever the machine does not tell is absent, never guessed.

use serde::{Deserialize, Serialize};

use super::{Alias, RunId, TaskId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMetadata {
    pub schema: u32,
    pub bench_version: String,
    pub run_id: RunId,
    pub task_id: TaskId,
    pub attempt: u32,
    pub provider: String,
    pub instance_type: String,
    pub alias: Alias,
    pub number: u32,
    pub runner_id: String,
    pub host: String,
    pub started_at: jiff::Timestamp,
    pub finished_at: jiff::Timestamp,
    pub pinning: Pinning,
    pub machine: Machine,
    pub conditions: Conditions,
}

/// Where the workload was allowed to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pinning {
    /// Logical CPU of the workload; absent when it was not pinned.
    pub cpu: Option<u32>,
    /// Logical CPU of the heartbeats and the sampler; absent when they share the workload's.
    pub beat_cpu: Option<u32>,
    /// Other logical CPUs of the same physical core.
    pub siblings: Vec<u32>,
    /// Those of them that were given to other runners of this host: their workloads share the core.
    pub busy_siblings: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub hostname: String,
    pub architecture: String,
    pub cpu_model: Option<String>,
    pub sockets: Option<u32>,
    /// Physical cores online.
    pub cores: Option<u32>,
    /// Logical CPUs online.
    pub threads: u32,
    pub numa_nodes: Option<u32>,
    pub caches: Vec<Cache>,
    pub governor: Option<String>,
    pub frequency_min_khz: Option<u64>,
    pub frequency_max_khz: Option<u64>,
    pub turbo: Option<bool>,
    pub kernel: String,
    pub os: Option<String>,
    /// `none`, `kvm`, `xen`, `docker`, …
    pub virtualisation: Option<String>,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub level: u32,
    /// `data`, `instruction` or `unified`.
    pub kind: String,
    pub size_bytes: u64,
    /// Logical CPUs that share one instance of it.
    pub shared_by: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    pub before: Snapshot,
    /// Taken at an interval while the workload ran, bounded in number: the interval doubles when full.
    pub during: Vec<Snapshot>,
    pub after: Snapshot,
    pub noise: NoiseFigures,
}

/// One look at the counters of the machine. Ticks are of `/proc/stat` (`man 5 proc_stat`), times since boot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub at: Option<jiff::Timestamp>,
    pub load_1m: Option<f64>,
    pub load_5m: Option<f64>,
    /// Runnable processes.
    pub running: Option<u32>,
    /// Of the workload's CPU where it is pinned, else of all.
    pub cpu_total_ticks: Option<u64>,
    pub cpu_idle_ticks: Option<u64>,
    pub cpu_steal_ticks: Option<u64>,
    pub frequency_khz: Option<u64>,
    /// Events of thermal throttling counted by the core (`thermal_throttle/core_throttle_count`).
    pub throttle_count: Option<u64>,
    pub memory_available_bytes: Option<u64>,
    pub pressure_cpu: Option<Pressure>,
    pub pressure_memory: Option<Pressure>,
    pub pressure_io: Option<Pressure>,
}

/// The `some` line of `/proc/pressure/*`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Share of the last 10 s in which something waited, percent.
    pub avg10: f64,
    /// Microseconds of waiting since boot.
    pub total_us: u64,
}

/// What the difference of the snapshots says about trust.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseFigures {
    /// Time the hypervisor gave to others while this CPU wanted to run, percent of all time.
    pub steal_percent: Option<f64>,
    /// Share of its executions' wall time in which the workload itself could have run but others had its CPU,
    /// percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_wait_percent: Option<f64>,
    /// Share of the task's time in which some process of the machine waited for a CPU, percent.
    pub pressure_cpu_percent: Option<f64>,
    pub pressure_memory_percent: Option<f64>,
    pub pressure_io_percent: Option<f64>,
    /// Thermal throttling events during the task.
    pub throttle_events: Option<u64>,
    /// Lowest and highest frequency seen.
    pub frequency_min_khz: Option<u64>,
    pub frequency_max_khz: Option<u64>,
    /// Highest one-minute load per logical CPU just before the task.
    pub load_before_per_cpu: Option<f64>,
}

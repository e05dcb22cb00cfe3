//! From where on a figure is a reason for doubt, and why there.

use super::warnings::WarningKind;
use crate::api::NoiseFigures;

/// Stolen time lengthens a time by about its own share: at 1 % it is as large as the differences that people
/// compare instance types for.
pub const STEAL_PERCENT_MAX: f64 = 1.0;
/// Share of the executions in which the workload waited for its CPU: times are longer by as much.
pub const CPU_WAIT_PERCENT_MAX: f64 = 2.0;
/// Where the kernel does not tell that: share of the task in which some process of the machine (or container)
/// waited for a CPU. A little of it need not concern the workload; at 5 % it may.
pub const PRESSURE_CPU_PERCENT_MAX: f64 = 5.0;
/// Waiting for memory to be reclaimed is never normal for a benchmark; 1 % leaves room for start-up.
pub const PRESSURE_MEMORY_PERCENT_MAX: f64 = 1.0;
/// Runnable processes per logical CPU before the task. The run's own earlier tasks keep it at up to 1; above
/// that somebody else was there.
pub const LOAD_BEFORE_PER_CPU_MAX: f64 = 1.25;
/// Lowest against highest frequency seen. Some steps are normal with turbo; a tenth moves times by a tenth.
pub const FREQUENCY_CHANGE_PERCENT_MAX: f64 = 10.0;
/// Between tasks. Above it even ten tasks leave an interval of more than ± 3 % (t(9) · 5 % / √10 = 3.6 %).
pub const CV_BETWEEN_PERCENT_MAX: f64 = 5.0;
/// Within a task. A quiet machine stays below 2 %; above 10 % something interfered with single iterations.
pub const CV_WITHIN_PERCENT_MAX: f64 = 10.0;
/// With two tasks t(1) = 12.7: the interval exists, but is too wide to say anything.
pub const TASKS_MIN: u64 = 3;

/// A figure of a task's conditions with the limit above which it is a warning.
pub(super) struct Limit {
    pub(super) kind: WarningKind,
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) max: f64,
    pub(super) read: fn(&NoiseFigures) -> Option<f64>,
}

pub(super) const LIMITS: &[Limit] = &[
    Limit {
        kind: WarningKind::Steal,
        what: "the hypervisor gave CPU time to others (steal)",
        unit: " %",
        max: STEAL_PERCENT_MAX,
        read: |noise| noise.steal_percent,
    },
    Limit {
        kind: WarningKind::CpuPressure,
        what: "the workload waited for its CPU while others had it",
        unit: " % of the time",
        max: CPU_WAIT_PERCENT_MAX,
        read: |noise| noise.cpu_wait_percent,
    },
    Limit {
        kind: WarningKind::CpuPressure,
        what: "processes of the machine waited for a CPU",
        unit: " % of the time",
        max: PRESSURE_CPU_PERCENT_MAX,
        read: |noise| noise.pressure_cpu_percent.filter(|_| noise.cpu_wait_percent.is_none()),
    },
    Limit {
        kind: WarningKind::MemoryPressure,
        what: "processes waited for memory",
        unit: " % of the time",
        max: PRESSURE_MEMORY_PERCENT_MAX,
        read: |noise| noise.pressure_memory_percent,
    },
    Limit {
        kind: WarningKind::LoadBefore,
        what: "the machine was busy before the task (load per logical CPU)",
        unit: "",
        max: LOAD_BEFORE_PER_CPU_MAX,
        read: |noise| noise.load_before_per_cpu,
    },
    Limit {
        kind: WarningKind::ThermalThrottling,
        what: "the CPU throttled itself for heat",
        unit: " times",
        max: 0.0,
        read: |noise| noise.throttle_events.map(|events| events as f64),
    },
    Limit {
        kind: WarningKind::FrequencyChange,
        what: "the CPU's frequency changed",
        unit: " %",
        max: FREQUENCY_CHANGE_PERCENT_MAX,
        read: frequency_change_percent,
    },
];

fn frequency_change_percent(noise: &NoiseFigures) -> Option<f64> {
    let (low, high) = (noise.frequency_min_khz? as f64, noise.frequency_max_khz? as f64);
    (high > 0.0).then(|| 100.0 * (high - low) / high)
}

//! Why not to trust a figure. Each warning says what was seen, in how many tasks, and the limit it passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::TaskResult;
use super::limits::{CV_BETWEEN_PERCENT_MAX, CV_WITHIN_PERCENT_MAX, LIMITS, Limit, TASKS_MIN};
use super::summary::Summary;
use crate::api::{Alias, TaskMetadata, TaskState};
use crate::runner::kernels;
use crate::words::count;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// Tasks failed, were lost or cancelled: the rest may be a selection.
    TasksMissing,
    /// Results that are there, or were, but cannot be taken in.
    Unreadable,
    TooFewTasks,
    Steal,
    CpuPressure,
    MemoryPressure,
    LoadBefore,
    ThermalThrottling,
    FrequencyChange,
    SharedCore,
    NotPinned,
    VariationBetweenTasks,
    VariationWithinTasks,
    /// Samples that are no finite numbers.
    NotFinite,
    /// A memory benchmark's data fit a cache of this machine.
    FitsInCache,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    pub kind: WarningKind,
    pub alias: Alias,
    /// Absent where it concerns all benchmarks of the alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<String>,
    /// Numbers of the tasks concerned; empty where it is about the tasks together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<u32>,
    /// A sentence for people.
    pub message: String,
}

/// Warnings about machines and tasks by alias, then those about single rows.
pub fn find(tasks: &[TaskResult], summary: &[Summary]) -> Vec<Warning> {
    let mut by_alias: BTreeMap<&Alias, Vec<&TaskResult>> = BTreeMap::new();
    for task in tasks {
        by_alias.entry(&task.alias).or_default().push(task);
    }
    let of_aliases = by_alias.iter().flat_map(|(alias, tasks)| of_alias(alias, tasks));
    let of_rows = summary.iter().flat_map(|row| {
        let tasks = by_alias.get(&row.alias).map_or(&[][..], Vec::as_slice);
        of_row(row).into_iter().chain(fits_in_cache(row, tasks))
    });
    of_aliases.chain(of_rows).collect()
}

/// Notes at each row the kinds of warnings that concern it.
pub fn attach(warnings: &[Warning], summary: &mut [Summary]) {
    let mut by_alias: BTreeMap<&Alias, Vec<&Warning>> = BTreeMap::new();
    for warning in warnings {
        by_alias.entry(&warning.alias).or_default().push(warning);
    }
    for row in summary {
        let of_alias = by_alias.get(&row.alias).map_or(&[][..], Vec::as_slice);
        let concerns = |warning: &&&Warning| warning.benchmark.as_ref().is_none_or(|b| *b == row.benchmark);
        row.warnings = of_alias.iter().filter(concerns).map(|warning| warning.kind).collect();
        row.warnings.sort_unstable();
        row.warnings.dedup();
    }
}

fn of_alias(alias: &Alias, tasks: &[&TaskResult]) -> Vec<Warning> {
    let measured: Vec<(u32, &TaskMetadata)> = tasks
        .iter()
        .filter(|task| task.counted_output().is_some())
        .filter_map(|task| Some((task.number, task.metadata.as_ref()?)))
        .collect();
    let mut found: Vec<Warning> = missing(alias, tasks).into_iter().collect();
    found.extend(unreadable(alias, tasks));
    found.extend(LIMITS.iter().filter_map(|limit| above(limit, alias, &measured)));
    found.extend(placement(alias, &measured));
    found
}

fn missing(alias: &Alias, tasks: &[&TaskResult]) -> Option<Warning> {
    let missing: Vec<&&TaskResult> = tasks.iter().filter(|task| task.state != TaskState::Completed).collect();
    let reason = |task: &TaskResult| task.reason.clone().unwrap_or_else(|| state_word(task.state).to_owned());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    missing.iter().for_each(|task| *reasons.entry(reason(task)).or_default() += 1);
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let message = format!(
        "{} of {} did not complete ({})",
        missing.len(),
        count(tasks.len(), "task"),
        reasons.join(", ")
    );
    let numbers = missing.iter().map(|task| task.number).collect();
    (!missing.is_empty()).then(|| warning(WarningKind::TasksMissing, alias, numbers, message))
}

fn unreadable(alias: &Alias, tasks: &[&TaskResult]) -> Option<Warning> {
    let reasons = tasks.iter().filter_map(|task| Some((task.number, task.unreadable.as_ref()?)));
    let (numbers, reasons): (Vec<u32>, Vec<&String>) = reasons.unzip();
    let first = reasons.first()?;
    let message =
        format!("results of {} of {} tasks could not be taken in: {first}", numbers.len(), tasks.len());
    Some(warning(WarningKind::Unreadable, alias, numbers, message))
}

pub(super) fn state_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Claimed => "claimed",
        TaskState::Running => "running",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

fn above(limit: &Limit, alias: &Alias, measured: &[(u32, &TaskMetadata)]) -> Option<Warning> {
    let figures =
        measured.iter().filter_map(|(n, metadata)| Some((*n, (limit.read)(&metadata.conditions.noise)?)));
    let over: Vec<(u32, f64)> = figures.filter(|(_, figure)| *figure > limit.max).collect();
    let worst = over.iter().map(|(_, figure)| *figure).max_by(f64::total_cmp)?;
    let (worst, unit) = (rounded(worst), limit.unit);
    let allowed = if limit.max > 0.0 { format!("; limit {}{unit}", limit.max) } else { String::new() };
    let message = format!(
        "{}: up to {worst}{unit} in {} of {}{allowed}",
        limit.what,
        over.len(),
        count(measured.len(), "task")
    );
    Some(warning(limit.kind, alias, over.iter().map(|(number, _)| *number).collect(), message))
}

/// For sentences: one decimal, none where it is zero.
fn rounded(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn placement(alias: &Alias, measured: &[(u32, &TaskMetadata)]) -> Vec<Warning> {
    let those = |concerned: fn(&TaskMetadata) -> bool| -> Vec<u32> {
        measured.iter().filter(|(_, metadata)| concerned(metadata)).map(|(number, _)| *number).collect()
    };
    let shared = those(|metadata| !metadata.pinning.busy_siblings.is_empty());
    let floating = those(|metadata| metadata.pinning.cpu.is_none());
    let of = count(measured.len(), "task");
    let mut found = Vec::new();
    if !shared.is_empty() {
        let message = format!(
            "{} of {of} shared a physical core with another task: their CPUs were siblings of one core",
            shared.len()
        );
        found.push(warning(WarningKind::SharedCore, alias, shared, message));
    }
    if !floating.is_empty() {
        let message = format!("{} of {of} not pinned to a CPU", floating.len());
        found.push(warning(WarningKind::NotPinned, alias, floating, message));
    }
    found
}

fn of_row(row: &Summary) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut add = |kind: WarningKind, tasks: Vec<u32>, message: String| {
        let benchmark = Some(row.benchmark.clone());
        found.push(Warning { benchmark, ..warning(kind, &row.alias, tasks, message) });
    };
    if row.tasks < TASKS_MIN {
        let follows =
            if row.tasks < 2 { "so there is no interval" } else { "so its interval is too wide to say much" };
        let tasks = count(row.tasks, "task");
        let message = format!("{tasks} measured it, {follows}; {TASKS_MIN} or more make a useful one");
        add(WarningKind::TooFewTasks, vec![], message);
    }
    if let Some(cv) = row.cv_percent.filter(|cv| *cv > CV_BETWEEN_PERCENT_MAX) {
        let message = format!("tasks differ by {} % (CV); limit {CV_BETWEEN_PERCENT_MAX} %", rounded(cv));
        add(WarningKind::VariationBetweenTasks, vec![], message);
    }
    if let Some(cv) = row.within_cv_percent.filter(|cv| *cv > CV_WITHIN_PERCENT_MAX) {
        let message = format!(
            "samples of one task differ by {} % (median CV); limit {CV_WITHIN_PERCENT_MAX} %",
            rounded(cv)
        );
        add(WarningKind::VariationWithinTasks, vec![], message);
    }
    if row.not_finite > 0 {
        let message = format!("{} without a finite value, not counted", count(row.not_finite, "sample"));
        add(WarningKind::NotFinite, vec![], message);
    }
    found
}

/// The builtin memory kernels have a fixed working set; a cache that holds it is measured in its place.
fn fits_in_cache(row: &Summary, tasks: &[&TaskResult]) -> Option<Warning> {
    let kernel =
        kernels::KERNELS.iter().find(|k| k.name == row.benchmark && k.name.starts_with("memory-"))?;
    let builtin =
        |task: &&&TaskResult| task.counted_output().is_some_and(|o| o.workload == kernels::WORKLOAD);
    let largest =
        |metadata: &TaskMetadata| metadata.machine.caches.iter().map(|cache| cache.size_bytes).max();
    let caches = tasks.iter().filter(builtin).filter_map(|task| largest(task.metadata.as_ref()?));
    let cache = caches.max().filter(|cache| *cache >= kernel.working_set_bytes)?;
    let message = format!(
        "the machine reports a cache of {} MiB, which holds this benchmark's {} MiB: it may be what was measured",
        cache >> 20,
        kernel.working_set_bytes >> 20
    );
    let benchmark = Some(row.benchmark.clone());
    Some(Warning { benchmark, ..warning(WarningKind::FitsInCache, &row.alias, vec![], message) })
}

fn warning(kind: WarningKind, alias: &Alias, tasks: Vec<u32>, message: String) -> Warning {
    Warning { kind, alias: alias.clone(), benchmark: None, tasks, message }
}

#[cfg(test)]
mod tests {
    use super::super::{Report, sample};
    use super::*;
    use crate::api::Cache;

    fn kinds(tasks: Vec<TaskResult>) -> Vec<WarningKind> {
        Report::new(sample::facts(&["a"]), tasks).warnings.iter().map(|warning| warning.kind).collect()
    }

    fn quiet() -> Vec<TaskResult> {
        (1..=3).map(|number| sample::task("a", number, &[100.0, 101.0, 100.0])).collect()
    }

    fn with(change: impl Fn(&mut TaskMetadata)) -> Vec<TaskResult> {
        let mut tasks = quiet();
        change(tasks[1].metadata.as_mut().unwrap());
        tasks
    }

    #[test]
    fn a_quiet_run_has_no_warnings() {
        assert_eq!(kinds(quiet()), []);
    }

    #[test]
    fn each_kind_of_noise_is_told() {
        assert_eq!(kinds(with(|m| m.conditions.noise.steal_percent = Some(1.1))), [WarningKind::Steal]);
        assert_eq!(kinds(with(|m| m.conditions.noise.steal_percent = Some(1.0))), []);
        let pressed = with(|m| m.conditions.noise.pressure_cpu_percent = Some(6.0));
        assert_eq!(kinds(pressed), [WarningKind::CpuPressure]);
        let waited = with(|m| m.conditions.noise.cpu_wait_percent = Some(2.5));
        assert_eq!(kinds(waited), [WarningKind::CpuPressure]);
        let others = with(|m| {
            m.conditions.noise.cpu_wait_percent = Some(0.5);
            m.conditions.noise.pressure_cpu_percent = Some(60.0);
        });
        assert_eq!(kinds(others), [], "others waited for other CPUs");
        let loaded = with(|m| m.conditions.noise.load_before_per_cpu = Some(2.0));
        assert_eq!(kinds(loaded), [WarningKind::LoadBefore]);
        let hot = with(|m| m.conditions.noise.throttle_events = Some(1));
        assert_eq!(kinds(hot), [WarningKind::ThermalThrottling]);
        let slowed = with(|m| {
            m.conditions.noise.frequency_min_khz = Some(2_000_000);
            m.conditions.noise.frequency_max_khz = Some(3_000_000);
        });
        assert_eq!(kinds(slowed), [WarningKind::FrequencyChange]);
        assert_eq!(kinds(with(|m| m.pinning.busy_siblings = vec![3])), [WarningKind::SharedCore]);
        assert_eq!(kinds(with(|m| m.pinning.cpu = None)), [WarningKind::NotPinned]);
    }

    #[test]
    fn variation_and_too_few_tasks_are_told() {
        assert_eq!(kinds(quiet()[..2].to_vec()), [WarningKind::TooFewTasks]);
        let mut apart = quiet();
        apart[0] = sample::task("a", 1, &[150.0]);
        assert_eq!(kinds(apart), [WarningKind::VariationBetweenTasks]);
        let unsteady = (1..=3).map(|number| sample::task("a", number, &[100.0, 150.0, 50.0])).collect();
        assert_eq!(kinds(unsteady), [WarningKind::VariationWithinTasks]);
    }

    #[test]
    fn missing_tasks_are_counted_by_reason_and_marked_at_the_row() {
        let mut tasks = quiet();
        tasks.push(sample::failed("a", 4, "timeout"));
        tasks.push(sample::failed("a", 5, "lost"));
        let report = Report::new(sample::facts(&["a"]), tasks);
        assert_eq!(report.warnings[0].message, "2 of 5 tasks did not complete (1 lost, 1 timeout)");
        assert_eq!(report.warnings[0].tasks, [4, 5]);
        assert_eq!(report.summary[0].warnings, [WarningKind::TasksMissing]);
    }

    #[test]
    fn results_that_cannot_be_read_are_told_with_the_reason() {
        let mut tasks = quiet();
        tasks[1].unreadable = Some("it is gone".to_owned());
        let report = Report::new(sample::facts(&["a"]), tasks);
        assert_eq!(report.warnings[0].message, "results of 1 of 3 tasks could not be taken in: it is gone");
        assert_eq!(report.warnings[0].tasks, [2]);
    }

    #[test]
    fn a_cache_that_holds_the_memory_benchmark_is_told() {
        let mut tasks = with(|m| {
            let kind = "unified".to_owned();
            m.machine.caches = vec![Cache { level: 3, kind, size_bytes: 480 << 20, shared_by: 2 }];
        });
        for task in &mut tasks {
            let output = task.output.as_mut().unwrap();
            output.workload = "cpu".to_owned();
            output.benchmarks[0].name = "memory-latency".to_owned();
        }
        assert_eq!(kinds(tasks), [WarningKind::FitsInCache]);
    }
}

//! One row per benchmark and alias, over tasks: each completed task enters with the median of its samples.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::facts::{RunFacts, TaskResult};
use super::stats::{self, Interval};
use super::warnings::WarningKind;
use crate::api::{Alias, Benchmark, Better};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub benchmark: String,
    /// Of all values below. Series of one name in two units are two rows.
    pub unit: String,
    pub better: Better,
    pub alias: Alias,
    /// The tasks' values, by task number: the sample of every statistic below.
    pub values: Vec<TaskValue>,
    /// Number of tasks: n of the statistics.
    pub tasks: u64,
    /// Measured samples of these tasks together.
    pub samples: u64,
    pub median: Option<f64>,
    pub mean: Option<f64>,
    /// Sample standard deviation between tasks; absent for fewer than two.
    pub sd: Option<f64>,
    /// Of the mean between tasks, by Student's t; absent for fewer than two tasks.
    pub ci95: Option<Interval>,
    /// Standard deviation between tasks as a percentage of the mean.
    pub cv_percent: Option<f64>,
    /// Median over the tasks of the coefficient of variation within one, percent.
    pub within_cv_percent: Option<f64>,
    /// Samples that are no finite numbers: kept, but not counted.
    #[serde(default)]
    pub not_finite: u64,
    /// Why not to trust this row; the sentences are in the report's warnings.
    #[serde(default)]
    pub warnings: Vec<WarningKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaskValue {
    pub number: u32,
    /// Median of the task's finite samples.
    pub median: f64,
    pub samples: u64,
}

/// Rows by benchmark and alias: benchmarks as the outputs have them, aliases as the plan has them.
pub fn summarise(run: &RunFacts, tasks: &[TaskResult]) -> Vec<Summary> {
    let mut groups: IndexMap<(&str, &str), IndexMap<&Alias, Group>> = IndexMap::new();
    for (task, benchmark) in in_plan_order(run, tasks).into_iter().flat_map(series) {
        let rows = groups.entry((&benchmark.name, &benchmark.unit)).or_default();
        rows.entry(&task.alias).or_default().add(task.number, benchmark);
    }
    let rows = groups.into_iter().flat_map(|(_, aliases)| aliases);
    rows.filter_map(|(alias, group)| group.summary(alias)).collect()
}

fn series(task: &TaskResult) -> impl Iterator<Item = (&TaskResult, &Benchmark)> {
    let benchmarks = task.counted_output().into_iter().flat_map(|output| &output.benchmarks);
    benchmarks.map(move |benchmark| (task, benchmark))
}

fn in_plan_order<'t>(run: &RunFacts, tasks: &'t [TaskResult]) -> Vec<&'t TaskResult> {
    let places: IndexMap<&Alias, usize> =
        run.plan.iter().enumerate().map(|(place, row)| (&row.alias, place)).collect();
    let mut tasks: Vec<&TaskResult> = tasks.iter().collect();
    let place = |task: &TaskResult| places.get(&task.alias).copied().unwrap_or(usize::MAX);
    tasks.sort_by(|a, b| (place(a), &a.alias, a.number).cmp(&(place(b), &b.alias, b.number)));
    tasks
}

/// What the tasks of one alias measured for one benchmark.
#[derive(Default)]
struct Group<'t> {
    first: Option<&'t Benchmark>,
    values: Vec<TaskValue>,
    within: Vec<f64>,
    not_finite: u64,
}

impl<'t> Group<'t> {
    fn add(&mut self, number: u32, benchmark: &'t Benchmark) {
        self.first.get_or_insert(benchmark);
        let finite: Vec<f64> = benchmark.samples.iter().copied().filter(|v| v.is_finite()).collect();
        self.not_finite += (benchmark.samples.len() - finite.len()) as u64;
        let Some(median) = stats::median(&finite) else { return };
        self.values.push(TaskValue { number, median, samples: finite.len() as u64 });
        self.within.extend(stats::moments(&finite).and_then(|m| stats::variation_percent(&m)));
    }

    fn summary(self, alias: &Alias) -> Option<Summary> {
        let first = self.first?;
        let medians: Vec<f64> = self.values.iter().map(|value| value.median).collect();
        let moments = stats::moments(&medians);
        Some(Summary {
            benchmark: first.name.clone(),
            unit: first.unit.clone(),
            better: first.better,
            alias: alias.clone(),
            tasks: self.values.len() as u64,
            samples: self.values.iter().map(|value| value.samples).sum(),
            values: self.values,
            median: stats::median(&medians),
            mean: moments.map(|m| m.mean),
            sd: moments.and_then(|m| m.sd),
            ci95: moments.and_then(|m| stats::confidence_interval(&m)),
            cv_percent: moments.and_then(|m| stats::variation_percent(&m)),
            within_cv_percent: stats::median(&self.within),
            not_finite: self.not_finite,
            warnings: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::api::TaskState;

    fn one_row(series: &[&[f64]]) -> Summary {
        let tasks =
            series.iter().enumerate().map(|(index, samples)| sample::task("a", index as u32 + 1, samples));
        let mut rows = summarise(&sample::facts(&["a"]), &tasks.collect::<Vec<_>>());
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    #[test]
    fn a_task_counts_once_however_many_samples_it_has() {
        let row = one_row(&[&[10.0; 100], &[20.0, 20.0, 900.0]]);
        assert_eq!((row.tasks, row.samples), (2, 103));
        assert_eq!((row.median, row.mean), (Some(15.0), Some(15.0)));
        assert!((row.sd.unwrap() - 50.0_f64.sqrt()).abs() < 1e-12);
        let interval = row.ci95.unwrap();
        // t(1) = 12.706, times sd / sqrt(2) = 5.
        assert!((interval.high - 15.0 - 63.53).abs() < 0.01, "{interval:?}");
    }

    #[test]
    fn one_task_gives_a_median_and_no_interval() {
        let row = one_row(&[&[1.0, 2.0, 3.0]]);
        assert_eq!((row.median, row.sd, row.ci95, row.cv_percent), (Some(2.0), None, None, None));
        assert_eq!(row.within_cv_percent, Some(50.0));
    }

    #[test]
    fn samples_that_are_no_numbers_are_left_out_and_counted() {
        let row = one_row(&[&[1.0, f64::NAN, 3.0], &[f64::INFINITY]]);
        assert_eq!((row.tasks, row.samples, row.not_finite, row.median), (1, 2, 2, Some(2.0)));
    }

    #[test]
    fn only_completed_tasks_are_counted() {
        let mut failed = sample::task("a", 2, &[1000.0]);
        failed.state = TaskState::Failed;
        let rows = summarise(&sample::facts(&["a"]), &[sample::task("a", 1, &[1.0]), failed]);
        assert_eq!((rows[0].tasks, rows[0].median), (1, Some(1.0)));
    }

    #[test]
    fn aliases_come_in_the_plans_order_and_units_stay_apart() {
        let mut other_unit = sample::task("a", 2, &[5.0]);
        other_unit.output.as_mut().unwrap().benchmarks[0].unit = "bytes".to_owned();
        let tasks = [sample::task("a", 1, &[1.0]), other_unit, sample::task("b", 1, &[2.0])];
        let rows = summarise(&sample::facts(&["b", "a"]), &tasks);
        let found: Vec<_> = rows.iter().map(|row| (row.alias.as_str(), row.unit.as_str())).collect();
        assert_eq!(found, [("b", "ns"), ("a", "ns"), ("a", "bytes")]);
    }
}

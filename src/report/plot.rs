//! Dot plots as inline SVG: a strip per alias with every task's samples, the tasks' medians and the interval of
//! the mean. All strips of a benchmark share one axis.
//!
//! Dots are lines of no length with round ends, whose width does not scale with the drawing: the strip can be
//! stretched to any width and its dots stay round.

use std::fmt::Write;

use super::facts::TaskResult;
use super::stats::Interval;
use super::summary::Summary;

/// Inner size of a strip; stretched to the page's width.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 48.0;
/// Samples drawn a strip. More would hide each other: then every k-th one is drawn.
const DOTS_MAX: usize = 2000;
/// Samples drawn a page, shared out over its strips: a dot takes some 15 bytes.
const DOTS_A_PAGE: usize = 200_000;

/// The range of values that all strips of a benchmark show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Axis {
    /// Of all finite samples and intervals, a twentieth wider; an axis of one value gets some room too.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Axis> {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        let room =
            if low == high { (low.abs() / 20.0).max(f64::MIN_POSITIVE) } else { high / 20.0 - low / 20.0 };
        Some(Axis { low: low - room, high: high + room })
    }

    /// Place of a value between 0 and [`WIDTH`].
    fn x(self, value: f64) -> f64 {
        // Divided before it is subtracted, so that the largest numbers do not overflow.
        let span = self.high / 2.0 - self.low / 2.0;
        if span > 0.0 { WIDTH * ((value / 2.0 - self.low / 2.0) / span) } else { WIDTH / 2.0 }
    }
}

/// The samples of `row`'s alias and benchmark, by task.
pub(super) fn samples_of<'t>(row: &Summary, tasks: &'t [TaskResult]) -> Vec<&'t [f64]> {
    let of_alias = tasks.iter().filter(|task| task.alias == row.alias);
    let benchmarks = of_alias.filter_map(TaskResult::counted_output).flat_map(|output| &output.benchmarks);
    let same = benchmarks.filter(|b| b.name == row.benchmark && b.unit == row.unit);
    same.map(|benchmark| benchmark.samples.as_slice()).collect()
}

/// How many samples a strip may draw on a page of so many strips.
pub(super) fn dots_a_strip(strips: usize) -> usize {
    (DOTS_A_PAGE / strips.max(1)).clamp(1, DOTS_MAX)
}

/// One strip of at most `dots_max` dots, and how many samples each of them stands for (1: all are drawn).
pub(super) fn strip(row: &Summary, series: &[&[f64]], axis: Axis, dots_max: usize) -> (String, usize) {
    let count: usize = series.iter().map(|samples| samples.len()).sum();
    let step = count.div_ceil(dots_max).max(1);
    let mut svg =
        format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">"#);
    for (index, samples) in series.iter().enumerate() {
        let tone = if index % 2 == 0 { "even" } else { "odd" };
        let _ = write!(
            svg,
            r#"<path class="sample {tone}" d="{}"/>"#,
            dots(samples, step, index, series.len(), axis)
        );
    }
    let medians: String = row.values.iter().map(|value| tick(axis.x(value.median))).collect();
    let _ = write!(svg, r#"<path class="median" d="{medians}"/>"#);
    svg.push_str(&row.ci95.map_or(String::new(), |interval| bar(interval, row.mean, axis)));
    svg.push_str("</svg>");
    (svg, step)
}

/// Tasks one above the other in the upper three quarters.
fn dots(samples: &[f64], step: usize, task: usize, tasks: usize, axis: Axis) -> String {
    let y = 4.0 + (HEIGHT * 0.75 - 8.0) * (task as f64 + 0.5) / tasks.max(1) as f64;
    let finite = samples.iter().step_by(step).filter(|value| value.is_finite());
    finite.map(|value| format!("M{:.1} {y:.1}h0", axis.x(*value))).collect()
}

fn tick(x: f64) -> String {
    format!("M{x:.1} 4V{:.1}", HEIGHT * 0.75 - 2.0)
}

/// The interval of the mean, in the lowest quarter, with a mark at the mean.
fn bar(interval: Interval, mean: Option<f64>, axis: Axis) -> String {
    let (low, high, y) = (axis.x(interval.low), axis.x(interval.high), HEIGHT * 0.88);
    let mark = mean.map_or(String::new(), |mean| format!("M{:.1} {:.1}v8", axis.x(mean), y - 4.0));
    format!(r#"<path class="ci" d="M{low:.1} {y:.1}H{high:.1}{mark}"/>"#)
}

#[cfg(test)]
mod tests {
    use super::super::{sample, summary::summarise};
    use super::*;

    #[test]
    fn the_axis_holds_all_finite_values_with_some_room() {
        let axis = Axis::of([10.0, f64::NAN, 20.0].into_iter()).unwrap();
        assert_eq!(axis, Axis { low: 9.5, high: 20.5 });
        assert_eq!(axis.x(15.0), WIDTH / 2.0);
        assert_eq!(Axis::of([f64::NAN].into_iter()), None);
        let constant = Axis::of([0.0, 0.0].into_iter()).unwrap();
        assert!((0.0..=WIDTH).contains(&constant.x(0.0)));
        let widest = Axis::of([-f64::MAX, f64::MAX].into_iter()).unwrap();
        assert!(widest.x(0.0).is_finite() || widest.low.is_infinite());
    }

    #[test]
    fn every_sample_is_a_dot_until_there_are_too_many() {
        let few = sample::task("a", 1, &[1.0, 2.0, 3.0]);
        let many = sample::task("a", 2, &vec![2.0; DOTS_MAX * 2]);
        for (tasks, dots, step) in [(vec![few.clone()], 3, 1), (vec![few, many], DOTS_MAX, 3)] {
            let rows = summarise(&sample::facts(&["a"]), &tasks);
            let series = samples_of(&rows[0], &tasks);
            let (svg, found) = strip(&rows[0], &series, Axis::of([1.0, 3.0].into_iter()).unwrap(), DOTS_MAX);
            assert_eq!(found, step);
            let drawn = svg.matches("h0").count();
            assert!(drawn <= dots && drawn > dots / 2, "{drawn} dots");
        }
    }
}

//! Is one alias really faster than another? Pairs of summary rows, by the ratio of their geometric means.

use serde::{Deserialize, Serialize};

use super::stats::{self, Interval};
use super::summary::Summary;
use crate::api::{Alias, Better};

/// Up to so many aliases every pair is compared (190 pairs a benchmark); beyond, each with the first one, so
/// that the report of a run over hundreds of instance types stays readable.
pub const ALL_PAIRS_MAX: usize = 20;

/// `alias` against `baseline` on one benchmark. Each interval holds with 95 % on its own: among twenty
/// comparisons of equals one is expected to exclude 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub benchmark: String,
    pub unit: String,
    pub alias: Alias,
    pub baseline: Alias,
    /// Geometric mean of the alias's task values over the baseline's. For times, 0.5 is twice as fast.
    pub ratio: f64,
    /// Of the ratio, by Welch's t on logarithms; absent where a side has fewer than two tasks.
    pub ci95: Option<Interval>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval excludes 1, in the alias's favour.
    Better,
    /// The interval excludes 1, in the baseline's favour.
    Worse,
    /// The interval includes 1: these tasks do not show a difference.
    Indistinguishable,
    /// Too few tasks for an interval.
    Unknown,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Indistinguishable => "indistinguishable",
            Verdict::Unknown => "too few tasks",
        }
    }
}

/// Rows of one benchmark stand together in a summary.
pub fn compare(summary: &[Summary]) -> Vec<Comparison> {
    let same = |a: &Summary, b: &Summary| a.benchmark == b.benchmark && a.unit == b.unit;
    summary.chunk_by(same).flat_map(compare_rows).collect()
}

fn compare_rows(rows: &[Summary]) -> Vec<Comparison> {
    let baselines = if rows.len() <= ALL_PAIRS_MAX { rows.len() } else { 1 };
    let pairs = (0..baselines).flat_map(|base| (base + 1..rows.len()).map(move |row| (row, base)));
    pairs.filter_map(|(row, base)| pair(&rows[row], &rows[base])).collect()
}

fn pair(row: &Summary, baseline: &Summary) -> Option<Comparison> {
    let values = |row: &Summary| row.values.iter().map(|value| value.median).collect::<Vec<f64>>();
    let found = stats::ratio(&values(row), &values(baseline))?;
    Some(Comparison {
        benchmark: row.benchmark.clone(),
        unit: row.unit.clone(),
        alias: row.alias.clone(),
        baseline: baseline.alias.clone(),
        ratio: found.ratio,
        ci95: found.interval,
        verdict: verdict(found.ratio, found.interval, row.better),
    })
}

fn verdict(ratio: f64, interval: Option<Interval>, better: Better) -> Verdict {
    match interval {
        None => Verdict::Unknown,
        Some(interval) if interval.contains(1.0) => Verdict::Indistinguishable,
        Some(_) if (ratio < 1.0) == (better == Better::Lower) => Verdict::Better,
        Some(_) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{sample, summary::summarise};
    use super::*;

    fn compared(aliases: &[(&str, &[f64])]) -> Vec<Comparison> {
        let names: Vec<&str> = aliases.iter().map(|(name, _)| *name).collect();
        let tasks: Vec<_> = aliases
            .iter()
            .flat_map(|(name, values)| {
                values.iter().zip(1..).map(|(value, number)| sample::task(name, number, &[*value]))
            })
            .collect();
        compare(&summarise(&sample::facts(&names), &tasks))
    }

    #[test]
    fn clear_differences_are_told_from_noise() {
        let found = compared(&[
            ("a", &[100.0, 101.0, 99.0, 100.5]),
            ("b", &[80.0, 81.0, 79.5, 80.2]),
            ("c", &[95.0, 106.0, 99.0, 102.0]),
        ]);
        let verdicts: Vec<_> =
            found.iter().map(|c| (c.alias.as_str(), c.baseline.as_str(), c.verdict)).collect();
        assert_eq!(
            verdicts,
            [("b", "a", Verdict::Better), ("c", "a", Verdict::Indistinguishable), ("c", "b", Verdict::Worse)]
        );
        assert!((found[0].ratio - 0.8).abs() < 0.01);
    }

    #[test]
    fn with_one_task_nothing_is_claimed() {
        let found = compared(&[("a", &[100.0]), ("b", &[1.0])]);
        assert_eq!((found[0].verdict, found[0].ci95), (Verdict::Unknown, None));
    }

    #[test]
    fn higher_can_be_better() {
        let interval = Some(Interval { low: 1.5, high: 2.5 });
        assert_eq!(verdict(2.0, interval, Better::Higher), Verdict::Better);
        assert_eq!(verdict(2.0, interval, Better::Lower), Verdict::Worse);
    }

    #[test]
    fn many_aliases_are_compared_with_the_first_only() {
        let names: Vec<String> = (0..=ALL_PAIRS_MAX).map(|index| format!("t{index}")).collect();
        let many: Vec<(&str, &[f64])> = names.iter().map(|name| (name.as_str(), &[1.0, 2.0][..])).collect();
        assert_eq!(compared(&many).len(), ALL_PAIRS_MAX);
        assert_eq!(compared(&many[1..]).len(), ALL_PAIRS_MAX * (ALL_PAIRS_MAX - 1) / 2);
    }
}

//! Location, spread and confidence, numerically stable, over finite values. What cannot be computed from the
//! values given, or would overflow, is `None`.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A confidence interval, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Two-sided confidence of every interval here.
pub const CONFIDENCE: f64 = 0.95;

/// Mean and spread of a set of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    pub n: usize,
    pub mean: f64,
    /// Sample standard deviation (divisor n − 1); none for fewer than two values.
    pub sd: Option<f64>,
}

/// The middle value, or the midpoint of the two middle ones. None for an empty set.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    // Neither overflows nor loses the last bit, unlike (a + b) / 2.
    Some(f64::midpoint(lower, upper))
}

/// Two passes: the mean by a compensated sum, then the squares of the distances from it, corrected for the
/// mean's own rounding (T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", 1983).
pub fn moments(values: &[f64]) -> Option<Moments> {
    let n = values.len();
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if n == 0 || !largest.is_finite() {
        return None;
    }
    let scale = power_of_two_near(largest);
    let first = compensated_sum(values.iter().map(|value| value / scale)) / n as f64;
    // The distances from the rounded mean say by how much it was rounded.
    let mean = first + compensated_sum(values.iter().map(|value| value / scale - first)) / n as f64;
    let distances = || values.iter().map(|value| value / scale - mean);
    let sd = (n > 1).then(|| {
        let squares = compensated_sum(distances().map(|d| d * d));
        let rest = compensated_sum(distances());
        ((squares - rest * rest / n as f64).max(0.0) / (n - 1) as f64).sqrt() * scale
    });
    Some(Moments { n, mean: mean * scale, sd: sd.filter(|sd| sd.is_finite()) })
}

/// Division by it is exact and brings every value to at most 2, so that squares neither over- nor underflow.
fn power_of_two_near(largest: f64) -> f64 {
    if largest < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { 2.0_f64.powi(largest.log2().floor() as i32) }
}

/// A. Neumaier's variant of Kahan's sum, 1974.
fn compensated_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

/// Quantile of Student's t for a two-sided interval of [`CONFIDENCE`]; none for no degrees of freedom.
pub fn student_t(degrees_of_freedom: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, degrees_of_freedom).ok()?;
    Some(t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

/// Of the mean, by Student's t: mean ± t(n − 1) · sd / √n. None for fewer than two values.
pub fn confidence_interval(moments: &Moments) -> Option<Interval> {
    let sd = moments.sd?;
    let half = student_t((moments.n - 1) as f64)? * sd / (moments.n as f64).sqrt();
    let interval = Interval { low: moments.mean - half, high: moments.mean + half };
    (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
}

/// Standard deviation as a percentage of the mean; none where the mean is 0 or there is no deviation.
pub fn variation_percent(moments: &Moments) -> Option<f64> {
    let percent = 100.0 * (moments.sd? / moments.mean.abs());
    percent.is_finite().then_some(percent)
}

/// Ratio of two geometric means with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub ratio: f64,
    pub interval: Option<Interval>,
}

/// `values` over `baseline`. On logarithms, where a ratio is a difference and spread is relative; unequal
/// variances by B. L. Welch, "The generalization of Student's problem", 1947, with the degrees of freedom of
/// Satterthwaite. None where some value is not positive; no interval where a side has fewer than two values.
pub fn ratio(values: &[f64], baseline: &[f64]) -> Option<Ratio> {
    let (a, b) = (moments(&logarithms(values)?)?, moments(&logarithms(baseline)?)?);
    let difference = a.mean - b.mean;
    Some(Ratio {
        ratio: difference.exp(),
        interval: welch_half_width(&a, &b).map(|half| around(difference, half)),
    })
    .filter(|ratio| ratio.ratio.is_finite())
}

fn around(difference: f64, half: f64) -> Interval {
    Interval { low: (difference - half).exp(), high: (difference + half).exp() }
}

fn logarithms(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|value| (*value > 0.0 && value.is_finite()).then(|| value.ln())).collect()
}

fn welch_half_width(a: &Moments, b: &Moments) -> Option<f64> {
    let part = |m: &Moments| m.sd.map(|sd| sd * sd / m.n as f64);
    let (part_a, part_b) = (part(a)?, part(b)?);
    let variance = part_a + part_b;
    if variance == 0.0 {
        return Some(0.0);
    }
    let weight = |part: f64, n: usize| (part / variance).powi(2) / (n - 1) as f64;
    let degrees_of_freedom = 1.0 / (weight(part_a, a.n) + weight(part_b, b.n));
    Some(student_t(degrees_of_freedom)? * variance.sqrt())
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;

//! Against exact whole-number arithmetic, published tables and identities.

use proptest::prelude::*;

use super::*;

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

#[test]
fn the_textbook_example() {
    // R: x <- c(2, 4, 4, 4, 5, 5, 7, 9); sd(x) = 2.13809, t.test(x)$conf.int = 3.212515 6.787485
    let m = moments(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
    assert_eq!(m.mean, 5.0);
    assert!(close(m.sd.unwrap(), (32.0_f64 / 7.0).sqrt(), 1e-15));
    let interval = confidence_interval(&m).unwrap();
    assert!(close(interval.low, 3.212_515, 1e-6) && close(interval.high, 6.787_485, 1e-6), "{interval:?}");
}

#[test]
fn student_t_agrees_with_printed_tables() {
    for (freedom, t) in [(1.0, 12.7062), (2.0, 4.3027), (4.0, 2.7764), (10.0, 2.2281), (30.0, 2.0423)] {
        assert!(close(student_t(freedom).unwrap(), t, 1e-4), "{freedom}");
    }
    assert_eq!(student_t(0.0), None);
}

#[test]
fn one_value_has_no_spread_and_no_interval() {
    let m = moments(&[7.5]).unwrap();
    assert_eq!((m.n, m.mean, m.sd), (1, 7.5, None));
    assert_eq!((confidence_interval(&m), variation_percent(&m)), (None, None));
    assert_eq!(ratio(&[2.0], &[1.0]).unwrap().interval, None);
}

#[test]
fn nothing_from_nothing_and_nothing_from_what_is_not_a_number() {
    assert_eq!((median(&[]), moments(&[])), (None, None));
    assert_eq!(moments(&[1.0, f64::INFINITY]), None);
    assert!(ratio(&[0.0, 1.0], &[1.0, 2.0]).is_none());
}

#[test]
fn constant_values_have_an_interval_of_no_width() {
    for value in [0.1, 1e-300, 12_345.678, 1e300] {
        let m = moments(&[value; 7]).unwrap();
        assert_eq!((m.mean, m.sd), (value, Some(0.0)), "{value}");
        assert_eq!(confidence_interval(&m), Some(Interval { low: value, high: value }));
    }
    let same = ratio(&[3.0; 3], &[3.0; 4]).unwrap();
    assert_eq!((same.ratio, same.interval.unwrap().contains(1.0)), (1.0, true));
}

#[test]
fn a_small_spread_on_a_large_offset_is_not_lost() {
    let m = moments(&[1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0]).unwrap();
    assert_eq!((m.mean, m.sd), (1e15 + 2.0, Some(1.0)));
}

#[test]
fn huge_and_tiny_values_do_not_overflow() {
    let huge = moments(&[1e308, 1.2e308, 1.4e308]).unwrap();
    assert!(close(huge.mean, 1.2e308, 1e-14) && close(huge.sd.unwrap(), 2e307, 1e-13), "{huge:?}");
    let tiny = moments(&[1e-308, 3e-308]).unwrap();
    assert!(close(tiny.mean, 2e-308, 1e-14) && tiny.sd.unwrap() > 1e-308, "{tiny:?}");
    assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    assert_eq!(moments(&[0.0, 0.0]).unwrap().sd, Some(0.0));
}

#[test]
fn the_ratio_is_that_of_geometric_means_with_welchs_interval() {
    // Computed apart, with t by numerical integration: 3.27150 degrees of freedom, t = 3.03813.
    let found = ratio(&[11.0, 12.0, 13.0], &[10.0, 10.5, 9.5]).unwrap();
    let expected = (11.0_f64 * 12.0 * 13.0 / (10.0 * 10.5 * 9.5)).cbrt();
    assert!(close(found.ratio, expected, 1e-14));
    let interval = found.interval.unwrap();
    assert!(
        close(interval.low, 1.010_048_656, 1e-8) && close(interval.high, 1.421_435_936, 1e-8),
        "{interval:?}"
    );
    assert!(close(interval.low * interval.high, expected * expected, 1e-12), "symmetric on logarithms");
    let swapped = ratio(&[10.0, 10.5, 9.5], &[11.0, 12.0, 13.0]).unwrap();
    assert!(close(swapped.interval.unwrap().low, 1.0 / interval.high, 1e-12));
}

proptest! {
    /// Whole numbers below 2^20: sums and sums of squares are exact in i128.
    #[test]
    fn moments_agree_with_exact_arithmetic(whole in prop::collection::vec(-1_000_000_i64..1_000_000, 2..200)) {
        let values: Vec<f64> = whole.iter().map(|v| *v as f64).collect();
        let n = whole.len() as i128;
        let sum: i128 = whole.iter().map(|v| i128::from(*v)).sum();
        let squares: i128 = whole.iter().map(|v| i128::from(*v).pow(2)).sum();
        let exact_mean = sum as f64 / n as f64;
        // n Σx² − (Σx)² is a whole number: nothing cancels before the one rounding.
        let exact_variance = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
        let m = moments(&values).unwrap();
        prop_assert!((m.mean - exact_mean).abs() <= 1e-9, "{} {}", m.mean, exact_mean);
        prop_assert!(close(m.sd.unwrap(), exact_variance.sqrt(), 1e-12) || exact_variance == 0.0);
    }

    #[test]
    fn the_median_splits_the_values_in_halves(values in prop::collection::vec(-1e300_f64..1e300, 1..100)) {
        let middle = median(&values).unwrap();
        let half = values.len().div_ceil(2);
        prop_assert!(values.iter().filter(|v| **v <= middle).count() >= half);
        prop_assert!(values.iter().filter(|v| **v >= middle).count() >= half);
    }

    #[test]
    fn order_and_scale_do_not_matter(mut values in prop::collection::vec(0.1_f64..1e6, 2..50), power in -40_i32..40) {
        let before = moments(&values).unwrap();
        let factor = 2.0_f64.powi(power);
        values.reverse();
        let scaled: Vec<f64> = values.iter().map(|v| v * factor).collect();
        let after = moments(&scaled).unwrap();
        prop_assert!(close(after.mean, before.mean * factor, 1e-14));
        prop_assert!((after.sd.unwrap() - before.sd.unwrap() * factor).abs() <= 1e-13 * before.mean * factor);
    }

    #[test]
    fn the_interval_is_around_the_mean(values in prop::collection::vec(1.0_f64..1e9, 2..50)) {
        let m = moments(&values).unwrap();
        let interval = confidence_interval(&m).unwrap();
        prop_assert!(interval.contains(m.mean));
        prop_assert!(variation_percent(&m).unwrap() >= 0.0);
    }
}

//! Values for people: a prefix that keeps the number short, four significant digits. Files keep the raw value.

const TIME_NS: &[(f64, &str)] = &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
const BYTES: &[(f64, &str)] = &[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")];
const BYTES_PER_SECOND: &[(f64, &str)] = &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")];
const PER_SECOND: &[(f64, &str)] = &[(1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")];

/// A factor and the unit it leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    pub divisor: f64,
    pub unit: String,
}

impl Scale {
    /// The scale in which `value`, given in `unit`, is read most easily. Unknown units stay as they are.
    pub fn of(value: f64, unit: &str) -> Scale {
        let steps = match unit {
            "ns" => TIME_NS,
            "bytes" => BYTES,
            "bytes/s" => BYTES_PER_SECOND,
            "1/s" => PER_SECOND,
            _ => return Scale { divisor: 1.0, unit: printable(unit) },
        };
        let fitting = steps.iter().find(|(divisor, _)| value.abs() >= *divisor).or(steps.last());
        let (divisor, unit) = fitting.expect("every list of steps has one");
        Scale { divisor: *divisor, unit: (*unit).to_owned() }
    }

    pub fn number(&self, value: f64) -> String {
        number(value / self.divisor)
    }

    pub fn with_unit(&self, value: f64) -> String {
        format!("{} {}", self.number(value), self.unit).trim_end().to_owned()
    }
}

/// Four significant digits; an exponent where the number would be longer than that is worth.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !size.is_finite() || !(1e-3..1e6).contains(&size) {
        format!("{value:.3e}")
    } else {
        let before_the_point = size.log10().floor() as i32 + 1;
        format!("{value:.*}", usize::try_from(4 - before_the_point).unwrap_or(0))
    }
}

/// Text of strangers for a terminal: without control characters, which could move the cursor or worse.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_a_fitting_prefix() {
        for (value, unit, shown) in [
            (12_345_678.0, "ns", "12.35 ms"),
            (999.0, "ns", "999.0 ns"),
            (0.5, "ns", "0.5000 ns"),
            (3.6e12, "ns", "3600 s"),
            (1_572_864.0, "bytes", "1.500 MiB"),
            (2.5e9, "bytes/s", "2.500 GB/s"),
            (1_234.0, "1/s", "1.234 k/s"),
            (42.0, "frobs", "42.00 frobs"),
            (0.0, "ns", "0 ns"),
            (-2_000.0, "ns", "-2.000 µs"),
            (7.0, "", "7.000"),
        ] {
            assert_eq!(Scale::of(value, unit).with_unit(value), shown);
        }
    }

    #[test]
    fn very_large_and_small_numbers_stay_short() {
        assert_eq!((number(1e300).as_str(), number(1e-9).as_str()), ("1.000e300", "1.000e-9"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}

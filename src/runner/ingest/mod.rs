//! Results that a workload leaves in another tool's format, taken in without rounding: units stay those of
//! the source.

mod bmf;
mod hyperfine;
mod pattern;
mod ruby_bench;

use crate::api::{Benchmark, Better, OutputFormat};

/// Why an output cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("it is not {format}: {detail}")]
    Format { format: &'static str, detail: String },
    #[error("it holds no measurement ({expected})")]
    Empty { expected: &'static str },
    #[error("`pattern` is not a regular expression that can be used here: {0}")]
    Pattern(String),
    #[error("`{text}` in group `value` is not a number")]
    Number { text: String },
}

/// Checks a `pattern` before anything runs.
///
/// # Errors
/// [`IngestError::Pattern`]: absent, not a regular expression, or without a group `value`.
pub fn check_pattern(pattern: Option<&str>) -> Result<(), IngestError> {
    pattern::compile(pattern).map(drop)
}

/// Reads one output. At least one benchmark, each with at least one sample, no two with the same name.
///
/// # Errors
/// What is wrong with the text, or with the pattern.
pub fn ingest(
    format: OutputFormat,
    pattern: Option<&str>,
    bytes: &[u8],
) -> Result<Vec<Benchmark>, IngestError> {
    let (found, expected) = match format {
        OutputFormat::Bmf => (bmf::read(bytes)?, "expected {benchmark: {measure: {\"value\": number}}}"),
        OutputFormat::Hyperfine => (hyperfine::read(bytes)?, "expected `results` with `times`"),
        OutputFormat::RubyBenchJson => (ruby_bench::read_json(bytes)?, "expected `raw_data`"),
        OutputFormat::RubyBenchCsv => (ruby_bench::read_csv(bytes)?, "expected rows below `bench`"),
        OutputFormat::Regex => (pattern::read(pattern, bytes)?, "the pattern matched nothing"),
    };
    let found: Vec<Benchmark> = found.into_iter().filter(|one| !one.samples.is_empty()).collect();
    if found.is_empty() {
        return Err(IngestError::Empty { expected });
    }
    let mut unique = Vec::with_capacity(found.len());
    found.into_iter().for_each(|one| add_unique(&mut unique, one));
    Ok(unique)
}

/// Adds the samples of a later execution to those of the earlier ones.
pub fn merge(into: &mut Vec<Benchmark>, more: Vec<Benchmark>) {
    for one in more {
        match into.iter_mut().find(|known| known.name == one.name && known.unit == one.unit) {
            Some(known) => {
                known.warmup.extend(one.warmup);
                known.samples.extend(one.samples);
            }
            None => add_unique(into, one),
        }
    }
}

/// Keeps names unique: a second `sort` becomes `sort #2`.
fn add_unique(list: &mut Vec<Benchmark>, mut one: Benchmark) {
    let base = one.name.clone();
    let mut number = 2;
    while list.iter().any(|known| known.name == one.name) {
        one.name = format!("{base} #{number}");
        number += 1;
    }
    list.push(one);
}

/// Which direction is better, from the unit: rates are better when higher, all else when lower.
fn better(unit: &str) -> Better {
    const RATES: [&str; 6] = ["/s", "/sec", "/second", "per second", "ps", "1/min"];
    let unit = unit.to_ascii_lowercase();
    // `ps` is the end of `ips`, `ops`, `qps`, `Mbps`; alone it is a picosecond.
    let is_rate = unit != "ps" && RATES.iter().any(|end| unit.ends_with(end));
    if is_rate { Better::Higher } else { Better::Lower }
}

fn series(name: impl Into<String>, unit: &str, samples: Vec<f64>) -> Benchmark {
    Benchmark { name: name.into(), unit: unit.into(), better: better(unit), warmup: Vec::new(), samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_better_when_higher() {
        for unit in ["1/s", "bytes/s", "ops/sec", "ips", "Mbps"] {
            assert_eq!(better(unit), Better::Higher, "{unit}");
        }
        for unit in ["ns", "s", "ps", "bytes", ""] {
            assert_eq!(better(unit), Better::Lower, "{unit}");
        }
    }

    #[test]
    fn samples_of_repetitions_are_appended_and_other_units_kept_apart() {
        let mut all = vec![series("a", "ns", vec![1.0])];
        merge(&mut all, vec![series("a", "ns", vec![2.0]), series("a", "bytes", vec![3.0])]);
        let shown: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.samples.clone())).collect();
        assert_eq!(shown, [("a", vec![1.0, 2.0]), ("a #2", vec![3.0])]);
    }

    #[test]
    fn an_output_without_a_measurement_is_refused() {
        for (format, text) in [
            (OutputFormat::Bmf, "{}"),
            (OutputFormat::Hyperfine, r#"{"results": []}"#),
            (OutputFormat::RubyBenchJson, r#"{"metadata": {}, "raw_data": {"ruby": {}}}"#),
            (OutputFormat::RubyBenchCsv, "ruby,ruby 3.4.7\n\nbench,ruby (ms)\n"),
        ] {
            let error = ingest(format, None, text.as_bytes()).unwrap_err();
            assert!(matches!(error, IngestError::Empty { .. }), "{format:?}: {error}");
        }
    }
}

//! Bencher Metric Format: <https://bencher.dev/docs/reference/bencher-metric-format/>

use serde_json::Value;

use super::{IngestError, series};
use crate::api::{Benchmark, Better};

/// Every measure of every benchmark becomes a series `benchmark/measure` with one sample. `lower_value` and
/// `upper_value` are somebody's statistics, not samples, and are left out.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Benchmark>, IngestError> {
    let failed = |detail: String| IngestError::Format { format: "Bencher Metric Format", detail };
    let root: Value = serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    let benchmarks = root.as_object().ok_or_else(|| failed("the outermost value is not an object".into()))?;
    let mut found = Vec::new();
    for (name, measures) in benchmarks {
        let measures = measures.as_object().ok_or_else(|| failed(format!("`{name}` is not an object")))?;
        for (measure, metric) in measures {
            let value = metric.get("value").and_then(Value::as_f64);
            let value = value.ok_or_else(|| failed(format!("`{name}`.`{measure}` has no number `value`")))?;
            let (unit, direction) = known(measure);
            let mut one = series(format!("{name}/{measure}"), unit, vec![value]);
            one.better = direction;
            found.push(one);
        }
    }
    Ok(found)
}

/// Unit and direction of Bencher's default measures; others carry no unit in this format.
fn known(measure: &str) -> (&'static str, Better) {
    match measure {
        "latency" => ("ns", Better::Lower),
        "throughput" => ("ops/s", Better::Higher),
        "build-time" => ("s", Better::Lower),
        "file-size" => ("bytes", Better::Lower),
        _ => ("", Better::Lower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference_is_read() {
        let text = r#"{
            "benchmark_name": {
                "latency": { "value": 88.0, "lower_value": 87.42, "upper_value": 88.88 },
                "throughput": { "value": 5.55, "lower_value": 3.14, "upper_value": 6.30 }
            },
            "/bin/sh -c ./my_build_script.sh": { "build-time": { "value": 87.0 } },
            "my_binary": { "file-size": { "value": 42.0 } }
        }"#;
        let found = read(text.as_bytes()).unwrap();
        let shown: Vec<_> = found.iter().map(|b| (b.name.as_str(), b.unit.as_str(), b.samples[0])).collect();
        assert_eq!(
            shown,
            [
                ("benchmark_name/latency", "ns", 88.0),
                ("benchmark_name/throughput", "ops/s", 5.55),
                ("/bin/sh -c ./my_build_script.sh/build-time", "s", 87.0),
                ("my_binary/file-size", "bytes", 42.0),
            ]
        );
        assert_eq!(found[1].better, Better::Higher);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(br#"{"a": {"latency": {"lower_value": 1}}}"#).unwrap_err();
        assert!(error.to_string().contains("`a`.`latency` has no number `value`"), "{error}");
        assert!(read(b"[]").is_err() && read(b"{").is_err());
    }
}

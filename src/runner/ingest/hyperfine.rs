//! What `hyperfine --export-json` writes. Times are seconds and stay seconds: nothing is rounded.

use serde::Deserialize;

use super::{IngestError, series};
use crate::api::Benchmark;

#[derive(Deserialize)]
struct Export {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    command: String,
    #[serde(default)]
    times: Option<Vec<f64>>,
    /// Since hyperfine 1.19.
    #[serde(default)]
    memory_usage_byte: Option<Vec<f64>>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Benchmark>, IngestError> {
    let failed = |error: serde_json::Error| IngestError::Format {
        format: "hyperfine's JSON",
        detail: error.to_string(),
    };
    let export: Export = serde_json::from_slice(bytes).map_err(failed)?;
    let mut found = Vec::new();
    for outcome in export.results {
        found.push(series(&outcome.command, "s", outcome.times.unwrap_or_default()));
        let memory = outcome.memory_usage_byte.unwrap_or_default();
        found.push(series(format!("{} (memory)", outcome.command), "bytes", memory));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_export_is_read_with_every_digit() {
        let text = r#"{
          "results": [
            {
              "command": "sleep 0.1",
              "mean": 0.10162843196, "stddev": 0.0004, "median": 0.10163,
              "user": 0.00090, "system": 0.00072,
              "min": 0.10090276996000001, "max": 0.10234,
              "times": [0.10090276996000001, 0.10234],
              "memory_usage_byte": [1880064, 1880065],
              "exit_codes": [0, 0]
            },
            { "command": "sleep 0.1", "mean": 1.0, "times": [1.5], "parameters": {"delay": "0.1"} }
          ]
        }"#;
        let found = super::super::ingest(crate::api::OutputFormat::Hyperfine, None, text.as_bytes()).unwrap();
        let shown: Vec<_> =
            found.iter().map(|b| (b.name.as_str(), b.unit.as_str(), b.samples.clone())).collect();
        assert_eq!(
            shown,
            [
                ("sleep 0.1", "s", vec![0.10090276996000001, 0.10234]),
                ("sleep 0.1 (memory)", "bytes", vec![1_880_064.0, 1_880_065.0]),
                ("sleep 0.1 #2", "s", vec![1.5]),
            ]
        );
    }
}

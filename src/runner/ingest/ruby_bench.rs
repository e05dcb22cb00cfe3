//! The files that ruby-bench's `run_benchmarks.rb` writes: `output_NNN.json` (raw times in seconds) and
//! `output_NNN.csv` (a table of means). <https://github.com/ruby/ruby-bench>

use serde_json::Value;

use super::{IngestError, series};
use crate::api::Benchmark;

/// `{"metadata": {name: text}, "raw_data": {name: {benchmark: {"warmup": [s], "bench": [s], "rss": bytes}}}}`
/// where a name stands for a Ruby executable; older versions have a plain array of seconds a benchmark.
pub(super) fn read_json(bytes: &[u8]) -> Result<Vec<Benchmark>, IngestError> {
    let failed = |detail: String| IngestError::Format { format: "ruby-bench's JSON", detail };
    let root: Value = serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    let rubies = root.get("raw_data").and_then(Value::as_object);
    let rubies = rubies.ok_or_else(|| failed("there is no object `raw_data`".into()))?;
    let mut found = Vec::new();
    for (ruby, benchmarks) in rubies {
        let benchmarks =
            benchmarks.as_object().ok_or_else(|| failed(format!("`{ruby}` is not an object")))?;
        for (benchmark, data) in benchmarks {
            let name = series_name(benchmark, ruby, rubies.len());
            found.extend(read_benchmark(&name, data).map_err(failed)?);
        }
    }
    Ok(found)
}

fn read_benchmark(name: &str, data: &Value) -> Result<Vec<Benchmark>, String> {
    let numbers = |list: Option<&Value>| match list {
        Some(list) => {
            let floats = list.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
            floats.ok_or_else(|| format!("the times of `{name}` are not an array of numbers"))
        }
        None => Ok(Vec::new()),
    };
    if data.is_array() {
        return Ok(vec![series(name, "s", numbers(Some(data))?)]);
    }
    let times = series(name, "s", numbers(data.get("bench"))?);
    let mut found = vec![Benchmark { warmup: numbers(data.get("warmup"))?, ..times }];
    for memory in ["rss", "maxrss"] {
        if let Some(bytes) = data.get(memory).and_then(Value::as_f64) {
            found.push(series(format!("{name} ({memory})"), "bytes", vec![bytes]));
        }
    }
    Ok(found)
}

/// Descriptions of the executables, an empty line, then a table whose first cell is `bench`. Columns are
/// `NAME (ms)`, `stddev (%)`, `RSS (MiB)`, and ratios, of which times and memory are measurements.
pub(super) fn read_csv(bytes: &[u8]) -> Result<Vec<Benchmark>, IngestError> {
    let failed = |detail: String| IngestError::Format { format: "ruby-bench's CSV", detail };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut header: Option<csv::StringRecord> = None;
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| failed(error.to_string()))?;
        match &header {
            None if record.get(0) == Some("bench") => header = Some(record),
            None => {}
            Some(header) => found.extend(read_row(header, &record).map_err(failed)?),
        }
    }
    if header.is_none() { Err(failed("there is no row that starts with `bench`".into())) } else { Ok(found) }
}

fn read_row(header: &csv::StringRecord, row: &csv::StringRecord) -> Result<Vec<Benchmark>, String> {
    let benchmark = row.get(0).unwrap_or_default();
    let rubies = header.iter().filter(|column| column.ends_with(" (ms)")).count();
    let mut found = Vec::new();
    let mut ruby = "";
    for (column, cell) in header.iter().zip(row).skip(1) {
        // Newer versions write the mean together with its deviation: `1234.6 ± 0.5%`.
        let mean = cell.split_once(" ± ").map_or(cell, |(mean, _)| mean);
        let value = || mean.parse::<f64>().map_err(|_e| format!("`{cell}` of `{benchmark}` is not a number"));
        if let Some(name) = column.strip_suffix(" (ms)") {
            ruby = name;
            found.push(series(series_name(benchmark, ruby, rubies), "ms", vec![value()?]));
        } else if column == "RSS (MiB)" {
            let name = format!("{} (rss)", series_name(benchmark, ruby, rubies));
            found.push(series(name, "MiB", vec![value()?]));
        }
    }
    Ok(found)
}

/// With one executable, as `bench` itself starts it, the benchmark's name alone says all.
fn series_name(benchmark: &str, ruby: &str, rubies: usize) -> String {
    if rubies > 1 { format!("{benchmark} ({ruby})") } else { benchmark.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &[Benchmark]) -> Vec<(&str, &str, Vec<f64>)> {
        found.iter().map(|one| (one.name.as_str(), one.unit.as_str(), one.samples.clone())).collect()
    }

    #[test]
    fn raw_times_of_one_ruby_are_read_with_their_warmup() {
        let text = r#"{"metadata":{"ruby":"ruby 3.4.7 (2025-10-08 revision 7a5688e2a2) +PRISM [x86_64-linux]"},
            "raw_data":{"ruby":{"lobsters":{"warmup":[1.25,1.01],"bench":[0.98765432101234,0.99],
            "rss":201326592,"command_line":"setarch x86_64 -R ruby -I harness benchmark.rb"}}}}"#;
        let found = read_json(text.as_bytes()).unwrap();
        assert_eq!(
            shown(&found),
            [
                ("lobsters", "s", vec![0.98765432101234, 0.99]),
                ("lobsters (rss)", "bytes", vec![201_326_592.0])
            ]
        );
        assert_eq!(found[0].warmup, [1.25, 1.01]);
    }

    #[test]
    fn two_rubies_are_kept_apart_and_the_old_layout_is_understood() {
        let text = r#"{"raw_data":{"interp":{"fib":[0.5]},"yjit":{"fib":[0.1]}}}"#;
        let found = read_json(text.as_bytes()).unwrap();
        assert_eq!(shown(&found), [("fib (interp)", "s", vec![0.5]), ("fib (yjit)", "s", vec![0.1])]);
    }

    #[test]
    fn the_table_of_means_is_read_without_its_ratios() {
        let text = "interp,ruby 3.4.7 (2025-10-08)\nyjit,ruby 3.4.7 +YJIT\n\n\
            bench,interp (ms),stddev (%),RSS (MiB),yjit (ms),stddev (%),RSS (MiB),yjit 1st itr,interp/yjit\n\
            railsbench,1234.5678,0.5,120.25,800.1,0.7,130.5,1.1,1.543\n";
        assert_eq!(
            shown(&read_csv(text.as_bytes()).unwrap()),
            [
                ("railsbench (interp)", "ms", vec![1234.5678]),
                ("railsbench (interp) (rss)", "MiB", vec![120.25]),
                ("railsbench (yjit)", "ms", vec![800.1]),
                ("railsbench (yjit) (rss)", "MiB", vec![130.5]),
            ]
        );
    }

    /// As `ResultsTableBuilder` with `--rss --pvalue` and `return_results` lay them out since 2026.
    #[test]
    fn the_newer_layouts_are_read_too() {
        let text = "interp,ruby 3.4.7\nyjit,ruby 3.4.7 +YJIT\n\n\
            bench,interp (ms),RSS (MiB),yjit (ms),RSS (MiB),yjit 1st itr,interp/yjit,p-value,sig,RSS interp/yjit\n\
            fib,98.5 ± 0.4%,14.2,21.1 ± 1.2%,15.0,4.1,4.668 (***),1.2e-09,p < 0.001,0.947\n";
        assert_eq!(
            shown(&read_csv(text.as_bytes()).unwrap()),
            [
                ("fib (interp)", "ms", vec![98.5]),
                ("fib (interp) (rss)", "MiB", vec![14.2]),
                ("fib (yjit)", "ms", vec![21.1]),
                ("fib (yjit) (rss)", "MiB", vec![15.0]),
            ]
        );
        let text = r#"{"metadata":{"ruby":"ruby 3.4.7"},"raw_data":{"ruby":{"fib":{
            "RUBY_DESCRIPTION":"ruby 3.4.7","warmup":[],"bench":[0.1],"rss":14889779,"maxrss":15728640,
            "yjit_stats":{"inline_code_size":1}}}}}"#;
        let found = read_json(text.as_bytes()).unwrap();
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["fib", "fib (rss)", "fib (maxrss)"]);
    }

    #[test]
    fn files_of_another_kind_are_refused_with_the_reason() {
        assert!(read_json(b"{}").unwrap_err().to_string().contains("`raw_data`"));
        assert!(read_csv(b"a,b\n").unwrap_err().to_string().contains("`bench`"));
        assert!(read_json(br#"{"raw_data":{"r":{"fib":{"bench":["x"]}}}}"#).is_err());
    }
}

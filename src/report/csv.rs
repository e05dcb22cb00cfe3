//! `results.csv`: one row a sample, the value with all its digits.

use std::io::{self, Write};

use super::facts::{RunFacts, TaskResult};
use super::warnings::state_word;
use crate::api::Benchmark;

const HEADER: [&str; 12] = [
    "run_id",
    "provider",
    "instance_type",
    "alias",
    "task",
    "attempt",
    "state",
    "benchmark",
    "unit",
    "phase",
    "index",
    "value",
];

/// Every sample of every task, counted or not, in the order of the tasks.
pub fn write(run: &RunFacts, tasks: &[TaskResult], out: impl Write) -> io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(out);
    writer.write_record(HEADER)?;
    for task in tasks {
        for benchmark in task.output.iter().flat_map(|output| &output.benchmarks) {
            write_series(run, task, benchmark, &mut writer)?;
        }
    }
    writer.flush()
}

fn write_series<W: Write>(
    run: &RunFacts,
    task: &TaskResult,
    benchmark: &Benchmark,
    writer: &mut ::csv::Writer<W>,
) -> io::Result<()> {
    let common = [
        run.run_id.to_string(),
        inert(&task.provider),
        inert(&task.instance_type),
        // A run id or alias of digits, letters and dashes may start with a dash.
        inert(task.alias.as_str()),
        task.number.to_string(),
        task.attempt().to_string(),
        state_word(task.state).to_owned(),
        inert(&benchmark.name),
        inert(&benchmark.unit),
    ];
    for (phase, samples) in [("warmup", &benchmark.warmup), ("measure", &benchmark.samples)] {
        for (index, value) in samples.iter().enumerate() {
            let own = [phase.to_owned(), index.to_string(), exact(*value)];
            writer.write_record(common.iter().chain(&own))?;
        }
    }
    Ok(())
}

/// The shortest text that reads back as the same number; with an exponent where it would be very long.
fn exact(value: f64) -> String {
    format!("{value:?}")
}

/// Spreadsheets take cells that start like this for formulas (OWASP, "CSV injection"): an apostrophe before
/// them makes them text.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn rows(run: &RunFacts, tasks: &[TaskResult]) -> Vec<Vec<String>> {
        let mut bytes = Vec::new();
        write(run, tasks, &mut bytes).unwrap();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(bytes.as_slice());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn every_sample_is_a_row_with_all_its_digits() {
        let samples = [0.1 + 0.2, 1e300, 5e-324, 12_345_678.9];
        let found = rows(&sample::facts(&["a"]), &[sample::task("a", 1, &samples)]);
        assert_eq!(found.len(), 1 + 1 + samples.len());
        assert_eq!(found[0], HEADER);
        let read: Vec<f64> = found[2..].iter().map(|row| row[11].parse().unwrap()).collect();
        assert_eq!(read, samples);
        assert_eq!(
            (found[1][9].as_str(), found[2][9].as_str(), found[5][10].as_str()),
            ("warmup", "measure", "3")
        );
    }

    #[test]
    fn no_cell_starts_like_a_formula_and_odd_names_survive() {
        for name in ["=1+1", "+x", "-x", "@x", "\tx", "a,\"b\"\nc"] {
            let task = sample::task_with("-a", 1, vec![sample::series(name, "=u", &[-1.0])]);
            let found = rows(&sample::facts(&["-a"]), &[task]);
            assert!(found[1][7].strip_prefix('\'').unwrap_or(&found[1][7]) == name);
            for cell in &found[2][..11] {
                assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{cell:?}");
            }
            assert_eq!(found[2][11], "-1.0");
        }
    }
}

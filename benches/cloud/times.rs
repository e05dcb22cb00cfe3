//! Times that `bench` itself writes down, and what is made of them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// Lines of a file of JSON lines; none where it is not there yet. A line that is being written is left out.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn at(value: &Value, name: &str) -> Timestamp {
    let text = value[name].as_str().unwrap_or_else(|| panic!("no time `{name}` in {value}"));
    text.parse().expect("a time")
}

pub fn between(start: Timestamp, end: Timestamp) -> f64 {
    end.duration_since(start).as_secs_f64()
}

/// Measurements of one side of a figure, seconds.
#[derive(Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    pub fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64());
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

impl std::fmt::Display for Series {
    /// Median and all of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(|seconds| format!("{seconds:.2}")).collect();
        write!(f, "{:.2} ({})", self.median(), all.join(" "))
    }
}

//! Time to turn the samples of a large run into figures and files: 1,000 tasks of 10 benchmarks with 100
//! samples each. Run with `cargo bench --bench report`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Instant;

use bench::api::{Benchmark, Better, RunStatus, TaskOutput, TaskState};
use bench::report::{self, Report, RunFacts, TaskResult};

const ALIASES: u32 = 10;
const TASKS: u32 = 100;
const BENCHMARKS: u32 = 10;
const SAMPLES: u32 = 100;

/// A spread of some percent, the same at every run.
fn sample(task: u32, benchmark: u32, index: u32) -> f64 {
    let spread = (task * 7919 + benchmark * 104_729 + index * 1_299_709) % 1000;
    1e6 * f64::from(benchmark + 1) * (1.0 + f64::from(spread) / 20_000.0)
}

fn task(alias: u32, number: u32) -> TaskResult {
    let series = |benchmark: u32| Benchmark {
        name: format!("benchmark-{benchmark}"),
        unit: "ns".to_owned(),
        better: Better::Lower,
        warmup: vec![],
        samples: (0..SAMPLES).map(|index| sample(alias * TASKS + number, benchmark, index)).collect(),
    };
    TaskResult {
        task_id: None,
        provider: "local".to_owned(),
        instance_type: "process".to_owned(),
        alias: format!("alias-{alias}").parse().expect("a valid alias"),
        number,
        state: TaskState::Completed,
        reason: None,
        error_message: None,
        attempts: 1,
        metadata: None,
        output: Some(TaskOutput {
            schema: 1,
            workload: "made up".to_owned(),
            benchmarks: (0..BENCHMARKS).map(series).collect(),
            executions: vec![],
        }),
        unreadable: None,
    }
}

fn facts() -> RunFacts {
    RunFacts {
        run_id: "20261120-101500-k3v9".parse().expect("a valid run id"),
        status: RunStatus::Completed,
        workload: "made up".to_owned(),
        seed: 1,
        started_at: jiff::Timestamp::UNIX_EPOCH,
        finished_at: None,
        config_sha256: String::new(),
        bench_version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: vec![],
    }
}

/// Runs it and prints how long it took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<22} {:>8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

fn main() {
    let tasks: Vec<TaskResult> =
        (0..ALIASES).flat_map(|alias| (1..=TASKS).map(move |number| task(alias, number))).collect();
    println!("{} tasks, {} samples", tasks.len(), ALIASES * TASKS * BENCHMARKS * SAMPLES);
    let report = timed("summary", || Report::new(facts(), tasks));
    let text = timed("table", || report::table(&report, 80));
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    timed("all files", || report::write_all(dir.path(), &report)).expect("the files can be written");
    let back = timed("results.json read", || report::load(dir.path())).expect("what was written can be read");
    assert_eq!(report::table(&back, 80), text, "the same figures come out of the file");
}

//! By how much do heartbeats and sampling change what is measured? Runs the `cpu` workload alone, then under
//! `bench run`, then alone again, several times over, on the same CPU, and prints the changes of each
//! kernel's median. Between the two lone runs nothing differs: their difference (A/A) is what the machine's
//! own noise amounts to, and a change below it is none that could be seen.
//!
//! `cargo bench --bench noise` takes some two minutes; `NOISE_ROUNDS` sets the number of rounds (default 5).
//! The leases are short, so that heartbeats come every second instead of every 15.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use bench::api::Benchmark;
use bench::report::{self, stats};
use bench::runner::kernels;
use bench::runner::pin;
use bench::runner::topology;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench");

/// Heartbeats come four times a lease.
const CONFIG: &str = r#"{
  "runs_per_instance_type": 1,
  "task_runners": { "count": 1 },
  "workload": { "builtin": "cpu" },
  "limits": { "lease_seconds": 4 },
  "local": [ { "instance_type": "process", "alias": "noise" } ]
}"#;

/// Median by kernel, nanoseconds.
type Medians = BTreeMap<String, f64>;

fn medians(benchmarks: &[Benchmark]) -> Medians {
    let median = |b: &Benchmark| stats::median(&b.samples).expect("every kernel has samples");
    benchmarks.iter().map(|b| (b.name.clone(), median(b))).collect()
}

/// The kernels in a process of their own, on `cpu`, with nothing beside them.
fn alone(folder: &Path, cpu: u32) -> Medians {
    let results = folder.join("kernels.json");
    let run = || {
        pin::pin_to(&[cpu]).expect("this process may use that CPU");
        Command::new(PROGRAM).arg("kernels").arg("--results").arg(&results).status()
    };
    // A thread of its own: the affinity is the thread's, and its child's.
    let status = std::thread::scope(|scope| scope.spawn(run).join()).expect("the thread does not panic");
    assert!(status.expect("the program can be started").success(), "`bench kernels` failed");
    let text = fs_err::read(&results).expect("the results were written");
    medians(&serde_json::from_slice::<Vec<Benchmark>>(&text).expect("they are a list of series"))
}

/// The same as the one task of a run, with everything that belongs to it. Also its CPU and its looks at the
/// machine meanwhile.
fn under_bench(folder: &Path, round: usize) -> (Medians, u32, usize) {
    let config = folder.join("noise.json");
    fs_err::write(&config, CONFIG).expect("a temporary folder can be written to");
    let run_id = format!("noise-{round}");
    let status = Command::new(PROGRAM)
        .args(["run", "--run-id", &run_id])
        .arg(&config)
        .env("BENCH_HOME", folder.join(".bench"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("the program can be started").success(), "`bench run` failed");
    let report = report::load(&folder.join("results").join(run_id)).expect("the run left its results");
    let task = &report.tasks[0];
    let metadata = task.metadata.as_ref().expect("a completed task has metadata");
    let output = task.output.as_ref().expect("a completed task has an output");
    let cpu = metadata.pinning.cpu.expect("runners of this machine are pinned");
    (medians(&output.benchmarks), cpu, metadata.conditions.during.len())
}

/// Changes of one kernel, percent: one of each kind a round.
#[derive(Default)]
struct Changes {
    nothing: Vec<f64>,
    machinery: Vec<f64>,
}

fn percent(value: f64, baseline: f64) -> f64 {
    100.0 * (value / baseline - 1.0)
}

fn main() {
    let rounds = std::env::var("NOISE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let machine = topology::available().expect("the CPUs of this machine can be listed");
    let mut cpu = topology::choose(&machine, 1)[0];
    let mut changes: BTreeMap<String, Changes> = BTreeMap::new();
    for round in 0..rounds {
        let first = alone(folder.path(), cpu);
        let (with, used, looks) = under_bench(folder.path(), round);
        let second = alone(folder.path(), cpu);
        println!("round {}: CPU {used}, {looks} looks at the machine meanwhile", round + 1);
        if used != cpu {
            println!("  it is not the CPU that was expected ({cpu}): not counted");
            cpu = used;
            continue;
        }
        for (kernel, first) in first {
            let (with, second) = (with[&kernel], second[&kernel]);
            let entry = changes.entry(kernel).or_default();
            entry.nothing.push(percent(second, first));
            // Against the middle of before and after, so that a steady drift cancels out.
            entry.machinery.push(percent(with, f64::midpoint(first, second)));
        }
    }
    print_changes(&changes);
}

fn print_changes(changes: &BTreeMap<String, Changes>) {
    let median = |values: &[f64]| stats::median(values).unwrap_or(f64::NAN);
    println!("\nchange of the median, median of the rounds:");
    println!("{:<18} {:>14} {:>18}", "kernel", "A/A", "under bench run");
    for name in kernels::names() {
        let Some(found) = changes.get(name) else { continue };
        println!("{name:<18} {:>+12.2} % {:>+16.2} %", median(&found.nothing), median(&found.machinery));
    }
    let all =
        |pick: fn(&Changes) -> &[f64]| median(&changes.values().map(|c| median(pick(c))).collect::<Vec<_>>());
    let (nothing, machinery) = (all(|c| &c.nothing), all(|c| &c.machinery));
    println!("{:<18} {nothing:>+12.2} % {machinery:>+16.2} %", "median of kernels");
}

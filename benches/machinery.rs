//! What `bench` itself costs: starting it, and the wall time it adds to a task.
//!
//! `cargo bench --bench machinery` prints every figure as a ratio or a difference measured in this one run.
#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");
const TASKS: u32 = 500;
const RUNNERS: u32 = 2;

fn main() {
    start_up();
    overhead_per_task();
}

/// `bench --help` and `--version` against `terraform version`, alternating, medians.
fn start_up() {
    const ROUNDS: usize = 25;
    println!("## start-up (medians of {ROUNDS}, alternating)");
    let mut times: [Vec<Duration>; 3] = Default::default();
    let terraform = which::which("terraform").ok();
    for _ in 0..ROUNDS {
        times[0].push(time(Command::new(BENCH).arg("--help")));
        times[1].push(time(Command::new(BENCH).arg("--version")));
        if times[0].len() == 1 {
            let rss = getrusage(UsageWho::RUSAGE_CHILDREN).expect("rusage").max_rss();
            println!("resident memory of `bench --help`: {:.1} MB (bar: 12)", rss as f64 / 1024.0);
        }
        if let Some(terraform) = &terraform {
            times[2].push(time(Command::new(terraform).arg("version").env("CHECKPOINT_DISABLE", "1")));
        }
    }
    let [help, version, reference] = times.map(|mut times| median(&mut times));
    println!("bench --help {:.2} ms, bench --version {:.2} ms", ms(help), ms(version));
    match terraform {
        Some(_) => println!(
            "terraform version {:.2} ms; ratios {:.3} and {:.3} (bar: 0.2)",
            ms(reference),
            help.as_secs_f64() / reference.as_secs_f64(),
            version.as_secs_f64() / reference.as_secs_f64()
        ),
        None => println!("terraform is not installed here: no ratio"),
    }
}

/// 500 tasks of `true` on two runners against two loops that run `true` without anything around it.
fn overhead_per_task() {
    const ROUNDS: usize = 5;
    println!(
        "\n## machinery ({TASKS} tasks of `true` on {RUNNERS} runners, medians of {ROUNDS}, alternating)"
    );
    let dir = tempfile::tempdir_in(".").expect("a folder on the disk that is measured");
    let config = dir.path().join("true.json");
    let text = serde_json::json!({
        "runs_per_instance_type": TASKS,
        "task_runners": { "count": RUNNERS },
        "workload": { "name": "true", "command": ["true"] },
        "local": [ { "instance_type": "process", "alias": "here" } ]
    });
    std::fs::write(&config, text.to_string()).expect("a writable folder");
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(commands_alone());
        whole.push(time(Command::new(BENCH).arg("run").arg("true.json").current_dir(dir.path())));
    }
    let (whole, alone) = (median(&mut whole), median(&mut alone));
    let per_task = |time: Duration| ms(time) / f64::from(TASKS);
    println!("a task in a run {:.2} ms, the command alone {:.2} ms", per_task(whole), per_task(alone));
    println!("added to a task: {:.2} ms (bar: 2.8)", per_task(whole) - per_task(alone));
    println!("syncs a second of this disk: {:.0}", syncs_per_second(dir.path()));
}

/// The same number of executions on as many loops side by side.
fn commands_alone() -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS {
            scope.spawn(|| {
                (0..TASKS / RUNNERS).for_each(|_| {
                    let _ = time(&mut Command::new("true"));
                })
            });
        }
    });
    start.elapsed()
}

/// Appends of one line, each followed by `fdatasync`, for a second.
fn syncs_per_second(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("syncs")).expect("a writable folder");
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[b'x'; 64]).and_then(|()| file.sync_data()).expect("a disk");
        count += 1.0;
    }
    count / start.elapsed().as_secs_f64()
}

fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status();
    let elapsed = start.elapsed();
    assert!(status.expect("the program starts").success(), "{command:?} failed");
    elapsed
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

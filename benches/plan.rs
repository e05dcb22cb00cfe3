//! `bench plan` of 10,000 instance types, from reading the file to the table: medians of fresh processes,
//! with `bench --version` beside it as the cost of starting at all. `cargo bench --bench plan` prints it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TYPES: usize = 10_000;
const REPEATS: usize = 21;
/// What the project promises.
const BAR: Duration = Duration::from_millis(100);

fn main() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("run.json");
    fs_err::write(&config, config_text())?;
    let config = config.to_string_lossy().into_owned();
    let start = median(folder.path(), &["--version"]);
    let check = median(folder.path(), &["config", "check", &config]);
    let human = median(folder.path(), &["plan", &config]);
    let json = median(folder.path(), &["plan", &config, "--output", "json"]);
    report("start (bench --version)", start);
    report("bench config check", check);
    report("bench plan", human);
    report("bench plan --output json", json);
    let verdict = if human.max(json) <= BAR { "within" } else { "OVER" };
    report(&format!("bar, {verdict}"), BAR);
    Ok(())
}

/// Two provider instances of one backend, sizes from its catalog and sizes that the config describes.
fn config_text() -> String {
    let entry = |i: usize| match i % 2 {
        0 => format!(r#"{{ "instance_type": "c7g.large", "alias": "t-{i}" }}"#),
        _ => format!(r#"{{ "instance_type": "own-{i}", "alias": "t-{i}", "vcpu": 4, "arch": "arm64" }}"#),
    };
    let list = |from, to| (from..to).map(entry).collect::<Vec<_>>().join(",\n    ");
    format!(
        "{{\n  \"task_runners\": {{ \"image\": \"registry/bench:1\" }},\n  \
         \"providers\": {{ \"aws-eu\": {{ \"backend\": \"aws\", \"region\": \"eu-west-1\" }} }},\n  \
         \"aws\": [\n    {}\n  ],\n  \"aws-eu\": [\n    {}\n  ]\n}}\n",
        list(0, TYPES / 2),
        list(TYPES / 2, TYPES)
    )
}

fn median(folder: &Path, arguments: &[&str]) -> Duration {
    let mut times: Vec<Duration> = (0..REPEATS).map(|_| once(folder, arguments)).collect();
    times.sort();
    times[REPEATS / 2]
}

fn once(folder: &Path, arguments: &[&str]) -> Duration {
    let started = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .expect("the program was built beside this benchmark");
    assert!(status.success(), "bench {arguments:?} failed");
    started.elapsed()
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn report(what: &str, time: Duration) {
    println!("{what:<28} {:8.2} ms", time.as_secs_f64() * 1e3);
}

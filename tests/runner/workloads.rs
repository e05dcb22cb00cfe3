//! What tasks leave behind: measurements, metadata, output, reasons of failure.

use bench::api::{FailKind, OutputFormat, OutputSource, Phase, TaskMetadata, WorkloadKind};

use super::fake::{Fake, shell, task};

fn run_one(kind: WorkloadKind, timeout_seconds: u64, more: &[&str]) -> Fake {
    let fake = Fake::start([task(1, kind, timeout_seconds)]);
    assert_eq!(fake.runner(more).finish().0, Some(0));
    fake
}

fn failure(fake: &Fake) -> (FailKind, String) {
    let inner = fake.lock();
    let (_, request) = inner.failed.first().expect("the task failed");
    (request.error_type, request.error_message.clone())
}

#[test]
fn a_command_leaves_every_execution_its_series_and_its_output() {
    let mut command = shell("echo n=$BENCH_TASK_NUMBER key=${BENCH_RUN_KEY-none} mine=$MINE; echo 12.5 ns");
    command.setup = Some(["sh", "-c", "echo prepared"].map(str::to_owned).to_vec());
    command.env.insert("MINE".into(), "yes".into());
    command.warmup = 1;
    command.repetitions = 3;
    let pattern = Some(r"(?<value>[0-9.]+) (?<unit>ns)".into());
    command.output = Some(OutputSource { file: None, format: OutputFormat::Regex, pattern });
    let fake = run_one(WorkloadKind::Command(command), 60, &["--slot", "0", "--slots", "1"]);
    assert_eq!(fake.lock().failed, [], "the task completed");

    let output = fake.output(1);
    let phases: Vec<(Phase, u32)> = output.executions.iter().map(|e| (e.phase, e.index)).collect();
    let measured = [(Phase::Measure, 0), (Phase::Measure, 1), (Phase::Measure, 2)];
    assert_eq!(phases[..2], [(Phase::Setup, 0), (Phase::Warmup, 0)]);
    assert_eq!(phases[2..], measured);
    let names: Vec<&str> = output.benchmarks.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["wall_time", "user_time", "system_time", "max_rss", "value"]);
    for series in &output.benchmarks {
        assert_eq!((series.warmup.len(), series.samples.len()), (1, 3), "{}", series.name);
    }
    assert_eq!(output.benchmarks[0].samples[2], output.executions[4].wall_ns as f64, "never rounded");
    assert_eq!(output.benchmarks[4].samples, [12.5; 3]);

    let text = &fake.files(1)["output.txt"];
    assert!(text.contains("prepared") && text.contains("n=1 key=none mine=yes"), "{text}");
    assert!(text.contains("=== measure 2: sh -c"), "{text}");

    let metadata: TaskMetadata = serde_json::from_str(&fake.files(1)["metadata.json"]).unwrap();
    assert!(metadata.pinning.cpu.is_some());
    assert!(metadata.machine.threads > 0 && metadata.machine.memory_bytes > 0);
    assert!(metadata.conditions.before.at < metadata.conditions.after.at);
}

#[test]
fn a_timeout_keeps_what_was_measured_before_it() {
    let mut command = shell("[ -e $0.done ] && exec sleep 600; touch $0.done");
    let folder = tempfile::tempdir().unwrap();
    command.command.push(folder.path().join("x").to_string_lossy().into_owned());
    command.repetitions = 3;
    let fake = run_one(WorkloadKind::Command(command), 2, &[]);
    let (kind, message) = failure(&fake);
    assert_eq!(kind, FailKind::Timeout, "{message}");
    let output = fake.output(1);
    assert_eq!(output.executions.len(), 2);
    assert!(output.executions[1].timed_out);
    assert_eq!(output.benchmarks[0].samples.len(), 1, "the execution that was cut off is no sample");
}

#[test]
fn what_keeps_a_workload_from_running_is_told_apart() {
    let mut missing = shell("");
    missing.command = vec!["no-such-program".into()];
    let (kind, message) = failure(&run_one(WorkloadKind::Command(missing), 60, &[]));
    assert_eq!(kind, FailKind::Spawn);
    assert!(message.contains("`no-such-program`"), "{message}");

    let mut setup = shell("true");
    setup.setup = Some(["sh", "-c", "echo no disk >&2; exit 4"].map(str::to_owned).to_vec());
    let (kind, message) = failure(&run_one(WorkloadKind::Command(setup), 60, &[]));
    assert_eq!(kind, FailKind::Setup);
    assert!(message.contains("status 4") && message.contains("no disk"), "{message}");

    let mut silent = shell("true");
    let file = Some("/nowhere/results.json".into());
    silent.output = Some(OutputSource { file, format: OutputFormat::Bmf, pattern: None });
    let (kind, message) = failure(&run_one(WorkloadKind::Command(silent), 60, &[]));
    assert_eq!(kind, FailKind::Output);
    assert!(message.contains("/nowhere/results.json"), "{message}");

    let ruby = WorkloadKind::RubyBench { ruby_version: "0.0.1".into() };
    let (kind, message) = failure(&run_one(ruby, 60, &[]));
    assert_eq!(kind, FailKind::Environment);
    assert!(message.contains("Ruby 0.0.1"), "{message}");
}

#[test]
fn an_output_file_of_an_earlier_execution_is_not_taken_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        shell("[ -e seen ] || echo '{\"a\": {\"latency\": {\"value\": 1}}}' > out.json; touch seen");
    command.working_directory = Some(folder.path().to_string_lossy().into_owned());
    command.repetitions = 2;
    command.output =
        Some(OutputSource { file: Some("out.json".into()), format: OutputFormat::Bmf, pattern: None });
    let fake = run_one(WorkloadKind::Command(command), 60, &[]);
    assert_eq!(failure(&fake).0, FailKind::Output);
    let output = fake.output(1);
    let found = output.benchmarks.iter().find(|b| b.name == "a/latency").expect("the first one's result");
    assert_eq!(found.samples, [1.0]);
}

#[test]
fn mock_results_replace_any_workload_and_repeat_exactly() {
    let first = run_one(WorkloadKind::Command(shell("exit 1")), 60, &["--mock"]);
    let second = run_one(WorkloadKind::Mock, 60, &[]);
    assert_eq!(first.output(1).benchmarks, second.output(1).benchmarks);
    assert!(first.output(1).benchmarks.len() >= 3);
}

#[tokio::test]
async fn the_kernels_run_under_the_launcher_and_leave_their_samples() {
    use bench::runner::execute::{Executor, Halt, Spec};
    use bench::runner::launchers::Launchers;
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("kernels.json");
    let executor = Executor {
        launchers: Launchers::new(env!("CARGO_BIN_EXE_bench")),
        scratch: folder.path().to_owned(),
        cpus: bench::runner::pin::allowed().unwrap(),
        grace: std::time::Duration::from_secs(1),
        ends_orphans: false,
    };
    let command = [env!("CARGO_BIN_EXE_bench"), "kernels", "--quick", "--results", results.to_str().unwrap()];
    let spec = Spec {
        phase: Phase::Measure,
        index: 0,
        command: command.map(str::to_owned).to_vec(),
        env: std::collections::BTreeMap::new(),
        directory: None,
    };
    let (_keep, mut halt) = tokio::sync::watch::channel(Halt::No);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(300);
    let finished = executor.run(&spec, deadline, &mut halt).await.unwrap();
    assert!(finished.succeeded(), "{}", finished.stderr.text());
    let found: Vec<bench::api::Benchmark> = serde_json::from_slice(&std::fs::read(results).unwrap()).unwrap();
    assert!(found.len() >= 6 && found.iter().all(|one| !one.samples.is_empty()));
}

/// Programs that stand in for ruby and git, in a folder to put on PATH.
fn stand_ins(ruby: &str, git: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [("ruby", ruby), ("git", git)] {
        let path = folder.path().join(name);
        let draft = path.with_extension("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A process forked meanwhile may hold the draft open for writing, which forbids running it.
        let copied = std::process::Command::new("cp").arg("-p").args([&draft, &path]).status().unwrap();
        assert!(copied.success());
    }
    folder
}

const STAND_IN_RUBY: &str = r#"
[ "$1" = -v ] && { echo "ruby 9.8.7 (2026-01-01) [x86_64-linux]"; exit; }
[ "$1" = run_benchmarks.rb ] && [ -e run_benchmarks.rb ] || exit 9
for last; do :; done
echo '{"raw_data":{"ruby":{"fib":{"warmup":[2.0],"bench":[1.5,1.25],"rss":1000}}}}' > "${last#--out-name=}.json"
"#;

fn run_ruby(tools: &tempfile::TempDir) -> Fake {
    let tasks = [1, 2].map(|id| task(id, WorkloadKind::RubyBench { ruby_version: "9.8.7".into() }, 60));
    let fake = Fake::start(tasks);
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    assert_eq!(fake.runner_with(&[], &[("PATH", &path), ("HOME", "/nonexistent")]).finish().0, Some(0));
    fake
}

#[test]
fn ruby_bench_is_fetched_once_and_its_raw_times_are_kept() {
    let tools =
        stand_ins(STAND_IN_RUBY, r#"for last; do :; done; mkdir "$last"; touch "$last/run_benchmarks.rb""#);
    let fake = run_ruby(&tools);
    assert_eq!(fake.lock().failed, []);
    let output = fake.output(1);
    assert_eq!(output.benchmarks[0].name, "fib");
    assert_eq!(
        (&output.benchmarks[0].warmup[..], &output.benchmarks[0].samples[..]),
        (&[2.0][..], &[1.5, 1.25][..])
    );
    assert_eq!(output.executions.len(), 2, "fetched, then run");
    assert_eq!(fake.output(2).executions.len(), 1, "the second task finds the checkout");
}

#[test]
fn without_the_network_ruby_bench_fails_with_what_to_do() {
    let tools = stand_ins(STAND_IN_RUBY, "echo 'fatal: could not resolve host' >&2; exit 128");
    let (kind, message) = failure(&run_ruby(&tools));
    assert_eq!(kind, FailKind::Environment);
    assert!(message.contains("needs the network") && message.contains("could not resolve host"), "{message}");
    assert!(message.contains("BENCH_RUBY_BENCH_DIR"), "{message}");
}

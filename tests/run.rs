//! `bench run` end to end on this machine: what a user gets, and what every way of dying leaves behind.

mod common;

use std::process::{Child, Stdio};
use std::time::Duration;

use common::{
    Sandbox, describe, finish, processes_with, read_json, signal, sleeping, wait_for, wait_until_gone,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// After the end of a master no process of its run may live longer than this.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A number that no other test and no other process has in its command line, for `sleep`.
fn marker() -> String {
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("7{}", unique % 100_000_000_000)
}

fn sleeper(marker: &str) -> Value {
    json!({ "name": "sleep", "command": ["sleep", marker], "timeout_minutes": 30 })
}

fn results_of(sandbox: &Sandbox, run_id: &str) -> Value {
    read_json(&sandbox.path().join("results").join(run_id).join("results.json"))
}

#[test]
fn a_mock_run_ends_with_a_summary_and_every_file() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(4, 2, json!({ "builtin": "cpu" }));
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--mock", "--run-id", "m1"]);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["run_id"], "m1");
    assert_eq!(summary["status"], "completed");
    assert_eq!(summary["tasks"], json!({ "total": 4, "completed": 4, "failed": 0 }));
    assert_eq!(summary["exit_code"], 0);
    assert_eq!(summary["leftovers"], json!([]));
    assert_eq!(summary["providers"][0]["name"], "local");
    let results = sandbox.path().join("results/m1");
    for file in ["results.json", "results.csv", "report.html"] {
        assert!(results.join(file).is_file(), "{file} is missing");
    }
    for number in 1..=4 {
        for file in ["metadata.json", "output.json", "output.txt"] {
            let path = results.join(format!("here-{number}")).join(file);
            assert!(path.is_file(), "{} is missing", path.display());
        }
    }
    let again = sandbox.run(&["results", "m1"]);
    assert!(again.status.success(), "{}", describe(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("here"), "{}", describe(&again));
}

#[test]
fn a_failing_benchmark_is_a_result_and_exits_with_1() {
    let sandbox = Sandbox::new();
    let config =
        sandbox.config(2, 1, json!({ "name": "no", "command": ["sh", "-c", "echo seen >&2; exit 7"] }));
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--run-id", "f1"]);
    assert_eq!(code, 1, "{summary:#}");
    assert_eq!(summary["status"], "failed");
    assert_eq!(summary["tasks"]["failed"], 2);
    let output = std::fs::read_to_string(sandbox.path().join("results/f1/here-1/output.txt")).unwrap();
    assert!(output.contains("seen"), "the output of a failed task is kept: {output}");
    assert!(results_of(&sandbox, "f1").to_string().contains("exit"));
    let again = sandbox.run(&["results", "f1"]);
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.contains("here-1, here-2: `sh` (measure 0) exited with status 7"), "{}", describe(&again));
}

#[test]
fn a_home_that_cannot_be_made_promises_no_resume() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(1, 1, json!({ "builtin": "cpu" }));
    let home = sandbox.file("taken", "a file").join("home");
    let output = sandbox.run(&["run", config.to_str().unwrap(), "--mock", "--home", home.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing was started") && !said.contains("--resume"), "{}", describe(&output));
}

#[test]
fn an_answer_that_does_not_fit_on_the_disk_fails_the_command() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Sandbox::new().bench(&["config", "schema"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not be written to stdout"));
}

#[test]
fn completions_are_one_json_value_where_json_is_asked_for() {
    let (code, answer) = Sandbox::new().json(&["completions", "bash"]);
    assert_eq!((code, answer["shell"].as_str()), (0, Some("bash")));
    assert!(answer["script"].as_str().unwrap().contains("_bench()"));
}

#[test]
fn debug_makes_the_task_runners_log_what_they_do_without_colours() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(1, 1, json!({ "name": "t", "command": ["true"] }));
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--run-id", "d1", "--debug"]);
    assert_eq!(code, 0, "{summary:#}");
    let logs = sandbox.path().join(".bench/runs/d1/logs");
    let log = std::fs::read_to_string(logs.join("here-0.log")).unwrap();
    assert!(log.contains("DEBUG "), "a log of debugging: {log}");
    assert!(!log.contains("hyper") && !log.contains("reqwest"), "nothing of connections: {log}");
    assert!(!log.contains('\u{1b}'), "a file has no use for colours: {log}");
}

#[test]
fn a_broken_config_exits_with_2_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let config = sandbox.file("run.json", r#"{ "runs_per_instance_typ": 1, "local": [] }"#);
    let output = sandbox.run(&["run", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    let left: Vec<_> = std::fs::read_dir(sandbox.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["run.json"]);
}

#[test]
fn a_workload_that_cannot_start_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(1, 1, json!({ "name": "x", "command": ["no-such-program-anywhere"] }));
    let output = sandbox.run(&["run", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-program-anywhere"));
    assert!(!sandbox.path().join(".bench").exists());
}

/// An orchestrator in a process of its own, with HTTPS where asked for.
struct Orchestrator {
    process: Child,
    url: String,
    pin: String,
    key: String,
}

impl Orchestrator {
    fn start(sandbox: &Sandbox, tls: &str) -> Orchestrator {
        let home = sandbox.path().join("orchestrator");
        let said = ["--output", "json", "--home", home.to_str().unwrap()];
        let mut command = sandbox.bench(&["orchestrator", "--listen", "127.0.0.1:0", "--tls", tls]);
        let mut process = command.args(said).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let started: Value =
            serde_json::Deserializer::from_reader(stdout).into_iter().next().unwrap().unwrap();
        let shown = sandbox.bench(&["orchestrator", "key", "show", "--reveal"]).args(said).output().unwrap();
        let keys: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (url, pin, key) = (text(&started["url"]), text(&started["pin"]), text(&keys["active_key"]));
        Orchestrator { process, url, pin, key }
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.process.kill().expect("it runs until the end of the test");
        self.process.wait().expect("it can be waited for");
    }
}

/// What a mock run says, and its exit code, where it names this orchestrator.
fn run_there(sandbox: &Sandbox, url: &str, key: &str, more: &[&str]) -> (Option<i32>, String) {
    let config = sandbox.config(1, 1, json!({ "builtin": "cpu" }));
    let mut command = sandbox.bench(&["run", config.to_str().unwrap(), "--mock", "--run-id", "r1"]);
    let output =
        command.args(["--orchestrator-url", url]).args(more).env("BENCH_API_KEY", key).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_orchestrator_that_cannot_be_used_is_told_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let server = Orchestrator::start(&sandbox, "on");
    let other_pin = format!("sha256//{}=", "A".repeat(43));
    let run_key =
        sandbox.bench(&["orchestrator", "key", "run-key", "r1"]).env("BENCH_API_KEY", &server.key).output();
    let run_key = String::from_utf8(run_key.unwrap().stdout).unwrap();
    let pinned = |pin| ["--orchestrator-pin", pin];
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        ("not a url", "key", &[], 2, "cannot use `not a url` as an orchestrator's address"),
        ("ftp://x", "key", &[], 2, "expected https://"),
        ("http://203.0.113.7", "key", &[], 2, "plain HTTP would show the key"),
        (&server.url, "two\nlines", &[], 2, "a line break"),
        (&server.url, "wrong", &pinned(&server.pin), 2, "(status 401)"),
        (&server.url, run_key.trim(), &pinned(&server.pin), 2, "needs the admin key"),
        (&server.url, &server.key, &[], 3, "as --orchestrator-pin"),
        (&server.url, &server.key, &pinned(&other_pin), 3, "is not the expected orchestrator"),
        ("http://127.0.0.1:1", "key", &[], 3, "no answer from http://127.0.0.1:1/up"),
    ];
    for (url, key, more, code, text) in cases {
        let (found, said) = run_there(&sandbox, url, key, more);
        assert_eq!(found, Some(code), "{url}: {said}");
        assert!(said.contains(text) && said.contains("hint: "), "{url}: {said}");
        assert!(!said.contains("ERROR"), "nobody asked for logs: {said}");
        assert!(!sandbox.path().join(".bench").exists(), "{url} left something: {said}");
    }
    let (code, said) = run_there(&sandbox, &server.url, &server.key, &pinned(&server.pin));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_run_is_not_resumed_at_an_orchestrator_that_it_cannot_use() {
    let sandbox = Sandbox::new();
    let server = Orchestrator::start(&sandbox, "off");
    let (code, said) = run_there(&sandbox, &server.url, &server.key, &[]);
    assert_eq!(code, Some(0), "{said}");
    let folder = sandbox.path().join(".bench/runs/r1");
    let files =
        || ["run.json", "journal.jsonl", "admin.key"].map(|name| std::fs::read(folder.join(name)).unwrap());
    let before = files();
    for (url, code) in [("http://127.0.0.1:1", 3), ("not a url", 2)] {
        let mut command = sandbox.bench(&["run", "--resume", "r1", "--orchestrator-url", url]);
        let output = command.env("BENCH_API_KEY", "other").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", describe(&output));
        assert!(files() == before, "the run still knows its own orchestrator");
    }
    let output = sandbox.run(&["run", "--resume", "r1"]);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
}

#[test]
fn a_wrong_address_or_key_is_bad_usage_everywhere() {
    let sandbox = Sandbox::new();
    let server = Orchestrator::start(&sandbox, "off");
    for command in [&["status"][..], &["stop", "latest"], &["results", "r1"]] {
        for (url, code) in [("not a url", 2), (server.url.as_str(), 2), ("http://127.0.0.1:1", 3)] {
            let mut command = sandbox.bench(command);
            let output = command.args(["--orchestrator-url", url, "--api-key", "wrong"]).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", describe(&output));
            assert!(String::from_utf8_lossy(&output.stderr).contains("hint: "), "{}", describe(&output));
        }
    }
    let runner =
        ["runner", "--run-id", "r", "--provider", "p", "--instance-type", "t", "--orchestrator-url", "no"];
    let output = sandbox.bench(&runner).env("BENCH_RUN_KEY", "key").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
}

#[test]
fn docker_without_an_engine_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let config = sandbox.file(
        "run.json",
        &json!({ "runs_per_instance_type": 1, "local": [{ "instance_type": "docker", "alias": "d" }] })
            .to_string(),
    );
    let mut command = sandbox.bench(&["run", config.to_str().unwrap()]);
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("engine"), "{}", describe(&output));
    assert!(!sandbox.path().join(".bench").exists());
}

#[test]
fn one_interrupt_stops_cleanly_with_what_there_is() {
    let sandbox = Sandbox::new();
    let marker = marker();
    // Whichever task comes first is quick, the others are not.
    let script = format!("mkdir first 2>/dev/null || exec sleep {marker}");
    let config = sandbox.config(3, 2, json!({ "name": "mixed", "command": ["sh", "-c", script] }));
    let child = sandbox.spawn(&["run", config.to_str().unwrap(), "--output", "json", "--run-id", "i1"]);
    wait_for("a long task", || (sleeping(&marker) == 2).then_some(()));
    signal(child.id(), Signal::SIGINT);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(130), "{}", describe(&output));
    assert_eq!(processes_with(&marker), [] as [u32; 0], "a workload outlived the master");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "cancelled");
    assert_eq!(summary["tasks"], json!({ "total": 3, "completed": 1, "failed": 0 }));
    assert!(results_of(&sandbox, "i1").to_string().contains("here"));
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let sandbox = Sandbox::new();
    let marker = marker();
    // A workload that ignores every polite request.
    let script = format!("trap '' TERM INT; while :; do sleep {marker}; done");
    let config = sandbox.config(1, 1, json!({ "name": "deaf", "command": ["sh", "-c", script] }));
    let child = sandbox.spawn(&["run", config.to_str().unwrap()]);
    wait_for("the task", || (sleeping(&marker) > 0).then_some(()));
    signal(child.id(), Signal::SIGINT);
    signal(child.id(), Signal::SIGTERM);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(130), "{}", describe(&output));
    wait_until_gone(&marker, GONE_WITHIN);
}

#[test]
fn nothing_outlives_a_killed_master_and_resume_runs_only_what_is_missing() {
    let sandbox = Sandbox::new();
    let marker = marker();
    // Whichever task comes first is quick; the others wait for a file that appears only before the resume.
    let script = format!(
        "echo $BENCH_TASK_NUMBER >> executions; if mkdir first 2>/dev/null; then echo $BENCH_TASK_NUMBER > done; exit 0; fi; test -e go || exec sleep {marker}"
    );
    let config = sandbox.config(3, 2, json!({ "name": "k", "command": ["sh", "-c", script] }));
    let mut child = sandbox.spawn(&["run", config.to_str().unwrap(), "--run-id", "k9"]);
    wait_for("two long tasks", || (sleeping(&marker) == 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(&marker, GONE_WITHIN);
    wait_until_gone("--run-id k9", GONE_WITHIN);

    let (_, status) = sandbox.json(&["status", "k9"]);
    assert_eq!(status["master"], "dead", "{status:#}");
    sandbox.file("go", "");
    let (code, summary) = sandbox.json(&["run", "--resume", "latest"]);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["run_id"], "k9");
    assert_eq!(summary["tasks"], json!({ "total": 3, "completed": 3, "failed": 0 }));
    let executed = std::fs::read_to_string(sandbox.path().join("executions")).unwrap();
    assert_eq!(executed.lines().count(), 5, "one task finished before, two were tried twice: {executed}");
    let completed_before = std::fs::read_to_string(sandbox.path().join("done")).unwrap();
    let again = executed.lines().filter(|line| *line == completed_before.trim()).count();
    assert_eq!(again, 1, "a finished task ran again: {executed}");
}

#[test]
fn a_killed_runner_is_replaced_and_its_task_tried_again() {
    let sandbox = Sandbox::new();
    let marker = marker();
    let script = format!("test -e go || exec sleep {marker}");
    let config = sandbox.config(1, 1, json!({ "name": "r", "command": ["sh", "-c", script] }));
    let child = sandbox.spawn(&["run", config.to_str().unwrap(), "--output", "json", "--run-id", "rk"]);
    wait_for("the task", || (sleeping(&marker) > 0).then_some(()));
    sandbox.file("go", "");
    let runners = processes_with("--runner-id rk-here-0");
    assert_eq!(runners.len(), 1, "one runner a slot");
    signal(runners[0], Signal::SIGKILL);
    wait_until_gone(&format!("sleep {marker}"), GONE_WITHIN);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    let task = &results_of(&sandbox, "rk")["tasks"][0];
    assert_eq!(task["attempts"], 2, "{task:#}");
}

#[test]
fn two_runs_side_by_side_do_not_disturb_each_other() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(4, 1, json!({ "name": "s", "command": ["sleep", "0.2"] }));
    let config = config.to_str().unwrap();
    let first = sandbox.spawn(&["run", config, "--run-id", "side-a", "--output", "json"]);
    let second = sandbox.spawn(&["run", config, "--run-id", "side-b", "--output", "json"]);
    for child in [first, second] {
        let output = finish(child);
        assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    }
    for run in ["side-a", "side-b"] {
        let results = results_of(&sandbox, run);
        assert_eq!(results["tasks"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn a_run_waits_for_cpus_that_another_holds_and_says_so() {
    let sandbox = Sandbox::new();
    let cpus = std::thread::available_parallelism().unwrap().get() as u32;
    let marker = marker();
    let long = sandbox.config(cpus, cpus, sleeper(&marker));
    let first = sandbox.spawn(&["run", long.to_str().unwrap(), "--run-id", "holder"]);
    wait_for("the first run's task", || (sleeping(&marker) > 0).then_some(()));
    let quick = sandbox.file(
        "quick.json",
        &json!({ "runs_per_instance_type": cpus, "task_runners": { "count": cpus }, "local": [
            { "instance_type": "process", "alias": "here" } ] })
        .to_string(),
    );
    let log = std::fs::File::create(sandbox.path().join("second.log")).unwrap();
    let mut command = sandbox.bench(&["run", quick.to_str().unwrap(), "--mock", "--run-id", "waiter"]);
    let second = command.stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap();
    wait_for("the note that the second run waits", || {
        let text = std::fs::read_to_string(sandbox.path().join("second.log")).unwrap();
        (text.contains("waiting for") && text.contains("holder")).then_some(())
    });
    signal(first.id(), Signal::SIGINT);
    assert_eq!(finish(first).status.code(), Some(130));
    let output = finish(second);
    let log = std::fs::read_to_string(sandbox.path().join("second.log")).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
}

#[test]
fn status_and_stop_work_from_another_process_and_a_second_master_is_refused() {
    let sandbox = Sandbox::new();
    let marker = marker();
    let config = sandbox.config(2, 1, sleeper(&marker));
    let child = sandbox.spawn(&["run", config.to_str().unwrap(), "--run-id", "st", "--output", "json"]);
    wait_for("the task", || (sleeping(&marker) > 0).then_some(()));

    let (code, status) = sandbox.json(&["status", "st"]);
    assert_eq!(code, 0, "{status:#}");
    assert_eq!(status["master"], "alive");
    assert_eq!(status["status"], "running");
    assert_eq!(status["tasks"]["total"], 2);

    let refused = sandbox.run(&["run", "--resume", "st"]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another master"), "{}", describe(&refused));

    let stopped = sandbox.run(&["stop", "st"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", describe(&stopped));
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "cancelled");
    assert_eq!(processes_with(&marker), [] as [u32; 0]);
}

#[test]
fn output_that_repeats_itself_is_a_result_like_any_other() {
    let sandbox = Sandbox::new();
    let command = ["sh", "-c", "yes | head -c 3000000"];
    let config = sandbox.config(1, 1, json!({ "name": "yes", "command": command, "repetitions": 20 }));
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--run-id", "yes"]);
    assert_eq!(code, 0, "{summary:#}");
    let text = sandbox.path().join("results/yes/here-1/output.txt");
    assert!(std::fs::metadata(text).unwrap().len() > 40_000_000, "all that the runner kept");
    assert_eq!(results_of(&sandbox, "yes")["tasks"][0]["attempts"], 1);
}

#[test]
fn task_runners_side_by_side_leave_their_results_in_folders_of_their_own() {
    let sandbox = Sandbox::new();
    let script = "test -z \"$(ls -A $BENCH_TASK_DIR)\" && sleep 0.2 && \
                  echo \"{\\\"n\\\": {\\\"t\\\": {\\\"value\\\": $BENCH_TASK_NUMBER}}}\" > $BENCH_TASK_DIR/out.json";
    let output = |file: &str| json!({ "file": file, "format": "bmf" });
    let workload = |file| json!({ "name": "side", "command": ["sh", "-c", script], "output": output(file) });
    let config = sandbox.config(4, 2, workload("$BENCH_TASK_DIR/out.json"));
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--run-id", "side"]);
    assert_eq!(code, 0, "{summary:#}");
    for task in results_of(&sandbox, "side")["tasks"].as_array().unwrap() {
        let series = task["output"]["benchmarks"].as_array().unwrap();
        let own = series.iter().find(|one| one["name"].as_str().unwrap().starts_with('n')).unwrap();
        assert_eq!(own["samples"][0].as_f64(), task["number"].as_f64(), "{own:#}");
    }
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let config = sandbox.config(4, 2, workload("out.json"));
        let (code, _, stderr) = sandbox.said(&["run", config.to_str().unwrap()]);
        assert_eq!(code, 2);
        assert!(
            stderr.contains("$.workload.output.file") && stderr.contains("$BENCH_TASK_DIR/out.json"),
            "{stderr}"
        );
    }
}

#[test]
fn a_failed_task_says_its_status_and_last_words_as_it_happens() {
    let sandbox = Sandbox::new();
    let command = ["sh", "-c", "echo first >&2; echo no such data set >&2; exit 3"];
    let config = sandbox.config(1, 1, json!({ "name": "f", "command": command }));
    let (code, _, stderr) = sandbox.said(&["run", config.to_str().unwrap()]);
    assert_eq!(code, 1);
    let line = stderr.lines().find(|line| line.starts_with("here-1 failed")).expect("a line for it");
    assert!(line.contains("status 3") && line.ends_with("no such data set"), "{line}");
}

#[test]
fn a_killed_workload_names_the_signal() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(1, 1, json!({ "name": "k", "command": ["sh", "-c", "kill -KILL $$"] }));
    let (code, stdout, _) = sandbox.said(&["run", config.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stdout.contains("signal 9 (SIGKILL)"), "{stdout}");
}

#[test]
fn a_ruby_version_without_its_ruby_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let local = json!([{ "instance_type": "process", "alias": "here" }]);
    let config = sandbox.json_file("run.json", &json!({ "ruby_version": "3.4.7", "local": local }));
    let empty = sandbox.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = sandbox.bench(&["run", &config]).env("PATH", &empty).env("HOME", &empty).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("3.4.7") && said.contains("install"), "{said}");
    assert!(!sandbox.path().join(".bench").exists());
}

#[test]
fn what_hyperfine_itself_writes_is_taken_in() {
    if std::process::Command::new("hyperfine").arg("--version").output().is_err() {
        return skipped("hyperfine is not installed", "its real output is not tried");
    }
    let sandbox = Sandbox::new();
    let command = ["hyperfine", "--runs", "3", "--export-json", "$BENCH_TASK_DIR/out.json", "sleep 0.01"];
    let output = json!({ "file": "$BENCH_TASK_DIR/out.json", "format": "hyperfine" });
    let workload = json!({ "name": "h", "command": command, "output": output });
    let config = sandbox.config(2, 2, workload);
    let (code, summary) = sandbox.json(&["run", config.to_str().unwrap(), "--run-id", "hf"]);
    assert_eq!(code, 0, "{summary:#}");
    let results = results_of(&sandbox, "hf");
    for task in results["tasks"].as_array().unwrap() {
        let series = task["output"]["benchmarks"].as_array().unwrap();
        let own = series.iter().find(|one| one["name"] == "sleep 0.01").expect("hyperfine's own series");
        assert_eq!((own["unit"].as_str(), own["samples"].as_array().unwrap().len()), (Some("s"), 3));
        // Some versions take the start of their shell off, so a sample may be a little less than was slept.
        assert!(own["samples"][0].as_f64().unwrap() > 0.001, "{own:#}");
    }
}

/// libfaketime, as Debian installs it.
fn fake_time() -> Option<std::path::PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
    places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

#[test]
fn a_jump_of_the_wall_clock_costs_no_lease() {
    let Some(library) = fake_time() else {
        return skipped("libfaketime is not installed", "no wall clock jumps");
    };
    let sandbox = Sandbox::new();
    let now = sandbox.file("now", "+0");
    // Each task is longer than a lease, and the clock jumps while it runs.
    let script = "echo > started-$BENCH_TASK_NUMBER; while ! test -e go; do sleep 0.1; done";
    let config = sandbox.json_file(
        "run.json",
        &json!({
            "runs_per_instance_type": 2, "limits": { "lease_seconds": 2 },
            "workload": { "name": "w", "command": ["sh", "-c", script] },
            "local": [{ "instance_type": "process", "alias": "here" }]
        }),
    );
    let mut command = sandbox.bench(&["run", &config, "--run-id", "jump", "--output", "json"]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &now).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let master = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let master = master.expect("the binary starts");
    let started = || std::fs::read_dir(sandbox.path()).unwrap().flatten();
    wait_for("a task", || started().find(|e| e.file_name().to_string_lossy().starts_with("started")));
    for jump in ["+2h", "-1d", "+0"] {
        std::fs::write(&now, jump).unwrap();
        // Longer than a lease: nothing else can be waited for here.
        std::thread::sleep(Duration::from_millis(2500));
    }
    sandbox.file("go", "");
    let output = finish(master);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    for task in results_of(&sandbox, "jump")["tasks"].as_array().unwrap() {
        assert_eq!((&task["state"], &task["attempts"]), (&json!("completed"), &json!(1)), "{task:#}");
    }
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn skipped(why: &str, said: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}: {said}");
    eprintln!("skipped: {why}: {said}");
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_running() {
    let sandbox = Sandbox::new();
    let config =
        sandbox.config(3, 1, json!({ "name": "y", "command": ["sh", "-c", "head -c 3000000 /dev/urandom"] }));
    // A file system of 1 MB in a mount namespace of its own.
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=1m none small && exec {} run {} --home small/.bench --run-id full",
        env!("CARGO_BIN_EXE_bench"),
        config.display()
    );
    let log = sandbox.path().join("log");
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).current_dir(sandbox.path());
    let mut master =
        command.stderr(std::fs::File::create(&log).unwrap()).spawn().expect("util-linux's unshare");
    let seen = || std::fs::read_to_string(&log).unwrap();
    let ended = wait_for("the cause to be named, or an end", || {
        let ended = master.try_wait().unwrap();
        (ended.is_some() || seen().contains("No space left")).then_some(ended)
    });
    if seen().contains("unshare:") {
        return skipped("this machine allows no user namespaces", &seen());
    }
    assert!(seen().contains("No space left"), "the cause is named: {}", seen());
    // What was measured waits for somebody to free some space, until the user has enough.
    if ended.is_none() {
        signal(master.id(), Signal::SIGINT);
    }
    let code = master.wait().unwrap().code();
    assert!(matches!(code, Some(1 | 3 | 130)), "{code:?}: {}", seen());
    wait_until_gone("--run-id full", GONE_WITHIN);
}

//! `bench run` with Terraform, end to end: the fixture `loopback` makes hosts that are folders and processes of
//! this machine, so that the whole way is gone in seconds.
//!
//! Skipped, with a reason, where there is no Terraform; with `BENCH_REQUIRE_TERRAFORM` set that is a failure.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "../common/mod.rs"]
mod common;

mod losses;
mod place;

use std::path::Path;

use common::{describe, finish, processes_with, read_json, signal};
use nix::sys::signal::Signal;
use place::{Cloud, terraform_is_there};
use serde_json::{Value, json};

fn provider<'v>(summary: &'v Value, name: &str) -> &'v Value {
    let all = summary["providers"].as_array().expect("a list");
    all.iter().find(|provider| provider["name"] == name).expect("the provider instance")
}

fn journal(cloud: &Cloud) -> Vec<String> {
    let text = std::fs::read_to_string(cloud.folder().join("journal.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<Value>(line).unwrap()["step"].as_str().unwrap().to_owned();
    text.lines().map(step).collect()
}

#[test]
fn provider_instances_come_up_do_their_tasks_and_are_destroyed() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let local = json!({ "local": [{ "instance_type": "process", "alias": "here" }] });
    let config = cloud.config(json!({}), json!({}), local);
    let (code, summary) = cloud.json(&["run", &config, "--mock", "--run-id", &cloud.run]);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["tasks"], json!({ "total": 6, "completed": 6, "failed": 0 }));
    assert_eq!(summary["leftovers"], json!([]));
    assert_eq!(provider(&summary, "one")["instances"], 2);
    assert_eq!(provider(&summary, "two")["hosts"][0]["id"], format!("{}-two-double-0", cloud.run));
    assert_eq!(provider(&summary, "two")["status"], "done");
    for alias in ["single", "double", "here"] {
        assert!(cloud.results().join(format!("{alias}-1/output.json")).is_file(), "{alias}");
    }
    cloud.assert_nothing_is_left();
    // The admin key is in no file that Terraform or a host was given.
    let admin = std::fs::read_to_string(cloud.folder().join("admin.key")).unwrap();
    for name in [
        "orchestrator.tfstate",
        "providers/one/terraform.tfvars.json",
        "providers/one/terraform.tfstate.backup",
    ] {
        let text = std::fs::read_to_string(cloud.folder().join(name)).unwrap();
        assert!(!text.contains(admin.trim()), "{name} holds the admin key");
    }
    // The intent stands in the ledger before the fact, and all of it was destroyed.
    let ledger = std::fs::read_to_string(cloud.path(".bench/ledger.jsonl")).unwrap();
    let lines: Vec<Value> = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_one: Vec<&str> = lines
        .iter()
        .filter(|line| line["provider"] == "one")
        .map(|line| line["fact"].as_str().unwrap_or("intent"))
        .collect();
    assert_eq!(of_one, ["intent", "applied", "destroyed"]);
}

/// A backend like the fixture, which lets in by folder.
fn backend_that_lets_in(cloud: &Cloud, closed: &str) -> String {
    let fixture = common::repository("tests/fixtures/providers/loopback");
    let folder = cloud.path("infrastructure/loopback");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(&fixture).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let mut manifest = read_json(&folder.join("provider.json"));
    let script = format!("[ \"$0\" != {closed} ] || {{ echo \"$0 is closed\" >&2; exit 1; }}");
    manifest["credentials"] = json!([{ "name": "a key", "env": ["PATH"] }]);
    manifest["credential_check"] = json!(["sh", "-c", script, "{{directory}}"]);
    std::fs::write(folder.join("provider.json"), manifest.to_string()).unwrap();
    cloud.path("infrastructure").display().to_string()
}

#[test]
fn credentials_of_every_provider_instance_are_tried_before_anything_is_made() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let closed = cloud.path("closed").display().to_string();
    let infrastructure = backend_that_lets_in(&cloud, &closed);
    let arguments =
        |config: &str| ["run", config, "--mock", "--infrastructure", &infrastructure].map(str::to_owned);
    let run = |config: &str| {
        let arguments = arguments(config);
        cloud.sandbox.json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (code, answer) = run(&cloud.config(json!({}), json!({ "directory": closed }), json!({})));
    assert_eq!(code, 2, "{answer:#}");
    let told = answer.to_string();
    assert!(told.contains("the credentials for `two` do not work"), "{told}");
    assert!(told.contains("closed is closed") && !told.contains("`one`"), "{told}");
    assert!(!cloud.path(".bench/ledger.jsonl").exists() && cloud.hosts().is_empty(), "{told}");
    let (code, summary) = run(&cloud.config(json!({}), json!({}), json!({})));
    assert_eq!(code, 0, "{summary:#}");
}

#[test]
fn a_provider_instance_that_fails_half_way_sinks_no_other() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let config = cloud.config(json!({}), json!({ "fail_with": "TooManyHosts" }), json!({}));
    let (code, summary) = cloud.json(&["run", &config, "--mock", "--run-id", &cloud.run]);
    assert_eq!(code, 3, "{summary:#}");
    // Its hosts were there when it failed, and did their tasks.
    assert_eq!((&summary["status"], &summary["tasks"]["completed"]), (&json!("completed"), &json!(4)));
    assert_eq!(provider(&summary, "one")["status"], "done");
    let failed = provider(&summary, "two");
    assert_eq!((&failed["status"], &failed["instances"]), (&json!("failed"), &json!(1)));
    assert!(failed["error"].as_str().unwrap().contains("plan fewer hosts"), "the next step: {failed:#}");
    assert_eq!(summary["leftovers"], json!([]));
    cloud.assert_nothing_is_left();
}

#[test]
fn a_host_that_does_not_come_is_replaced_once_and_its_tasks_wait_for_nobody() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    // The first boot of `single-0` hangs, and every boot of `double-0`.
    let program = cloud.sandbox.file(
        "program",
        &format!(
            "#!/bin/sh\ncase \"$*\" in\n*-single-0*) [ -e ../../../../booted ] || {{ touch ../../../../booted; exec sleep 600; }};;\n\
             *-double-0*) exec sleep 600;;\nesac\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_bench")
        ),
    );
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = json!({ "program": program });
    let limits = json!({ "limits": { "boot_timeout_minutes": 0.05 } });
    let config = cloud.config(settings.clone(), settings, limits);
    let (code, summary) = cloud.json(&["run", &config, "--mock", "--run-id", &cloud.run]);
    assert_eq!(code, 3, "{summary:#}");
    assert_eq!(summary["tasks"], json!({ "total": 4, "completed": 2, "failed": 2 }));
    assert_eq!(provider(&summary, "one")["error"], Value::Null, "the new host has come");
    let error = provider(&summary, "two")["error"].as_str().unwrap();
    let expected = format!("{}-two-double-0 (double-0) did not come up, never heard of", cloud.run);
    assert!(error.contains(&expected), "{error}");
    let results = read_json(&cloud.results().join("results.json")).to_string();
    assert!(results.contains("no_hosts"), "{results}");
    cloud.assert_nothing_is_left();
}

#[test]
fn kept_hosts_stay_and_are_listed() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let config = cloud.config(json!({}), json!({}), json!({}));
    let (code, summary) = cloud.json(&["run", &config, "--mock", "--run-id", &cloud.run, "--keep"]);
    assert_eq!(code, 0, "{summary:#}");
    for name in ["one", "two"] {
        assert_eq!(provider(&summary, name)["kept"], true);
        assert!(!provider(&summary, name)["hosts"].as_array().unwrap().is_empty());
    }
    assert_eq!(cloud.hosts().len(), 3);
    let runners = processes_with(&format!("{}-two-double-0", cloud.run));
    assert!(!runners.is_empty(), "a kept host's task runners go on waiting");
}

#[test]
fn a_master_killed_during_the_apply_is_resumed_and_makes_nothing_twice() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let gate = json!({ "gate": cloud.path("gate") });
    let config = cloud.config(gate.clone(), gate, json!({}));
    let mut master = cloud.spawn(&["run", &config, "--mock", "--run-id", &cloud.run]);
    cloud.wait_for_host();
    master.kill().unwrap();
    master.wait().unwrap();
    std::fs::write(cloud.path("gate"), "").unwrap();
    let (code, summary) = cloud.json(&["run", "--resume", &cloud.run]);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["tasks"]["completed"], 4);
    for name in ["one", "two"] {
        let job = read_json(&cloud.folder().join("providers").join(name).join("logs/job.json"));
        assert_eq!(
            (&job["number"], &job["operation"]),
            (&json!(2), &json!("destroy")),
            "one apply, one destroy"
        );
    }
    assert!(journal(&cloud).contains(&"resumed".to_owned()));
    cloud.assert_nothing_is_left();
    // Resumed once more it finds nothing to do.
    let (code, again) = cloud.json(&["run", "--resume", &cloud.run]);
    assert_eq!((code, &again["tasks"]), (0, &summary["tasks"]));
}

#[test]
fn an_interrupt_during_the_apply_destroys_what_was_made() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let gate = json!({ "gate": cloud.path("gate") });
    let sleeper = json!({ "workload": { "name": "sleep", "command": ["sleep", "600"] } });
    let config = cloud.config(gate.clone(), gate, sleeper);
    let master = cloud.spawn(&["run", &config, "--run-id", &cloud.run, "--output", "json"]);
    cloud.wait_for_host();
    signal(master.id(), Signal::SIGINT);
    let output = finish(master);
    assert_eq!(output.status.code(), Some(130), "{}", describe(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert_eq!((&summary["status"], &summary["leftovers"]), (&json!("cancelled"), &json!([])));
    cloud.assert_nothing_is_left();
}

#[test]
fn what_a_backend_lacks_is_said_before_anything_is_made() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers/loopback"));
    let to = cloud.path("providers/loopback");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let mut manifest = read_json(&to.join("provider.json"));
    manifest["credentials"] = json!([{ "name": "key", "env": ["LOOPBACK_NO_SUCH_KEY"] }]);
    std::fs::write(to.join("provider.json"), manifest.to_string()).unwrap();
    let config = cloud.config(json!({}), json!({}), json!({}));
    let folder = cloud.path("providers").display().to_string();
    let output = cloud.sandbox.run(&["run", &config, "--mock", "--infrastructure", &folder]);
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`one`, `two`") && said.contains("key (LOOPBACK_NO_SUCH_KEY)"), "{said}");
    assert!(!cloud.path(".bench/runs").exists() && cloud.hosts().is_empty());

    let config = cloud.config(json!({}), json!({}), json!({ "limits": { "max_cost_usd": 0.01 } }));
    let output = cloud.sandbox.run(&cloud.arguments(&["run", &config, "--mock"]));
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("max_cost_usd"), "{}", describe(&output));
    assert!(!cloud.path(".bench/runs").exists());
}

#[test]
fn a_run_whose_config_was_edited_is_not_resumed_and_the_edit_is_named() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let config = cloud.config(json!({}), json!({}), json!({}));
    let (code, summary) = cloud.json(&["run", &config, "--mock", "--run-id", &cloud.run]);
    assert_eq!(code, 0, "{summary:#}");
    let kept = cloud.folder().join("config.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("\"runs_per_instance_type\":2", "\"runs_per_instance_type\":3"))
        .unwrap();
    let output = cloud.sandbox.run(&cloud.arguments(&["run", "--resume", &cloud.run]));
    assert_eq!(output.status.code(), Some(2), "{}", describe(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("$.runs_per_instance_type was 2 and is 3"), "{said}");
}

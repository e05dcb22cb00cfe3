//! `bench provider new` and `validate`, `bench plan --render`: on a scaffold, on the fixture, on broken ones.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value, json};

fn bench(arguments: &[&str]) -> Output {
    Command::cargo_bin("bench").unwrap().args(arguments).output().unwrap()
}

fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn validate(name: &str, infrastructure: &Path) -> (Option<i32>, Value) {
    let folder = infrastructure.display().to_string();
    let output = bench(&["provider", "validate", name, "--infrastructure", &folder, "--output", "json"]);
    (output.status.code(), answer(&output))
}

/// Checks by outcome; without Terraform, its own are skipped.
fn names(report: &Value, outcome: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["outcome"] == outcome)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers")
}

#[test]
fn a_new_backend_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("infrastructure");
    let directory_text = directory.display().to_string();
    let made = bench(&["provider", "new", "acme", "--directory", &directory_text]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (code, report) = validate("acme", &directory);
    assert_eq!((code, names(&report, "failed")), (Some(0), vec![]), "{report:#}");
    if std::env::var_os("BENCH_REQUIRE_TERRAFORM").is_some() {
        assert_eq!(names(&report, "skipped"), [""; 0], "{report:#}");
    }
    let again = bench(&["provider", "new", "acme", "--directory", &directory_text]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        bench(&["provider", "new", "Not A Name", "--directory", &directory_text]).status.code(),
        Some(2)
    );
}

#[test]
fn the_fixture_keeps_the_contract() {
    let (code, report) = validate("loopback", &fixtures());
    assert_eq!((code, names(&report, "failed")), (Some(0), vec![]), "{report:#}");
}

#[test]
fn the_fixture_of_a_stack_keeps_the_contract() {
    let stacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stacks");
    let (code, report) = validate("meta", &stacks);
    assert_eq!((code, names(&report, "failed")), (Some(0), vec![]), "{report:#}");
    assert_eq!(
        names(&report, "not_applicable"),
        ["remote state", "user-data", "user-data values", "user-data syntax"],
        "{report:#}"
    );
}

/// Checks that a backend of hosts gets, whatever state its folder is in.
const CHECKS: [&str; 15] = [
    "manifest",
    "credentials",
    "catalog",
    "error classes",
    "sweep manifest",
    "module",
    "variables",
    "outputs",
    "tags",
    "remote state",
    "provider versions",
    "user-data",
    "user-data values",
    "user-data syntax",
    "terraform validate",
];

/// Every check is in the report, and what was not looked at says why.
fn assert_nothing_is_left_out_without_a_word(report: &Value) {
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, CHECKS.into_iter().chain(["terraform test"]).collect::<Vec<_>>(), "{report:#}");
    for check in checks.iter().filter(|check| check["outcome"] != "passed") {
        assert!(check["findings"].as_array().is_some_and(|found| !found.is_empty()), "{check:#}");
    }
}

fn scaffold(root: &Path) -> std::path::PathBuf {
    let directory = root.join("infrastructure");
    let made = bench(&["provider", "new", "acme", "--directory", &directory.display().to_string()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
}

#[test]
fn a_folder_without_tests_is_told_what_to_add_also_without_terraform() {
    let root = tempfile::tempdir().unwrap();
    let directory = scaffold(root.path());
    fs_err::remove_file(directory.join("acme/hosts.tftest.hcl")).unwrap();
    let folder = directory.display().to_string();
    let arguments = ["provider", "validate", "acme", "--infrastructure", &folder];
    for path in [None, Some("/nonexistent")] {
        let mut command = Command::cargo_bin("bench").unwrap();
        command.args(arguments);
        path.map(|path| command.env("PATH", path));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("FAILED  terraform test\n          the folder holds no *.tftest.hcl: add one"),
            "{said}"
        );
    }
    // A test that asserts nothing is none.
    fs_err::write(directory.join("acme/hosts.tftest.hcl"), "run \"hosts\" { command = plan }\n").unwrap();
    let (code, report) = validate("acme", &directory);
    assert_eq!((code, names(&report, "failed")), (Some(2), vec!["terraform test".to_owned()]), "{report:#}");
}

#[test]
fn what_cannot_be_looked_at_is_named_with_its_reason() {
    let root = tempfile::tempdir().unwrap();
    let directory = scaffold(root.path());
    let acme = directory.join("acme");
    let (_, report) = validate("acme", &directory);
    assert_nothing_is_left_out_without_a_word(&report);

    // A template of the folder's own that no shell can parse.
    fs_err::write(acme.join("user-data.sh.hbs"), "#cloud-config\n{}\n").unwrap();
    let (code, report) = validate("acme", &directory);
    assert_nothing_is_left_out_without_a_word(&report);
    assert_eq!(code, Some(0), "{report:#}");
    assert!(names(&report, "skipped").contains(&"user-data syntax".to_owned()), "{report:#}");
    fs_err::write(acme.join("user-data.sh.hbs"), "#!/bin/bash\nif\n").unwrap();
    let (_, report) = validate("acme", &directory);
    assert_eq!(names(&report, "failed"), ["user-data syntax"], "{report:#}");
    // One whose values are numbers and lists is looked at all the same.
    let script = "#!/bin/bash\necho ${ttl_minutes + 1} %{ for x in things }${x}%{ endfor }\n";
    fs_err::write(acme.join("user-data.sh.hbs"), script).unwrap();
    let (_, report) = validate("acme", &directory);
    assert!(names(&report, "failed").contains(&"user-data values".to_owned()), "{report:#}");
    assert!(names(&report, "skipped").iter().all(|name| name.starts_with("terraform")), "{report:#}");
    fs_err::remove_file(acme.join("user-data.sh.hbs")).unwrap();

    let manifest = fs_err::read_to_string(acme.join("provider.json")).unwrap();
    let open = manifest
        .replace("\"settings\": {", "\"credential_check\": [\"acme\", \"{{account}}\"],\n  \"settings\": {");
    fs_err::write(acme.join("provider.json"), open).unwrap();
    let (_, report) = validate("acme", &directory);
    assert_eq!(names(&report, "failed"), ["credentials"], "{report:#}");

    fs_err::write(acme.join("main.tf"), "resource {").unwrap();
    let (code, report) = validate("acme", &directory);
    assert_nothing_is_left_out_without_a_word(&report);
    assert_eq!(code, Some(2), "{report:#}");
    assert!(names(&report, "failed").contains(&"module".to_owned()), "{report:#}");

    let output = bench(&["provider", "validate", "local", "--output", "json"]);
    let report = answer(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_nothing_is_left_out_without_a_word(&report);
}

#[test]
fn what_is_broken_is_named() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("infrastructure");
    bench(&["provider", "new", "acme", "--directory", &directory.display().to_string()]);
    let change = |file: &str, from: &str, to: &str| {
        let path = directory.join("acme").join(file);
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs_err::write(&path, text.replace(from, to)).unwrap();
    };
    change("outputs.tf", "task_runner_instance_ids", "ids");
    change("main.tf", "bench_alias", "alias");
    change("main.tf", "ruby_version     = var.ruby_version", "");
    change("provider.json", "16384", "900");
    change("provider.json", "\"image\": {", "\"picture\": {");
    fs_err::remove_file(directory.join("acme/nuke.json")).unwrap();
    let (code, report) = validate("acme", &directory);
    assert_eq!(code, Some(2));
    let failed = names(&report, "failed");
    for check in ["variables", "outputs", "tags", "user-data", "sweep manifest"] {
        assert!(failed.iter().any(|name| name == check), "{check} is not among {failed:?}: {report:#}");
    }
    change("provider.json", "900", "16384");
    let (_, report) = validate("acme", &directory);
    assert!(names(&report, "failed").contains(&"user-data values".to_owned()), "{report:#}");
}

#[test]
fn a_plan_is_rendered_for_a_look() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("run.json");
    let text = json!({
        "runs_per_instance_type": 3,
        "task_runners": { "mode": "image", "image": "registry.example.com/bench:1" },
        "providers": { "here": { "backend": "loopback", "directory": "/tmp/hosts" } },
        "here": [{ "instance_type": "double", "alias": "two" }],
        "local": [{ "instance_type": "process", "alias": "this" }],
    });
    fs_err::write(&config, text.to_string()).unwrap();
    let look = root.path().join("look");
    let (config, target) = (config.display().to_string(), look.display().to_string());
    let fixtures = fixtures().display().to_string();
    let output =
        bench(&["plan", &config, "--render", &target, "--infrastructure", &fixtures, "--output", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answer(&output)["totals"]["tasks"], 6);
    let folders: Vec<_> = fs_err::read_dir(&look).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(folders, ["here"]);
    let mut files: Vec<_> = fs_err::read_dir(look.join("here"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["main.tf", "outputs.tf", "terraform.tfvars.json", "user-data.tftpl", "variables.tf"]);
    let values: Value =
        serde_json::from_str(&fs_err::read_to_string(look.join("here/terraform.tfvars.json")).unwrap())
            .unwrap();
    assert_eq!(values["vcpu_count"], json!({ "two": 2 }));
    assert_eq!(values["instance_count"], json!({ "two": 2 }));
    assert_eq!(values["directory"], "/tmp/hosts");
    assert!(values.get("runner").is_none(), "a variable that the module does not declare is not set");
}

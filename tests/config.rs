//! What users see of `bench config`: every mistake in one go, and the schemas that are checked in.

mod common;

use std::path::Path;

use common::{Sandbox, repository};
use serde_json::Value;

/// Checks a file outside of the folder, which must stay empty, and returns what people see.
fn check(bench: &Sandbox, path: &Path) -> String {
    let (code, stdout, stderr) = bench.said(&["config", "check", path.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    let left: Vec<_> = fs_err::read_dir(bench.path()).unwrap().collect();
    assert!(left.is_empty(), "bench left {left:?} behind");
    // Adding a backend must not change these texts.
    let shown = stderr.replace(path.to_str().unwrap(), "FILE");
    shown.replace(&backends(bench), "BACKENDS")
}

/// The names of all backends as messages list them.
fn backends(bench: &Sandbox) -> String {
    let (_, list) = bench.json(&["provider", "list"]);
    let names = list["backends"].as_array().unwrap().iter().filter(|b| b["role"] == "task_runners");
    names.map(|b| format!("`{}`", b["name"].as_str().unwrap())).collect::<Vec<_>>().join(", ")
}

/// Checks bytes as a file.
fn check_bytes(bench: &Sandbox, bytes: &[u8]) -> String {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("run.json");
    fs_err::write(&path, bytes).unwrap();
    check(bench, &path)
}

#[test]
fn every_class_of_mistake_is_named_in_one_go() {
    insta::assert_snapshot!(check(&Sandbox::new(), &repository("tests/config/every-mistake.json")));
}

#[test]
fn mistakes_are_one_json_value_where_json_is_asked_for() {
    let path = repository("tests/config/every-mistake.json");
    let bench = Sandbox::new();
    let (code, stdout, stderr) = bench.said(&["config", "check", path.to_str().unwrap(), "--output", "json"]);
    assert_eq!((code, stderr.as_str()), (2, ""));
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["valid"], false);
    let vcpu = value["mistakes"].as_array().unwrap().iter().find(|m| m["path"] == "$.aws[0].vcpu").unwrap();
    assert_eq!((&vcpu["line"], &vcpu["column"]), (&Value::from(25), &Value::from(62)));
    assert_eq!(vcpu["value"], "\"four\"");
    assert_eq!(vcpu["expected"], "an integer from 1 to 1,024");
}

#[test]
fn a_plan_of_a_broken_config_names_the_same_mistakes() {
    let path = repository("tests/config/every-mistake.json");
    let bench = Sandbox::new();
    let (code, _, plan) = bench.said(&["plan", path.to_str().unwrap()]);
    let (_, _, check) = bench.said(&["config", "check", path.to_str().unwrap()]);
    assert_eq!((code, plan), (2, check));
}

#[test]
fn keys_that_stand_twice_are_named_beside_other_mistakes() {
    let text = br#"{
  "local": [{ "instance_type": "process", "alias": "a", "alias": "b", "vcpu": 1e999 }],
  "local": [],
  "limits": { "ttl_minutes": 1 }
}"#;
    insta::assert_snapshot!(check_bytes(&Sandbox::new(), text));
}

#[test]
fn combinations_that_do_not_go_together_are_named() {
    let text = br#"{
  "workload": { "builtin": "cpu", "setup": ["make"], "repetitions": 3,
                "output": { "format": "bmf", "pattern": "x" } },
  "task_runners": { "mode": "build" },
  "local": [{ "instance_type": "process", "alias": "a" }]
}"#;
    insta::assert_snapshot!(check_bytes(&Sandbox::new(), text));
    let text = br#"{
  "workload": { "command": [""], "output": { "format": "regex", "pattern": "([0-9]+)" } },
  "local": [{ "instance_type": "process", "alias": "a" }]
}"#;
    insta::assert_snapshot!(check_bytes(&Sandbox::new(), text));
}

#[test]
fn files_that_are_no_config_are_refused_with_a_reason() {
    let bench = Sandbox::new();
    let mut seen = Vec::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(&str, &[u8]); 12] = [
        ("empty", b""),
        ("only a byte order mark and space", b"\xef\xbb\xbf \n"),
        ("comment", b"{\n  // no\n}"),
        ("trailing comma", b"{ \"local\": [], }"),
        ("single quotes", b"{ 'local': [] }"),
        ("cut off", b"{ \"local\": ["),
        ("two values", b"{} {}"),
        ("control character", b"{ \"a\": \"x\ty\" }"),
        ("list", b"[]"),
        ("no instance types", b"{ \"runs_per_instance_type\": 1 }"),
        ("not UTF-8", b"{\n \"a\": \"\xc3\x28\" }"),
        ("depth bomb", deep.as_bytes()),
    ];
    for (name, bytes) in cases {
        seen.push(format!("{name}: {}", check_bytes(&bench, bytes)));
    }
    insta::assert_snapshot!(seen.concat());
}

#[test]
fn large_files_directories_and_missing_files_are_refused_with_a_reason() {
    let bench = Sandbox::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let large = elsewhere.path().join("large.json");
    fs_err::File::create(&large).unwrap().set_len(50_000_000).unwrap();
    insta::assert_snapshot!(check(&bench, &large), @r"
    error: the config has a mistake
      FILE: the file has 47.7 MiB, the limit is 8 MiB
    ");
    insta::assert_snapshot!(check(&bench, elsewhere.path()), @r"
    error: the config has a mistake
      FILE: this is a directory, expected a JSON file
    ");
    let missing = check(&bench, &elsewhere.path().join("missing.json"));
    assert!(
        missing.starts_with("error: the config has a mistake\n  FILE: there is no such file\n"),
        "{missing}"
    );
    assert!(missing.contains("cause: failed to open file"), "{missing}");
}

#[test]
fn a_file_full_of_mistakes_is_answered_within_bounds() {
    let entries: Vec<String> = (0..20_000).map(|i| format!(r#""x{i}": {i}"#)).collect();
    let said = check_bytes(&Sandbox::new(), format!("{{{}}}", entries.join(",")).as_bytes());
    assert!(said.starts_with("error: the config has 20000 mistakes\n"), "{}", &said[..200]);
    assert!(said.trim_end().ends_with("… and 19000 more"));
}

/// Every config that is shipped, as a path in the repository.
fn examples() -> Vec<String> {
    let files = fs_err::read_dir(repository("config")).unwrap().map(|file| file.unwrap().file_name());
    let names = files.map(|name| format!("config/{}", name.into_string().unwrap()));
    let mut examples: Vec<String> = names.filter(|name| !name.ends_with(".schema.json")).collect();
    examples.sort();
    assert!(examples.len() >= 4, "{examples:?}");
    examples
}

#[test]
fn the_shipped_configs_have_no_mistakes_and_refer_to_the_schema() {
    let bench = Sandbox::new();
    for name in &examples() {
        let path = repository(name);
        let (code, stdout, stderr) = bench.said(&["config", "check", path.to_str().unwrap()]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        assert!(stdout.contains("no mistakes"), "{stdout}");
        let config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(config["$schema"], "./run.schema.json", "{name}");
    }
}

#[test]
fn the_checked_in_schemas_are_what_the_types_say() {
    let bench = Sandbox::new();
    let schemas: [(&str, &[&str]); 3] = [
        ("config/run.schema.json", &["config", "schema"]),
        ("config/provider.schema.json", &["config", "schema", "--provider"]),
        ("config/nuke.schema.json", &["config", "schema", "--nuke"]),
    ];
    for (file, arguments) in schemas {
        let (code, printed, _) = bench.said(arguments);
        assert_eq!(code, 0);
        assert!(
            printed == fs_err::read_to_string(repository(file)).unwrap(),
            "{file} differs from the types: cargo run -- {} > {file}",
            arguments.join(" ")
        );
        let schema: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(&schema), "{file} is not a valid schema");
    }
}

#[test]
fn the_schema_alone_accepts_the_shipped_configs_with_their_comments() {
    let schema: Value =
        serde_json::from_slice(&fs_err::read(repository("config/run.schema.json")).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in &examples() {
        let mut config: Value = serde_json::from_slice(&fs_err::read(repository(name)).unwrap()).unwrap();
        assert!(validator.is_valid(&config), "{name}");
        config["runs_per_instance_type"] = Value::from(0);
        assert!(!validator.is_valid(&config), "{name} with 0 runs");
    }
}

//! What users see of `bench plan` and `bench provider`.

mod common;

use common::{Sandbox, repository};
use serde_json::{Value, json};

fn plan_json(bench: &Sandbox, config: &str) -> Value {
    let (code, plan) = bench.json(&["plan", config]);
    assert_eq!(code, 0, "{plan:#}");
    plan
}

/// Clouds only, so that the plan is the same on every machine.
fn clouds() -> Value {
    json!({
        "runs_per_instance_type": 7,
        "task_runners": { "count": 2, "image": "registry/bench:1" },
        "limits": { "ttl_minutes": 90 },
        "providers": { "aws-eu": { "backend": "aws", "region": "eu-west-1" } },
        "aws": [
            { "instance_type": "c8g.medium", "alias": "c8g", "price_usd_per_h": 0.04 },
            { "instance_type": "c7i.4xlarge", "alias": "c7i" },
            { "instance_type": "t3.nano", "alias": "t3", "spot": true, "max_price_usd_per_h": 0.01 }
        ],
        "aws-eu": [{ "instance_type": "x99g.huge", "alias": "own", "vcpu": 3, "arch": "arm64" }],
        "azure": [{ "instance_type": "Standard_D2ps_v6", "alias": "d2ps" }]
    })
}

#[test]
fn a_plan_reads_as_a_table_for_each_provider_instance_and_totals() {
    let bench = Sandbox::new();
    let config = bench.json_file("run.json", &clouds());
    let (code, stdout, stderr) = bench.said(&["plan", &config]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!(stdout);
    assert_eq!(fs_err::read_dir(bench.path()).unwrap().count(), 1, "a plan made a file");
}

#[test]
fn the_json_plan_holds_the_maps_by_alias() {
    let bench = Sandbox::new();
    let plan = plan_json(&bench, &bench.json_file("run.json", &clouds()));
    assert_eq!(plan["vcpu_count"], json!({ "c8g": 1, "c7i": 2, "t3": 2, "own": 2, "d2ps": 2 }));
    assert_eq!(plan["instance_count"], json!({ "c8g": 7, "c7i": 4, "t3": 4, "own": 4, "d2ps": 4 }));
    assert_eq!(plan["providers"][1]["name"], "aws-eu");
    assert_eq!(plan["providers"][1]["settings"]["region"], "eu-west-1");
    assert_eq!(plan["providers"][1]["instance_count"], json!({ "own": 4 }));
    assert_eq!(plan["totals"]["tasks"], 35);
    assert_eq!(plan["totals"]["hosts"], 23);
}

#[test]
fn the_local_plan_has_one_host_and_no_more_slots_than_cpus() {
    let plan = plan_json(&Sandbox::new(), repository("config/local.json").to_str().unwrap());
    let row = &plan["providers"][0]["instance_types"][0];
    let cpus = row["vcpu"].as_u64().unwrap();
    let slots = cpus.min(2);
    assert_eq!(row["effective_vcpu"], slots);
    assert_eq!(plan["instance_count"]["this-machine"], 6_u64.div_ceil(slots));
    assert_eq!(plan["totals"]["hosts"], 1);
    assert_eq!(plan["totals"]["tasks"], 6);
    assert_eq!(plan["cost"]["worst_case_usd"], 0.0);
}

#[test]
fn the_shipped_example_can_be_planned() {
    let plan = plan_json(&Sandbox::new(), repository("config/example.json").to_str().unwrap());
    let names: Vec<&str> =
        plan["providers"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["aws", "aws-eu", "azure", "local"]);
}

#[test]
fn the_shipped_configs_of_clouds_stay_under_their_cost_limit() {
    for (file, name, hosts) in [("aws", "aws", 4), ("azure", "azure-west", 4), ("gcp", "gcp", 4)] {
        let text = fs_err::read(repository(&format!("config/{file}.json"))).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        // The mode `binary` takes the program of this machine, which may be of another architecture.
        config["task_runners"] = json!({ "mode": "image", "image": "registry.example.com/bench:1" });
        let bench = Sandbox::new();
        let plan = plan_json(&bench, &bench.json_file("run.json", &config));
        assert_eq!(plan["providers"][0]["name"], name);
        assert_eq!(plan["totals"]["hosts"], hosts);
        assert!(plan["cost"]["worst_case_usd"].as_f64().unwrap() <= 2.0, "{plan:#}");
        assert_eq!(plan["cost"]["unpriced"], json!([]), "{plan:#}");
    }
}

#[test]
fn what_nobody_knows_about_a_type_is_an_error_that_names_the_three_ways() {
    let bench = Sandbox::new();
    let config = bench.json_file(
        "run.json",
        &json!({ "aws": [
            { "instance_type": "c7g.mediun", "alias": "typo" },
            { "instance_type": "quantum.large", "alias": "strange" }
        ]}),
    );
    let (code, stdout, stderr) = bench.said(&["plan", &config]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    insta::assert_snapshot!(stderr.replace(&config, "FILE"));
    let (code, _, check) = bench.said(&["config", "check", &config]);
    assert_eq!((code, check), (2, stderr));
    let (code, stdout, _) = bench.said(&["config", "check", &config, "--output", "json"]);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &value["valid"]), (2, &json!(false)));
    assert_eq!(value["mistakes"][0]["path"], "$.aws[0].instance_type");
    assert_eq!(value["mistakes"][0]["nearest"], "c7g.medium");
}

#[test]
fn more_vcpus_than_the_machine_has_are_an_error() {
    let bench = Sandbox::new();
    let config = json!({ "local": [{ "instance_type": "process", "alias": "a", "vcpu": 1024 }] });
    let (code, _, stderr) = bench.said(&["plan", &bench.json_file("run.json", &config)]);
    assert_eq!(code, 2);
    assert!(stderr.contains("`vcpu` of alias `a` of `local` is 1024, but bench may use"), "{stderr}");
}

#[test]
fn a_plan_over_the_cost_limit_is_shown_with_a_warning() {
    let bench = Sandbox::new();
    let mut config = clouds();
    config["limits"]["max_cost_usd"] = json!(0.1);
    let (code, stdout, stderr) = bench.said(&["plan", &bench.json_file("run.json", &config)]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("aws:"), "{stdout}");
    insta::assert_snapshot!(stderr, @"warning: `bench run` will refuse this: the plan costs up to 0.48 USD (0.32 USD an hour until hosts end themselves after 90 minutes), `limits.max_cost_usd` is 0.10");
}

#[test]
fn a_missing_program_for_an_architecture_is_named_before_anything_is_made() {
    let bench = Sandbox::new();
    let mut config = clouds();
    config["task_runners"] = json!({ "mode": "binary" });
    let (code, _, stderr) = bench.said(&["plan", &bench.json_file("run.json", &config)]);
    let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "arm64" };
    assert_eq!(code, 2);
    assert!(stderr.contains(&format!("no task runner program for {other} (needed by `")), "{stderr}");
    let binary = json!({ "path": "bench", "sha256": "0".repeat(64) });
    config["task_runners"]["binaries"] = json!({ "arm64": binary, "x86_64": binary });
    assert_eq!(plan_json(&bench, &bench.json_file("run.json", &config))["runner_source"]["mode"], "binary");
}

fn toy() -> Value {
    json!({
        "name": "toy", "description": "A toy cloud", "phase": "pre_orchestrator", "driver": "terraform",
        "orchestrator": "any", "instance_types": { "catalog": "types.json" },
        "settings": { "size": { "type": "integer", "description": "How large" } }
    })
}

#[test]
fn a_backend_on_disk_joins_by_option_and_by_variable() {
    let bench = Sandbox::new();
    bench.json_file("clouds/toy/provider.json", &toy());
    let types =
        json!({ "instance_types": { "t1": { "vcpu": 4, "arch": "x86_64", "price_usd_per_h": 0.5 } } });
    bench.json_file("clouds/toy/types.json", &types);
    let config = json!({
        "runs_per_instance_type": 5, "task_runners": { "image": "i" },
        "providers": { "toy": { "size": 3 } }, "toy": [{ "instance_type": "t1", "alias": "t" }]
    });
    let config = bench.json_file("run.json", &config);
    let (code, stdout, _) = bench.said(&["plan", &config, "--infrastructure", "clouds", "--output", "json"]);
    assert_eq!(code, 0, "{stdout}");
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&plan["vcpu_count"], &plan["cost"]["hourly_usd"]), (&json!({ "t": 4 }), &json!(1.0)));
    assert_eq!(plan["providers"][0]["settings"], json!({ "size": 3 }));
    let listed = bench.bench(&["provider", "list"]).env("BENCH_PROVIDER_PATH", "clouds").output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("A toy cloud"), "{}", common::describe(&listed));
    let (code, _, stderr) = bench.said(&["plan", &config]);
    assert_eq!(code, 2);
    assert!(stderr.contains("$.providers.toy: the key `backend` is missing"), "{stderr}");
}

#[test]
fn a_setting_without_default_is_required() {
    let bench = Sandbox::new();
    bench.json_file("clouds/toy/provider.json", &toy());
    bench.json_file("clouds/toy/types.json", &json!({ "instance_types": {} }));
    let config = json!({
        "providers": { "mine": { "backend": "toy" } },
        "toy": [{ "instance_type": "t1", "alias": "a", "vcpu": 1, "arch": "arm64" }],
        "mine": [{ "instance_type": "t1", "alias": "b", "vcpu": 1, "arch": "arm64" }]
    });
    let (code, _, stderr) =
        bench.said(&["plan", &bench.json_file("run.json", &config), "--infrastructure", "clouds"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("$.providers.mine: the key `size` is missing, expected an integer"), "{stderr}");
    assert!(stderr.contains("$.toy: the backend `toy` needs the setting `size`"), "{stderr}");
}

#[test]
fn backends_are_listed_and_shown() {
    let bench = Sandbox::new();
    let (code, stdout, _) = bench.said(&["provider", "list", "--output", "json"]);
    assert_eq!(code, 0);
    let list: Value = serde_json::from_str(&stdout).unwrap();
    let local = list["backends"].as_array().unwrap().iter().find(|b| b["name"] == "local").unwrap();
    assert_eq!((&local["driver"], &local["source"]), (&json!("local"), &json!("built in")));
    let (code, stdout, _) = bench.said(&["provider", "list"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("local  local"), "{stdout}");
    let (code, stdout, _) = bench.said(&["provider", "show", "local"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout);
    let (code, _, stderr) = bench.said(&["provider", "show", "locla"]);
    assert_eq!(code, 2);
    let wanted = "error: there is no provider backend `locla`\nhint: did you mean `local`?\n";
    assert!(stderr.starts_with(wanted), "{stderr}");
}

//! Runs in which nothing goes wrong.

use serde_json::{Value, json};

use crate::cloud::{Boots, Cloud, OWNER};
use crate::tools::Tools;

pub fn two_regions_and_this_machine_measure_side_by_side_and_leave_nothing(tools: &'static Tools) {
    let mut cloud = Cloud::new(tools, &Boots::default());
    let orchestrator = cloud.orchestrator();
    let config =
        cloud.config(&json!({ "workload": { "name": "true", "command": ["true"], "repetitions": 3 } }));
    let run = cloud.run(&config, &orchestrator, &[]);
    assert_eq!(run.code, 0, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 6, "completed": 6, "failed": 0 }));
    assert_eq!(run.value["leftovers"], json!([]));
    cloud.assert_booted(&[(0, 0), (1, 1)]);

    // Each task was done by a host that Terraform made for its provider instance.
    let results = cloud.results(&run.value);
    let tasks = results["tasks"].as_array().expect("a list");
    assert_eq!(tasks.len(), 6);
    for task in tasks {
        let hosts = run.provider(task["provider"].as_str().unwrap())["hosts"].as_array().unwrap();
        let host = &task["metadata"]["host"];
        assert!(hosts.iter().any(|known| known["id"] == *host), "{host} is none of {hosts:?}");
    }
    // Hosts sent their results to the bucket themselves.
    let uploads = |call: &&Value| {
        let path = call["path"].as_str().unwrap();
        call["method"] == "PUT" && call["status"] == 200 && path.starts_with("/results/of/bench/runs/")
    };
    assert_eq!(cloud.calls().iter().filter(uploads).count(), 6);
    let (code, table, _) = cloud.sandbox.said(&["results", run.value["run_id"].as_str().unwrap()]);
    assert!(code == 0 && ["c7", "m7", "here"].iter().all(|alias| table.contains(alias)), "{table}");
    cloud.assert_nothing_is_left();
}

pub fn an_orchestrator_that_the_run_makes_in_the_cloud_serves_it_until_nuke_ends_it(tools: &'static Tools) {
    let cloud = Cloud::new(tools, &Boots::default());
    let run = cloud.run(&cloud.config(&json!({})), &[], &["--mock"]);
    assert_eq!(run.code, 0, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 6, "completed": 6, "failed": 0 }));
    assert_eq!(run.value["leftovers"], json!([]));
    // An elastic address of the emulated cloud: the machine that booted behind it answered on it.
    let url = run.value["orchestrator_url"].as_str().unwrap();
    assert!(url.starts_with("https://127.") && !url.contains("127.0.0.1"), "{url}");
    assert_eq!(cloud.booted().len(), 3, "two hosts and the orchestrator: {:?}", cloud.booted());
    let uploads = |call: &&Value| {
        let path = call["path"].as_str().unwrap();
        call["method"] == "PUT" && call["status"] == 200 && path.contains("/orchestrator/results/runs/")
    };
    assert_eq!(cloud.calls().iter().filter(uploads).count(), 6);

    let nuke = cloud.bench(&["nuke", "--run-id", &format!("meta-{OWNER}"), "--yes"]);
    assert_eq!(nuke.code, 0, "{:#}{}", nuke.value, cloud.logs());
    cloud.assert_nothing_is_left();
}

//! Runs in which nothing goes wrong.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cloud::{Boots, Cloud, OWNER, REGIONS, TYPES};
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

pub fn an_orchestrator_that_is_idle_ends_itself_but_not_under_a_run(tools: &'static Tools) {
    const IDLE: Duration = Duration::from_secs(60);
    let cloud = Cloud::new(tools, &Boots::default());
    // Twice the idle time, so that it would have come during the run.
    let config = cloud.sandbox.json_file(
        "idle.json",
        &json!({
            "runs_per_instance_type": 1,
            "task_runners": { "mode": "binary", "count": 1 },
            "workload": { "name": "long", "command": ["sleep", "125"], "warmup": 0, "repetitions": 1 },
            "providers": { "meta": { "idle_minutes": IDLE.as_secs() / 60 } },
            "aws": [{ "instance_type": TYPES[0], "alias": "c7" }],
        }),
    );
    let run = cloud.run(&config, &[], &[]);
    assert_eq!(run.code, 0, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 1, "completed": 1, "failed": 0 }));
    let machine = orchestrators(&cloud).pop().expect("the orchestrator's machine");
    let calls = |name: &str| {
        let text = std::fs::read_to_string(machine.join("root/var/log/calls")).unwrap();
        text.lines().filter(|line| *line == name).count()
    };
    // Once from the boot, then from each look of the guard.
    assert!(calls("shutdown -P +31") >= 3, "the guard did not look: {}", cloud.logs());
    assert_eq!(calls("systemctl poweroff"), 0, "it went under the run: {}", cloud.logs());

    // Nobody but itself ends it: no master runs, nothing else was told to.
    let instances = || cloud.inventory().expect("moto answers")[REGIONS[0]]["instance"].clone();
    let deadline = Instant::now() + 4 * IDLE;
    while instances() != Value::Null {
        assert!(Instant::now() < deadline, "{} is still there: {}", instances(), cloud.logs());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(calls("systemctl poweroff"), 1);
    let changed =
        |file: &str| std::fs::metadata(machine.join("root").join(file)).unwrap().modified().unwrap();
    let idle = changed("var/log/calls").duration_since(changed("opt/bench/busy")).unwrap();
    assert!(idle >= IDLE - Duration::from_secs(1), "it ended after {idle:?}");

    // The next run makes it anew, behind the same address.
    let again = cloud.run(&config, &[], &["--mock"]);
    assert_eq!(again.code, 0, "{:#}{}", again.value, cloud.logs());
    assert_eq!(again.value["orchestrator_url"], run.value["orchestrator_url"]);
    assert_eq!(orchestrators(&cloud).len(), 2);
    let nuke = cloud.bench(&["nuke", "--run-id", &format!("meta-{OWNER}"), "--yes"]);
    assert_eq!(nuke.code, 0, "{:#}{}", nuke.value, cloud.logs());
    cloud.assert_nothing_is_left();
}

/// Folders of machines that served runs.
fn orchestrators(cloud: &Cloud) -> Vec<PathBuf> {
    let machines = std::fs::read_dir(cloud.path("machines")).unwrap().map(|entry| entry.unwrap().path());
    machines
        .filter(|machine| machine.join("etc/systemd/system/bench-orchestrator.service").exists())
        .collect()
}

//! A cloud that refuses, hangs or slows down: the others finish, the summary is true, nothing is left.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cloud::{Boots, Cloud, TYPES};
use crate::tools::Tools;

pub fn a_region_that_refuses_half_way_sinks_no_other_and_its_first_host_does_the_tasks(
    tools: &'static Tools,
) {
    let mut cloud = Cloud::new(tools, &Boots::default());
    let orchestrator = cloud.orchestrator();
    cloud.fault(&json!({
        "action": "RunInstances", "region": "us-west-2", "skip": 1,
        "status": 400, "code": "VcpuLimitExceeded", "message": "You have requested more vCPU capacity",
    }));
    let one_runner = json!({ "task_runners": { "mode": "binary", "count": 1 } });
    let run = cloud.run(&cloud.config(&one_runner), &orchestrator, &["--mock"]);
    assert_eq!(run.code, 3, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 6, "completed": 6, "failed": 0 }), "{}", cloud.logs());
    let west = run.provider("west");
    assert_eq!((&west["status"], &west["instances"]), (&json!("failed"), &json!(1)), "{west:#}");
    let error = west["error"].as_str().unwrap();
    assert!(error.contains("VcpuLimitExceeded") && error.contains("raise the quota"), "{error}");
    for name in ["aws", "near"] {
        assert_eq!(run.provider(name)["status"], "done");
    }
    cloud.assert_booted(&[(0, 0), (0, 0), (1, 1)]);
    assert_eq!(run.value["leftovers"], json!([]));
    cloud.assert_nothing_is_left();
}

pub fn hosts_that_hang_are_named_with_their_stage_replaced_once_and_given_up(tools: &'static Tools) {
    let stall = [format!("{}=binary", TYPES[1]), format!("{}=never", TYPES[2])];
    let boots = Boots { stall: &stall, ..Boots::default() };
    let mut cloud = Cloud::new(tools, &boots);
    let orchestrator = cloud.orchestrator();
    let changes = json!({
        "limits": { "boot_timeout_minutes": 0.6 },
        "aws": [
            { "instance_type": TYPES[0], "alias": "c7" }, { "instance_type": TYPES[2], "alias": "silent" },
        ],
    });
    let run = cloud.run(&cloud.config(&changes), &orchestrator, &["--mock"]);
    assert_eq!(run.code, 3, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 8, "completed": 4, "failed": 4 }), "{}", cloud.logs());
    let expected = [
        ("west", "(m7-0) did not come up, last heard at stage runner"),
        ("aws", "(silent-0) did not come up, never heard of"),
    ];
    for (name, what) in expected {
        let error = run.provider(name)["error"].as_str().unwrap_or_default();
        assert!(error.contains(what), "{name}: {error}");
        assert!(run.told.contains(what), "nobody was told while it ran: {}", run.told);
    }
    assert_eq!(run.provider("near")["status"], "done");
    cloud.assert_booted(&[(0, 0), (0, 2), (0, 2), (1, 1), (1, 1)]);
    assert_eq!(reasons(&cloud.results(&run.value)), ["no_hosts"; 4]);
    assert_eq!(run.value["leftovers"], json!([]));
    cloud.assert_nothing_is_left();
}

pub fn an_api_that_refuses_three_calls_of_ten_only_takes_longer(tools: &'static Tools) {
    let mut cloud = Cloud::new(tools, &Boots { docker: true, ..Boots::default() });
    let orchestrator = cloud.orchestrator();
    cloud.fault(&json!({
        "service": "ec2", "probability": 0.3, "status": 503, "code": "RequestLimitExceeded",
        "message": "Request limit exceeded.",
    }));
    let image = json!({ "task_runners": { "mode": "image", "image": "registry/bench:1", "count": 2 } });
    let run = cloud.run(&cloud.config(&image), &orchestrator, &["--mock"]);
    assert_eq!(run.code, 0, "{:#}{}", run.value, cloud.logs());
    assert_eq!(run.value["tasks"], json!({ "total": 6, "completed": 6, "failed": 0 }));
    assert!(cloud.hits() > 30, "the fault struck {} times", cloud.hits());
    assert_eq!(run.value["leftovers"], json!([]));
    cloud.assert_nothing_is_left();
}

pub fn a_region_without_capacity_is_given_up_in_bounded_time(tools: &'static Tools) {
    let mut cloud = Cloud::new(tools, &Boots::default());
    let orchestrator = cloud.orchestrator();
    cloud.fault(&json!({
        "action": "RunInstances", "region": "us-west-2", "status": 500,
        "code": "InsufficientInstanceCapacity", "message": "We currently do not have sufficient capacity",
    }));
    let run = cloud.run(&cloud.config(&json!({})), &orchestrator, &["--mock"]);
    assert_eq!(run.code, 3, "{:#}{}", run.value, cloud.logs());
    assert!(run.took < Duration::from_secs(480), "it took {:?}", run.took);
    assert_eq!(run.value["tasks"], json!({ "total": 6, "completed": 4, "failed": 2 }), "{}", cloud.logs());
    assert_eq!(reasons(&cloud.results(&run.value)), ["no_hosts"; 2]);
    let error = run.provider("west")["error"].as_str().unwrap_or_default();
    assert!(error.contains("InsufficientInstanceCapacity"), "{error}");
    assert!(error.contains("try another availability zone, region or instance type"), "{error}");
    cloud.assert_booted(&[(0, 0)]);
    assert_eq!(run.value["leftovers"], json!([]));
    cloud.assert_nothing_is_left();
}

/// Why tasks did not complete.
fn reasons(results: &Value) -> Vec<String> {
    let tasks = results["tasks"].as_array().expect("a list");
    tasks.iter().filter_map(|task| Some(task["reason"].as_str()?.to_owned())).collect()
}

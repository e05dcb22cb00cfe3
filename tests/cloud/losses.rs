//! What Terraform does not know: a listing by tag finds it, and the exit code tells.

use nix::sys::signal::Signal;
use serde_json::json;

use super::common::{describe, processes_with, read_json, signal, wait_for};
use super::place::{Cloud, terraform_is_there};

/// A run whose hosts are all there; neither its tasks nor its Terraform end before the gate opens.
fn run_up_to_the_gate(cloud: &Cloud) -> std::process::Child {
    let gate = cloud.path("gate");
    let at_the_gate = format!("while [ ! -e '{}' ]; do sleep 0.05; done", gate.display());
    let workload = json!({ "workload": { "name": "gate", "command": ["sh", "-c", at_the_gate] } });
    let gate = json!({ "gate": gate });
    let config = cloud.config(gate.clone(), gate, workload);
    let master = cloud.spawn(&["run", &config, "--run-id", &cloud.run]);
    cloud.wait_for_all_hosts();
    master
}

/// Ends master, supervisors, Terraform and hosts as a machine that loses its power.
fn kill_all(cloud: &Cloud, master: &mut std::process::Child) {
    master.kill().unwrap();
    master.wait().unwrap();
    // Otherwise they would do their tasks as soon as the gate opens.
    cloud.end_hosts();
    let folder = cloud.folder().display().to_string();
    let supervisors = processes_with(&format!("supervise {folder}"));
    assert_eq!(supervisors.len(), 2, "one for each provider instance");
    supervisors.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
    for name in ["one", "two"] {
        let text = std::fs::read_to_string(cloud.folder().join("providers").join(name).join("logs/process"));
        let stat = text.unwrap().lines().nth(1).unwrap().to_owned();
        let pid: u32 = stat.split(' ').next().unwrap().parse().unwrap();
        signal(pid, Signal::SIGKILL);
        wait_for("the end of Terraform", || {
            (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
}

#[test]
fn a_terraform_killed_with_its_master_loses_nothing_and_a_resumed_run_makes_its_hosts_again() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let mut master = run_up_to_the_gate(&cloud);
    kill_all(&cloud, &mut master);
    std::fs::write(cloud.path("gate"), "").unwrap();
    let (code, summary) = cloud.json(&["run", "--resume", &cloud.run]);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["tasks"]["completed"], 4);
    for name in ["one", "two"] {
        let job = read_json(&cloud.folder().join("providers").join(name).join("logs/job.json"));
        assert_eq!(job["number"], 3, "two applies, one destroy");
    }
    cloud.assert_nothing_is_left();
}

#[test]
fn what_a_good_destroy_did_not_know_is_found_by_its_tags() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let gate = json!({ "gate": cloud.path("gate") });
    let config = cloud.config(gate, json!({}), json!({}));
    let master = cloud.spawn(&["run", &config, "--mock", "--run-id", &cloud.run, "--output", "json"]);
    cloud.wait_for_host();
    let tags = |owner: &str| {
        json!({ "bench_managed": "true", "bench_owner": owner, "bench_run_id": cloud.run, "bench_provider": "one",
                "bench_backend": "loopback" })
    };
    let hosts = cloud.hosts();
    let known =
        read_json(&hosts.iter().find(|host| host.join("host.json").exists()).unwrap().join("host.json"));
    let owner = known["tags"]["bench_owner"].as_str().unwrap();
    let beside = |name: &str, owner: &str| {
        let about = json!({ "id": name, "state_id": "none", "tags": tags(owner) });
        cloud.sandbox.json_file(&format!("hosts/{}/one/{name}/host.json", cloud.run), &about);
        cloud.sandbox.file(&format!("hosts/{}/one/{name}/pids", cloud.run), "")
    };
    let (lost, foreign) = (beside("lost", owner), beside("foreign", "somebody"));
    std::fs::write(cloud.path("gate"), "").unwrap();
    let output = super::common::finish(master);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    assert!(!lost.exists(), "it carried our tags");
    assert!(foreign.exists(), "it was somebody else's");
}

#[test]
fn stopping_a_run_whose_master_is_dead_says_that_its_hosts_are_still_there() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let config = cloud.config(
        json!({}),
        json!({}),
        json!({ "workload": { "name": "s", "command": ["sleep", "600"] } }),
    );
    let mut master = cloud.spawn(&["run", &config, "--run-id", &cloud.run]);
    cloud.wait_for_all_hosts();
    let (code, living) = cloud.sandbox.json(&["status", &cloud.run]);
    assert_eq!(code, 0, "{living:#}");
    master.kill().unwrap();
    master.wait().unwrap();
    let (code, stopped) = cloud.sandbox.json(&["stop", &cloud.run]);
    assert_eq!((code, &stopped["status"]), (4, &json!("cancelled")), "{stopped:#}");
    assert_eq!(stopped["abandoned"], json!(["one", "two"]));
    let (code, said, _) = cloud.sandbox.said(&["stop", &cloud.run]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains(&format!("bench nuke --run-id {}", cloud.run)), "{said}");
    let (code, report) = cloud.json(&["nuke", "--run-id", &cloud.run, "--yes"]);
    assert_eq!(code, 0, "{report:#}");
    cloud.assert_nothing_is_left();
    let (code, stopped) = cloud.sandbox.json(&["stop", &cloud.run]);
    assert_eq!((code, stopped.get("abandoned")), (0, None), "{stopped:#}");
}

#[test]
fn hosts_of_a_run_whose_terraform_folder_was_removed_are_found_by_their_tags() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let mut master = run_up_to_the_gate(&cloud);
    kill_all(&cloud, &mut master);
    let (code, stopped) = cloud.sandbox.json(&["stop", &cloud.run]);
    assert_eq!((code, &stopped["status"]), (4, &json!("cancelled")), "{stopped:#}");
    std::fs::remove_dir_all(cloud.folder().join("providers")).unwrap();
    let (code, summary) = cloud.json(&["run", "--resume", &cloud.run]);
    assert_eq!((code, &summary["leftovers"]), (1, &json!([])), "{summary:#}");
    cloud.assert_nothing_is_left();
    let (code, _) = cloud.sandbox.json(&["stop", &cloud.run]);
    assert_eq!(code, 0, "nothing is there any more");
}

#[test]
fn nuke_stops_a_terraform_that_works_without_a_master_before_it_deletes() {
    if !terraform_is_there() {
        return;
    }
    let cloud = Cloud::new();
    let mut master = run_up_to_the_gate(&cloud);
    master.kill().unwrap();
    master.wait().unwrap();
    assert!(!cloud.path("gate").exists(), "the apply cannot end by itself");
    let arguments = cloud.arguments(&["nuke", "--run-id", &cloud.run, "--yes", "--output", "json"]);
    let output = cloud.sandbox.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    let told = String::from_utf8_lossy(&output.stderr);
    for name in ["one", "two"] {
        let expected = format!("terraform still works on {name} of run {}: it is stopped first", cloud.run);
        assert!(told.contains(&expected), "{told}");
    }
    cloud.assert_nothing_is_left();
}

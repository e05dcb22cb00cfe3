//! User-data of every embedded backend and mode: renders, stays small, is sound shell, and does what it says
//! when it is run.

mod host;
mod variants;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

/// Budget for the script itself, bytes: it fits every cloud's limit, also where gzip is not taken.
const BUDGET: usize = 12 * 1024;

fn templates() -> BTreeMap<String, String> {
    variants::all().iter().map(|variant| (variant.name.clone(), variant.template())).collect()
}

#[expect(clippy::print_stderr, reason = "says why a test was skipped")]
fn skipped(why: &str) {
    assert!(std::env::var_os("BENCH_REQUIRE_TERRAFORM").is_none(), "{why}, and it may not be skipped");
    eprintln!("skipped: {why}");
}

/// All scripts as hosts get them; kept in target/, where the checks of the modules find them.
fn scripts() -> Option<BTreeMap<String, String>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("user-data");
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir_all(&folder).unwrap();
    let filled = variants::fill(&templates(), &variants::values(), &folder)?;
    for (name, script) in &filled {
        fs_err::write(folder.join(format!("{name}.sh")), script).unwrap();
    }
    Some(filled)
}

#[test]
fn every_backend_and_mode_is_sound_shell_and_keeps_to_the_budget() {
    let Some(scripts) = scripts() else { return skipped("terraform is missing") };
    assert!(scripts.len() >= 2 * variants::MODES.len(), "backends are missing: {:?}", scripts.keys());
    for (name, script) in &scripts {
        assert!(script.len() <= BUDGET, "{name} has {} bytes", script.len());
        assert!(!script.contains("{{"), "{name} has handlebars left");
        check("bash", &["-n"], name, script);
        if which::which("shellcheck").is_ok() {
            // SC2016: values stand in single quotes so that nothing in them is expanded.
            check("shellcheck", &["--shell=bash", "--exclude=SC2016", "-"], name, script);
        } else {
            skipped("shellcheck is missing");
        }
    }
}

fn check(program: &str, arguments: &[&str], name: &str, script: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} on {name}: {said}");
}

#[test]
fn the_deadline_is_the_first_thing_a_host_does() {
    for (name, template) in templates() {
        let first = template.lines().find(|line| !line.starts_with('#')).unwrap();
        assert!(first.contains("shutdown -P \"+${ttl_minutes"), "{name} starts with {first}");
    }
}

#[test]
fn only_clouds_that_bill_halted_machines_wait_for_their_own_way_to_end() {
    for variant in variants::all() {
        let own_way = !variant.manifest.user_data.as_ref().unwrap().power_off.is_empty();
        let template = variant.template();
        assert_eq!(template.contains("ttl_minutes + 60"), own_way, "{}", variant.name);
        assert_eq!(template.contains("\n    systemctl poweroff\n"), !own_way, "{}", variant.name);
    }
}

/// Runs the boot for real, against stand-ins for what changes the machine and for the orchestrator.
#[test]
fn a_boot_reports_each_stage_and_starts_one_runner_for_each_slot() {
    let Some(host) = host::Host::boot("aws-binary", &json!({})) else { return };
    assert_eq!(host.stages(), ["boot", "runner", "joined", "ready"]);
    let calls = host.calls();
    assert_eq!(calls[0], "shutdown -P +240", "{calls:#?}");
    let enabled: Vec<_> = calls.iter().filter(|call| call.contains("enable --now bench-runner@")).collect();
    assert_eq!(enabled, ["systemctl enable --now bench-runner@0", "systemctl enable --now bench-runner@1"]);
    let unit = host.file("etc/systemd/system/bench-runner@.service");
    for part in ["--slot %i --slots 2", "--alias c7g", "--provider cloud-eu", "--host i-0123456789abcdef0"] {
        assert!(unit.contains(part), "{part} is missing: {unit}");
    }
    assert!(!unit.contains("rk."), "the key shows in process lists: {unit}");
    assert!(host.file("opt/bench/runner.env").starts_with("BENCH_RUN_KEY=rk."));
    let timer = host.file("etc/systemd/system/bench-ttl.timer");
    assert!(timer.contains("Persistent=true"), "{timer}");
}

#[test]
fn a_wrong_binary_is_refused_and_reported_with_the_end_of_the_log() {
    let wrong = json!({ "binary_sha256": "1".repeat(64) });
    let Some(host) = host::Host::boot("aws-binary", &wrong) else { return };
    assert_eq!(host.stages(), ["boot", "runner", "failed"]);
    let message = host.beat("failed")["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the task runner's binary could not be fetched"), "{message}");
    assert!(message.contains("FAILED"), "the log is missing: {message}");
    let calls = host.calls();
    assert!(!calls.iter().any(|call| call.contains("bench-runner@0")), "{calls:#?}");
    assert_eq!(calls.last().unwrap(), "shutdown -P +15", "a host that cannot work ends soon: {calls:#?}");
}

#[test]
fn a_debug_run_keeps_its_host_and_its_runners() {
    let Some(host) = host::Host::boot("azure-binary", &json!({ "debug": true, "mock": true })) else {
        return;
    };
    let unit = host.file("etc/systemd/system/bench-runner@.service");
    assert!(unit.contains("--mock --debug --no-exit"), "{unit}");
    let calls = host.run(&["left", "0"]).run(&["left", "1"]).calls();
    assert!(!calls.iter().any(|call| call.contains("start --no-block bench-end")), "{calls:#?}");
}

#[test]
fn the_last_runner_takes_the_host_with_it() {
    let Some(host) = host::Host::boot("aws-binary", &json!({})) else { return };
    let ending =
        |calls: Vec<String>| calls.iter().any(|call| call.contains("start --no-block bench-end.service"));
    assert!(!ending(host.run(&["left", "1"]).calls()));
    assert!(!ending(host.run(&["left", "1"]).calls()), "one slot was counted twice");
    assert!(ending(host.run(&["left", "0"]).calls()));
}

#[test]
fn a_host_that_would_be_billed_while_halted_gives_itself_back() {
    let Some(host) = host::Host::boot("azure-binary", &json!({})) else { return };
    host.run_until_poweroff(&["end"]);
    let calls = host.calls();
    let url =
        "management.azure.com/subscriptions/s/resourceGroups/g/providers/P/virtualMachines/v/deallocate?";
    let call = calls.iter().find(|call| call.contains(url)).unwrap_or_else(|| panic!("{calls:#?}"));
    let (arguments, input) = call.split_once(" with ").unwrap();
    assert_eq!(input, "header = \"Authorization: Bearer token-of-the-host\"");
    assert!(!arguments.contains("token-of-the-host"), "the token shows in the process list: {arguments}");
    assert!(!calls.iter().any(|call| call == "systemctl poweroff"), "{calls:#?}");
}

#[test]
fn the_deadline_can_be_moved() {
    let Some(host) = host::Host::boot("aws-image", &json!({})) else { return };
    host.run(&["ttl", "4102444800"]);
    let timer = host.file("etc/systemd/system/bench-ttl.timer");
    assert!(timer.contains("OnCalendar=2100-01-01 00:00:00 UTC"), "{timer}");
}

fn asked_and_gone(host: &host::Host) -> (bool, bool) {
    let calls = host.calls();
    let asked = calls.iter().any(|call| call.contains("/hosts/i-0123456789abcdef0/deadline"));
    (asked, calls.iter().any(|call| call == "systemctl poweroff"))
}

#[test]
fn a_deadline_that_was_moved_is_learned_when_the_old_one_has_come() {
    let Some(host) = host::Host::boot("aws-binary", &json!({})) else { return };
    host.deadline(&json!({ "expires_at": 4_102_444_800_i64 })).run(&["due"]);
    assert_eq!(asked_and_gone(&host), (true, false));
    let timer = host.file("etc/systemd/system/bench-ttl.timer");
    assert!(timer.contains("OnCalendar=2100-01-01 00:00:00 UTC"), "{timer}");
    assert!(timer.contains("Unit=bench-due.service"), "{timer}");
}

#[test]
fn a_deadline_that_was_not_moved_ends_the_host() {
    for said in [Some(json!({ "expires_at": 1_000 })), Some(json!({ "expires_at": null })), None] {
        let Some(host) = host::Host::boot("aws-binary", &json!({})) else { return };
        if let Some(said) = &said {
            host.deadline(said);
        }
        host.run_until_poweroff(&["due"]);
        assert_eq!(asked_and_gone(&host), (true, true), "{said:?}");
    }
}

#[test]
fn a_host_that_cannot_work_ends_whatever_the_deadline() {
    let wrong = json!({ "binary_sha256": "1".repeat(64) });
    let Some(host) = host::Host::boot("aws-binary", &wrong) else { return };
    host.deadline(&json!({ "expires_at": 4_102_444_800_i64 })).run_until_poweroff(&["due"]);
    assert!(asked_and_gone(&host).1);
}

//! A folder with hosts in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::common::{Sandbox, wait_for, wait_until_gone};

/// Processes of hosts are ended by Terraform, which has returned by then.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Whether the tests can run. Says why not.
pub fn terraform_is_there() -> bool {
    match bench::terraform::Terraform::find() {
        Ok(_) => true,
        Err(error) if std::env::var_os("BENCH_REQUIRE_TERRAFORM").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// A folder with hosts in it. When it is dropped, none of their processes is left.
pub struct Cloud {
    pub sandbox: Sandbox,
    /// Its one run; no other test's hosts have it in their arguments.
    pub run: String,
}

impl Cloud {
    pub fn new() -> Cloud {
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        Cloud { sandbox: Sandbox::new(), run: format!("c{}", unique % 1_000_000_000_000) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    pub fn folder(&self) -> PathBuf {
        self.path(".bench/runs").join(&self.run)
    }

    pub fn results(&self) -> PathBuf {
        self.path("results").join(&self.run)
    }

    /// Provider instances `one` (a host with one task runner) and `two` (a host with two), two tasks each.
    pub fn config(&self, one: Value, two: Value, more: Value) -> String {
        let mut config = json!({
            "runs_per_instance_type": 2,
            "task_runners": { "mode": "image", "image": "none", "count": 2 },
            "workload": { "builtin": "cpu" },
            "providers": { "one": self.settings(one), "two": self.settings(two) },
            "one": [{ "instance_type": "single", "alias": "single" }],
            "two": [{ "instance_type": "double", "alias": "double" }],
        });
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.sandbox.file("run.json", &config.to_string()).display().to_string()
    }

    fn settings(&self, more: Value) -> Value {
        let mut settings = json!({
            "backend": "loopback",
            "directory": self.path("hosts"),
            "program": env!("CARGO_BIN_EXE_bench"),
        });
        for (key, value) in more.as_object().expect("an object") {
            settings[key] = value.clone();
        }
        settings
    }

    pub fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers");
        arguments.iter().copied().chain(["--infrastructure", fixtures]).collect()
    }

    pub fn json(&self, arguments: &[&str]) -> (i32, Value) {
        self.sandbox.json(&self.arguments(arguments))
    }

    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        self.sandbox.spawn(&self.arguments(arguments))
    }

    /// Folders of hosts that are there.
    pub fn hosts(&self) -> Vec<PathBuf> {
        let below = |path: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
            entries.map(|entry| entry.path()).collect()
        };
        let runs = below(&self.path("hosts"));
        let mut hosts: Vec<PathBuf> =
            runs.iter().flat_map(|run| below(run)).flat_map(|provider| below(&provider)).collect();
        hosts.sort();
        hosts
    }

    /// Waits until some host has started its task runners.
    pub fn wait_for_host(&self) {
        wait_for("a host", || {
            let started = |host: &PathBuf| {
                std::fs::read_to_string(host.join("pids")).is_ok_and(|pids| !pids.trim().is_empty())
            };
            self.hosts().iter().any(started).then_some(())
        });
    }

    /// Waits until all hosts of [`Cloud::config`] have started all their task runners.
    pub fn wait_for_all_hosts(&self) {
        let started = |host: &PathBuf| {
            std::fs::read_to_string(host.join("pids")).map_or(0, |pids| pids.lines().count())
        };
        wait_for("all hosts", || (self.hosts().iter().map(started).sum::<usize>() == 4).then_some(()));
    }

    pub fn assert_nothing_is_left(&self) {
        assert!(self.hosts().is_empty(), "hosts are left: {:?}", self.hosts());
        // Hosts carry the run's name in their arguments, Terraform its folder.
        wait_until_gone(&self.run, GONE_WITHIN);
    }

    /// Ends what runs on the hosts, without a word.
    pub fn end_hosts(&self) {
        for host in self.hosts() {
            let pids = std::fs::read_to_string(host.join("pids")).unwrap_or_default();
            for pid in pids.lines().filter_map(|line| line.parse::<i32>().ok()) {
                // Gone already is as good.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-pid), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(std::fs::write(self.path("gate"), ""));
        self.end_hosts();
    }
}

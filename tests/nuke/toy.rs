//! A home with a ledger, and a cloud of files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::common::{Sandbox, describe};

pub const OWNER: &str = "me";

pub struct Toy {
    pub sandbox: Sandbox,
}

/// A nuke's exit code, its one JSON value, and what it told on the way.
pub struct Answer {
    pub code: i32,
    pub report: Value,
    pub told: String,
}

impl Toy {
    pub fn new() -> Toy {
        let toy = Toy { sandbox: Sandbox::new() };
        std::fs::create_dir_all(toy.cloud().join("faults")).unwrap();
        std::fs::write(toy.cloud().join("account"), "1").unwrap();
        toy
    }

    pub fn cloud(&self) -> PathBuf {
        self.sandbox.path().join("cloud")
    }

    pub fn home(&self) -> PathBuf {
        self.sandbox.path().join(".bench")
    }

    fn path(&self, region: &str, kind: &str, id: &str) -> PathBuf {
        self.cloud().join(region).join(kind).join(format!("{id}.json"))
    }

    /// Makes a resource.
    pub fn make(&self, region: &str, kind: &str, id: &str, value: Value) {
        let path = self.path(region, kind, id);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }

    /// Whether it is there, and not going or gone.
    pub fn lives(&self, region: &str, kind: &str, id: &str) -> bool {
        let Ok(text) = std::fs::read_to_string(self.path(region, kind, id)) else { return false };
        let value: Value = serde_json::from_str(&text).unwrap();
        !matches!(value["state"].as_str(), Some("going" | "gone"))
    }

    /// Everything that lives, as `REGION/KIND/ID`, in order.
    pub fn living(&self) -> Vec<String> {
        let mut living = Vec::new();
        for region in folders(&self.cloud()) {
            for kind in folders(&self.cloud().join(&region)) {
                for entry in std::fs::read_dir(self.cloud().join(&region).join(&kind)).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    let id = name.strip_suffix(".json").unwrap_or("");
                    if !id.is_empty() && self.lives(&region, &kind, id) {
                        living.push(format!("{region}/{kind}/{id}"));
                    }
                }
            }
        }
        living.sort();
        living
    }

    /// What a run with one machine makes: six resources.
    pub fn make_run(&self, run_id: &str, region: &str) {
        let tags = tags(run_id);
        let id = |kind: &str| format!("{kind}-{run_id}");
        self.make(region, "net", &id("net"), json!({ "tags": tags }));
        self.make(region, "rule", &id("rule"), json!({ "in": id("net") }));
        let machine = json!({ "tags": tags, "state": "up", "in": id("net"), "type": "small" });
        self.make(region, "machine", &id("m"), machine);
        self.make(region, "disk", &id("d"), json!({ "tags": tags, "part_of": id("m"), "gib": 100 }));
        self.make(region, "port", &id("p"), json!({ "tags": tags, "in": id("net") }));
        self.make(region, "disk", &id("loose"), json!({ "tags": tags, "gib": 1 }));
    }

    /// Writes an intent as a master does.
    pub fn intend(&self, run_id: &str, region: &str) {
        self.intend_in(run_id, region, self.sandbox.path().join("nowhere").as_path());
    }

    pub fn intend_in(&self, run_id: &str, region: &str, workspace: &Path) {
        let line = json!({
            "at": "2026-11-24T10:00:00Z", "entry": "intent", "run_id": run_id, "owner": OWNER,
            "provider": "toy", "backend": "toy", "settings": self.settings(region), "account": "1",
            "expires_at": 4_000_000_000_i64, "workspace": workspace,
        });
        std::fs::create_dir_all(self.home()).unwrap();
        let path = self.home().join("ledger.jsonl");
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{before}{line}\n")).unwrap();
    }

    fn settings(&self, region: &str) -> Value {
        json!({ "region": region, "directory": self.cloud(), "program": program() })
    }

    /// Makes a command fail so often with these words.
    pub fn fault(&self, name: &str, times: u32, said: &str) {
        std::fs::write(self.cloud().join("faults").join(name), format!("{times} {said}")).unwrap();
    }

    pub fn calls(&self, verb: &str) -> usize {
        let log = std::fs::read_to_string(self.cloud().join("calls.log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(verb)).count()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.bench(arguments);
        command.args(["--infrastructure", &fixtures().display().to_string()]).env("BENCH_OWNER", OWNER);
        command
    }

    /// Runs `bench nuke --yes --output json` with more arguments.
    pub fn nuke(&self, arguments: &[&str]) -> Answer {
        let mut all = vec!["nuke", "--yes", "--output", "json"];
        all.extend(arguments);
        Answer::of(&self.command(&all).output().unwrap())
    }
}

impl Answer {
    pub fn of(output: &Output) -> Answer {
        let report = serde_json::from_slice(&output.stdout);
        Answer {
            code: output.status.code().unwrap_or(-1),
            report: report.unwrap_or_else(|error| panic!("{error}: {}", describe(output))),
            told: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Outcome of a resource of the report.
    pub fn outcome(&self, id: &str) -> &str {
        self.resource(id)["outcome"].as_str().unwrap()
    }

    pub fn resource(&self, id: &str) -> &Value {
        let mut resources = self.report["resources"].as_array().unwrap().iter();
        resources.find(|resource| resource["id"] == id).unwrap_or_else(|| panic!("{id}: {:#}", self.report))
    }
}

pub fn tags(run_id: &str) -> Value {
    json!({ "bench_managed": "true", "bench_owner": OWNER, "bench_run_id": run_id,
            "bench_backend": "toy", "bench_provider": "toy" })
}

fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap().flatten().filter(|entry| entry.path().is_dir());
    entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| name != "faults").collect()
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers")
}

fn program() -> PathBuf {
    fixtures().join("toy/toy.py")
}

//! Runs in a test's cloud: what they are given, and what they said.

use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cloud::{Cloud, ORCHESTRATOR, TYPES};
use crate::common::{read_json, repository};

const ADMIN_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// A run takes less than one; then the test is given up, and the end of its world ends it.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a `bench` command said.
pub struct Said {
    pub code: i32,
    pub value: Value,
    pub told: String,
    pub took: Duration,
}

impl Said {
    /// What a run's summary says about a provider instance.
    pub fn provider(&self, name: &str) -> &Value {
        let all = self.value["providers"].as_array().expect("a list");
        all.iter().find(|provider| provider["name"] == name).expect("the provider instance")
    }
}

impl Cloud {
    /// Starts an orchestrator whose results are in the cloud's storage; returns the arguments that lead to it.
    pub fn orchestrator(&mut self) -> Vec<String> {
        let (bench, key) = (self.tools.bench.display().to_string(), format!("BENCH_API_KEY={ADMIN_KEY}"));
        let listen = format!("{ORCHESTRATOR}:443");
        let mut arguments =
            vec![&*key, &bench, "--home", "orchestrator", "orchestrator", "--listen", &listen];
        arguments.extend(["--storage", "s3://results/of/bench", "--output", "json"]);
        self.background("orchestrator", "env", &arguments);
        let started: Value = self.first_words("orchestrator", |said| serde_json::from_str(said).ok());
        let text = |name: &str| started[name].as_str().expect("a text").to_owned();
        let (url, pin) = (text("url"), text("pin"));
        let leads = ["--orchestrator-url", &url, "--orchestrator-pin", &pin, "--api-key", ADMIN_KEY];
        leads.map(str::to_owned).into()
    }

    /// `bench` with `--output json`, within the test's patience.
    pub fn bench(&self, arguments: &[&str]) -> Said {
        let fixtures = repository("tests/fixtures/providers").display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--output", "json", "--infrastructure", &fixtures]);
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        let mut command = self.command(&self.tools.bench.display().to_string(), &all);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let start = Instant::now();
        let mut child = command.spawn().expect("bench starts");
        let code = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status.code().unwrap_or(-1),
                None => assert!(start.elapsed() < PATIENCE, "bench {arguments:?} goes on: {}", self.logs()),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let told = std::fs::read_to_string(&err).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("stdout is not one JSON value ({error}): {text}\n{}", self.logs())
        });
        eprintln!("bench {} ended with {code} after {:.0} s", arguments[0], start.elapsed().as_secs_f64());
        Said { code, value, told, took: start.elapsed() }
    }

    /// `bench run`; without arguments that lead to an orchestrator it makes one in the cloud.
    pub fn run(&self, config: &str, orchestrator: &[String], more: &[&str]) -> Said {
        let mut arguments = vec!["run", config];
        arguments.extend(orchestrator.iter().map(String::as_str).chain(more.iter().copied()));
        self.bench(&arguments)
    }

    /// A config of two provider instances of AWS and one of this machine's.
    pub fn config(&self, changes: &Value) -> String {
        let mut config = json!({
            "runs_per_instance_type": 2,
            "task_runners": { "mode": "binary", "count": 2 },
            "workload": { "builtin": "cpu" },
            "providers": {
                "west": { "backend": "aws", "region": "us-west-2" },
                "near": {
                    "backend": "loopback", "directory": self.path("hosts"), "program": self.tools.bench,
                },
            },
            "aws": [{ "instance_type": TYPES[0], "alias": "c7" }],
            "west": [{ "instance_type": TYPES[1], "alias": "m7" }],
            "near": [{ "instance_type": "single", "alias": "here" }],
        });
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.sandbox.file("run.json", &config.to_string()).display().to_string()
    }

    /// Where a run's results are.
    pub fn results(&self, summary: &Value) -> Value {
        let folder = summary["results_dir"].as_str().expect("a folder of results");
        read_json(&self.sandbox.path().join(folder).join("results.json"))
    }
}

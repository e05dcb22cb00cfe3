//! An AWS of a test's own: moto answers, faults come from a proxy in front of it, and instances boot.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Sandbox, read_json, repository, wait_for};
use crate::tools::Tools;
use crate::world::World;

pub const REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

/// Where the test's orchestrator listens: an address of the internet, as far as this network goes.
const ORCHESTRATOR: &str = "203.0.113.10";
const METADATA: &str = "169.254.169.254";
const MOTO: &str = "http://127.0.0.1:5000";
const PROXY: &str = "http://127.0.0.1:5001";
const ADMIN_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
const OWNER: &str = "tester";

/// A run takes less than one; then the test is given up, and the end of its world ends it.
const PATIENCE: Duration = Duration::from_secs(400);

/// Variables of the developer's that lead out of the test's network or to other credentials.
const FOREIGN: [&str; 14] = [
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

pub struct Cloud {
    // Ends first: what runs in it writes to the folder.
    world: World,
    pub sandbox: Sandbox,
    tools: &'static Tools,
    background: Vec<Child>,
    /// What an account has from its beginning.
    baseline: Value,
}

/// How instances boot.
#[derive(Default)]
pub struct Boots<'a> {
    /// Instance type and where it hangs, as the booter knows it.
    pub stall: &'a [&'a str],
    /// Machines whose image brings Docker.
    pub docker: bool,
}

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
    pub fn new(tools: &'static Tools, boots: &Boots) -> Cloud {
        let world = World::new(&[METADATA, ORCHESTRATOR]).expect("another one was possible");
        let (sandbox, background) = (Sandbox::new(), Vec::new());
        let mut cloud = Cloud { world, sandbox, tools, background, baseline: Value::Null };
        cloud.start(boots);
        cloud
    }

    fn start(&mut self, boots: &Boots) {
        std::fs::create_dir(self.path("machines")).expect("a writable folder");
        let moto = self.tools.moto.display().to_string();
        self.background("moto", &moto, &["-H", "127.0.0.1", "-p", "5000"]);
        let python = |script: &str| repository("tests/common").join(script).display().to_string();
        let proxy = [&python("aws_proxy.py"), "--target", MOTO, "--port", "5001"];
        self.background("proxy", "python3", &proxy);
        self.first_words("proxy", |said| said.ends_with('\n').then_some(()));
        self.baseline = wait_for("moto", || self.inventory());
        let bucket = self.curl(&["-X", "PUT", &format!("{MOTO}/results")]);
        assert!(bucket.contains("results") || bucket.is_empty(), "{bucket}");

        let machines = self.path("machines").display().to_string();
        let network = format!("AWS_ENDPOINT_URL={MOTO}");
        let aws = self.program("aws", &format!("#!/bin/sh\nexec {} \"$@\"\n", self.tools.aws.display()));
        let mut booter = vec![python("cloud/booter.py"), "--endpoint".into(), MOTO.into()];
        booter.extend(REGIONS.iter().flat_map(|region| ["--region".to_owned(), (*region).to_owned()]));
        booter.extend(["--machines".to_owned(), machines, "--environment".to_owned(), network]);
        booter.extend(["--program".to_owned(), format!("aws={aws}")]);
        if boots.docker {
            let docker = python("cloud/docker");
            booter.extend(["--program".to_owned(), format!("docker={docker}")]);
            let bench = self.tools.bench.display();
            booter.extend(["--environment".to_owned(), format!("IMAGE_BENCH={bench}")]);
        }
        booter.extend(boots.stall.iter().flat_map(|stall| ["--stall".to_owned(), (*stall).to_owned()]));
        let booter: Vec<&str> = booter.iter().map(String::as_str).collect();
        self.background("booter", "python3", &booter);
        self.first_words("booter", |said| (said == "up\n").then_some(()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// A small program for machines; returns its file.
    fn program(&self, name: &str, text: &str) -> String {
        self.sandbox.file(&format!("{name}.program"), text).display().to_string()
    }

    /// A program in the test's network, with its credentials and nothing of the developer's.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.world.command(self.sandbox.path(), program);
        self.sandbox.clean(&mut command);
        for name in FOREIGN {
            command.env_remove(name);
        }
        let none = "/dev/null";
        command
            .args(arguments)
            .envs([("AWS_CONFIG_FILE", none), ("AWS_SHARED_CREDENTIALS_FILE", none)])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .envs([("AWS_ENDPOINT_URL", PROXY), ("AWS_DEFAULT_REGION", REGIONS[0])])
            .envs([("BENCH_OWNER", OWNER), ("BENCH_API_KEY", ADMIN_KEY)])
            .env("TF_CLI_CONFIG_FILE", &self.tools.terraform_config)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Starts something that ends with the test. What it says is kept in `NAME.out` and `NAME.log`.
    fn background(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let file =
            |kind: &str| File::create(self.path(&format!("{name}.{kind}"))).expect("a writable folder");
        let (out, log) = (file("out"), file("log"));
        let mut command = self.command(program, arguments);
        // Some end with their input.
        let started = command.stdin(Stdio::piped()).stdout(out).stderr(log).spawn();
        self.background.push(started.unwrap_or_else(|error| panic!("{program}: {error}")));
    }

    /// Waits for the first whole text of something in the background that `read` makes sense of.
    fn first_words<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> T {
        wait_for(name, || read(&std::fs::read_to_string(self.path(&format!("{name}.out"))).ok()?))
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-sS", "--noproxy", "*"];
        all.extend(arguments);
        let output = self.command("curl", &all).output().expect("curl starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is there, by region and kind; `None` while nobody answers.
    fn inventory(&self) -> Option<Value> {
        let booter = repository("tests/common/cloud/booter.py").display().to_string();
        let mut arguments = vec![booter.as_str(), "--endpoint", MOTO, "--inventory"];
        arguments.extend(REGIONS.iter().flat_map(|region| ["--region", *region]));
        let output = self.command("python3", &arguments).output().expect("python starts");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// Makes calls of the cloud's API fail, as `aws_proxy.py` describes.
    pub fn fault(&self, fault: &Value) {
        let said = self.curl(&["-d", &fault.to_string(), &format!("{PROXY}/_faults")]);
        assert!(said.starts_with('['), "{said}");
    }

    /// How often the faults struck.
    pub fn hits(&self) -> u64 {
        let faults: Value = serde_json::from_str(&self.curl(&[&format!("{PROXY}/_faults")])).expect("JSON");
        faults.as_array().expect("a list").iter().map(|fault| fault["hits"].as_u64().unwrap_or(0)).sum()
    }

    /// Calls of the cloud's API that went through the proxy.
    pub fn calls(&self) -> Vec<Value> {
        serde_json::from_str(&self.curl(&[&format!("{PROXY}/_calls")])).expect("JSON")
    }

    /// Instances that were booted, as `REGION TYPE`.
    pub fn booted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("machines/booted")).unwrap_or_default();
        let mut booted: Vec<String> =
            text.lines().map(|line| line.split_once(' ').expect("id first").1.to_owned()).collect();
        booted.sort();
        booted
    }

    /// Starts an orchestrator whose results are in the cloud's storage; returns the arguments that lead to it.
    pub fn orchestrator(&mut self) -> [String; 4] {
        let bench = self.tools.bench.display().to_string();
        let listen = format!("{ORCHESTRATOR}:443");
        let storage = "s3://results/of/bench";
        let arguments = ["--home", "orchestrator", "orchestrator", "--listen", &listen, "--storage", storage];
        self.background("orchestrator", &bench, &[&arguments[..], &["--output", "json"]].concat());
        let started: Value = self.first_words("orchestrator", |said| serde_json::from_str(said).ok());
        let text = |name: &str| started[name].as_str().expect("a text").to_owned();
        ["--orchestrator-url".into(), text("url"), "--orchestrator-pin".into(), text("pin")]
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

    /// `bench run`, with an orchestrator that answers already.
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
            "aws": [{ "instance_type": "c7i.large", "alias": "c7i" }],
            "west": [{ "instance_type": "m7i.large", "alias": "m7i" }],
            "near": [{ "instance_type": "single", "alias": "here" }],
        });
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.sandbox.file("run.json", &config.to_string()).display().to_string()
    }

    /// Nothing is there that was not there at the beginning.
    pub fn assert_nothing_is_left(&self) {
        let mut now = self.inventory().expect("moto answers");
        let ids = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        for (place, kinds) in now.as_object_mut().unwrap() {
            for (kind, found) in kinds.as_object_mut().unwrap() {
                let before = ids(&self.baseline[place][kind]);
                let left: Vec<String> =
                    ids(found).into_iter().filter(|id| !before.contains(id) && id != "results").collect();
                assert!(left.is_empty(), "left in {place}: {kind} {left:?}: {}", self.logs());
            }
        }
        let hosts = std::fs::read_dir(self.path("hosts")).into_iter().flatten().flatten();
        for run in hosts.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten()) {
            let left = std::fs::read_dir(run.path()).into_iter().flatten().count();
            assert_eq!(left, 0, "hosts are left in {}", run.path().display());
        }
    }

    /// What everybody said, for the message of a test that fails.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let mut add = |path: PathBuf| {
            let mut text = String::new();
            let read = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
            if read.is_ok() && !text.is_empty() {
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(40)..].join("\n");
                all += &format!("\n--- {}\n{end}\n", path.display());
            }
        };
        ["stdout", "stderr", "booter.log", "orchestrator.log"].iter().for_each(|name| add(self.path(name)));
        let machines = std::fs::read_dir(self.path("machines")).into_iter().flatten().flatten();
        for machine in machines.map(|entry| entry.path()) {
            for name in ["console", "root/var/log/cloud-init-output.log", "root/var/log/bench.log"] {
                add(machine.join(name));
            }
        }
        all
    }

    /// Where a run's results are.
    pub fn results(&self, summary: &Value) -> Value {
        let folder = summary["results_dir"].as_str().expect("a folder of results");
        read_json(&self.sandbox.path().join(folder).join("results.json"))
    }
}

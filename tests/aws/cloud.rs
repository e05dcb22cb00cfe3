//! An AWS of a test's own: moto answers, faults come from a proxy in front of it, and instances boot.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{Sandbox, repository, wait_for};
use crate::tools::Tools;
use crate::world::World;

pub const REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

/// Instance types of this machine's architecture: its program is what their hosts run.
pub const TYPES: [&str; 3] = if cfg!(target_arch = "aarch64") {
    ["c7g.large", "m7g.large", "r7g.large"]
} else {
    ["c7i.large", "m7i.large", "c7a.large"]
};

/// Where the test's orchestrator listens: an address of the internet, as far as this network goes.
pub const ORCHESTRATOR: &str = "203.0.113.10";
const METADATA: &str = "169.254.169.254";
const MOTO: &str = "http://127.0.0.1:5000";
const PROXY: &str = "http://127.0.0.1:5001";
pub const OWNER: &str = "tester";

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
    pub tools: &'static Tools,
    background: Vec<Child>,
}

/// How instances boot.
#[derive(Default)]
pub struct Boots<'a> {
    /// Instance type and where it hangs, as the booter knows it.
    pub stall: &'a [String],
    /// Machines whose image brings Docker.
    pub docker: bool,
}

impl Cloud {
    pub fn new(tools: &'static Tools, boots: &Boots) -> Cloud {
        let world = World::new(&[METADATA, ORCHESTRATOR]).expect("another one was possible");
        let (sandbox, background) = (Sandbox::new(), Vec::new());
        let mut cloud = Cloud { world, sandbox, tools, background };
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
        wait_for("moto", || self.inventory());
        let bucket = self.curl(&["-X", "PUT", &format!("{MOTO}/results")]);
        assert!(bucket.contains("results") || bucket.is_empty(), "{bucket}");
        // What an account has from its beginning.
        let baseline = self.inventory().expect("moto answers");
        self.sandbox.file("baseline.json", &baseline.to_string());

        let machines = self.path("machines").display().to_string();
        let network = format!("AWS_ENDPOINT_URL={PROXY}");
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
        booter.extend(boots.stall.iter().flat_map(|stall| ["--stall".to_owned(), stall.clone()]));
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
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
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
            .env("BENCH_OWNER", OWNER)
            .env("TF_CLI_CONFIG_FILE", &self.tools.terraform_config)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Starts something that ends with the test. What it says is kept in `NAME.out` and `NAME.log`.
    pub fn background(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let file =
            |kind: &str| File::create(self.path(&format!("{name}.{kind}"))).expect("a writable folder");
        let (out, log) = (file("out"), file("log"));
        let mut command = self.command(program, arguments);
        // Some end with their input.
        let started = command.stdin(Stdio::piped()).stdout(out).stderr(log).spawn();
        self.background.push(started.unwrap_or_else(|error| panic!("{program}: {error}")));
    }

    /// Waits for the first whole text of something in the background that `read` makes sense of.
    pub fn first_words<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> T {
        wait_for(name, || read(&std::fs::read_to_string(self.path(&format!("{name}.out"))).ok()?))
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-sS", "--noproxy", "*"];
        all.extend(arguments);
        let output = self.command("curl", &all).output().expect("curl starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is there that was not there at the beginning, by region and kind; `None` while nobody answers.
    pub fn inventory(&self) -> Option<Value> {
        let booter = repository("tests/common/cloud/booter.py").display().to_string();
        let baseline = self.path("baseline.json").display().to_string();
        let mut arguments = vec![booter.as_str(), "--endpoint", MOTO, "--inventory"];
        if Path::new(&baseline).exists() {
            arguments.extend(["--besides", &baseline]);
        }
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

    /// Instances that were booted, each as region and type.
    pub fn booted(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path("machines/booted")).unwrap_or_default();
        let pair = |line: &str| {
            let mut words = line.split(' ').skip(1).map(str::to_owned);
            Some((words.next()?, words.next()?))
        };
        let mut booted: Vec<_> = text.lines().filter_map(pair).collect();
        booted.sort();
        booted
    }

    /// Checks which instances were booted: pairs of places in `REGIONS` and `TYPES`, in their order.
    pub fn assert_booted(&self, expected: &[(usize, usize)]) {
        let mut expected: Vec<_> = expected
            .iter()
            .map(|&(region, kind)| (REGIONS[region].to_owned(), TYPES[kind].to_owned()))
            .collect();
        expected.sort();
        assert_eq!(self.booted(), expected);
    }

    /// Nothing is there that was not there at the beginning.
    pub fn assert_nothing_is_left(&self) {
        let left = self.inventory().expect("moto answers");
        assert_eq!(left, serde_json::json!({}), "left: {}", self.logs());
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
}

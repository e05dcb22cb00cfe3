//! `bench run` and `bench nuke`, as a user calls them.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::times::{at, between, json, lines};
use crate::world::{BENCH, Cloud, FIXTURES, World};

/// Longest wait for anything that Terraform does.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run whose provider instances have all made their hosts.
pub struct Run<'w> {
    world: &'w World,
    id: String,
    clouds: Vec<Cloud>,
    master: Child,
    ended: bool,
}

impl<'w> Run<'w> {
    /// Starts a run and waits until every host is made.
    pub fn start(world: &'w World, name: &str, clouds: &[Cloud]) -> Run<'w> {
        let id = format!("{name}-{}", jiff::Timestamp::now().as_millisecond());
        let mut command = world.command(BENCH);
        command.arg("run").arg(world.config(name, clouds)).args(["--mock", "--yes", "--run-id", &id]);
        command.args(["--orchestrator-url", &world.orchestrator.url]).args(FIXTURES);
        command.args(["--orchestrator-pin", &world.orchestrator.pin, "--output", "json", "--home"]);
        command.arg(world.home());
        let master = logged(world, &id, &mut command);
        let mut run = Run { world, id, clouds: clouds.to_vec(), master, ended: false };
        run.wait_until_made();
        run
    }

    fn wait_until_made(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let journal = self.journal();
            let up = steps(&journal, "hosts_up");
            if up.len() == self.clouds.len() {
                let made: u64 = up.iter().filter_map(|step| step["hosts"].as_u64()).sum();
                assert_eq!(
                    made,
                    self.clouds.iter().map(|cloud| cloud.hosts as u64).sum::<u64>(),
                    "{}",
                    self.said()
                );
                return;
            }
            let ended = self.master.try_wait().expect("a child").is_some();
            assert!(!ended || self.journal().len() > journal.len(), "it ended: {}", self.said());
            assert!(Instant::now() < deadline, "hosts were not made: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn folder(&self) -> PathBuf {
        self.world.home().join("runs").join(&self.id)
    }

    fn journal(&self) -> Vec<Value> {
        lines(&self.folder().join("journal.jsonl"))
    }

    fn said(&self) -> String {
        let log = std::fs::read_to_string(self.world.path(&format!("{}.err", self.id))).unwrap_or_default();
        format!("{:?}\n{log}", self.journal())
    }

    /// Seconds from the first provider instance's beginning until the last one's hosts were made.
    pub fn provisioning(&self) -> f64 {
        let journal = self.journal();
        let times = |step| steps(&journal, step).into_iter().map(|step| at(step, "at")).collect::<Vec<_>>();
        let begun = times("set_up_provider").into_iter().min().expect("it has begun");
        between(begun, times("hosts_up").into_iter().max().expect("hosts are up"))
    }

    /// Seconds of one provider instance's Terraform, from before its start until after its end.
    pub fn terraform(&self, cloud: &Cloud) -> f64 {
        let logs = self.folder().join("providers").join(&cloud.name).join("logs");
        between(
            at(&json(&logs.join("job.json")), "created_at"),
            at(&json(&logs.join("exit.json")), "ended_at"),
        )
    }

    /// Seconds from the moment at which the ledger had a provider instance to Terraform's start.
    pub fn init(&self, cloud: &Cloud) -> f64 {
        let ledger = lines(&self.world.home().join("ledger.jsonl"));
        let is_intent = |line: &&Value| {
            line["entry"] == "intent" && line["run_id"] == *self.id && line["provider"] == *cloud.name
        };
        let intent = ledger.iter().find(is_intent).expect("the intent is in the ledger");
        let job = self.folder().join("providers").join(&cloud.name).join("logs/job.json");
        between(at(intent, "at"), at(&json(&job), "created_at"))
    }

    /// The master is killed and never comes back; hosts that are processes of this machine are removed, and moto
    /// forgets the others.
    pub fn end(mut self) {
        self.kill();
        for cloud in self.clouds.iter().filter(|cloud| cloud.is_here()) {
            self.call_nuke(&["--provider", &cloud.name]);
        }
        self.world.moto.reset();
    }

    /// The master is killed and never comes back; `bench nuke` removes the run. Its times are given.
    pub fn nuke(mut self) -> Nuke {
        self.kill();
        let (whole, report) = self.call_nuke(&[]);
        let hosts = report["resources"].as_array().expect("a list").iter();
        let hosts = hosts.filter(|one| one["kind"] == "instance" && one["outcome"] == "deleted").count();
        assert_eq!(hosts, self.clouds.iter().map(|cloud| cloud.hosts).sum::<usize>(), "{report:#}");
        self.world.moto.reset();
        Nuke { whole, listing: report["listing_seconds"].as_f64().expect("a number") }
    }

    fn kill(&mut self) {
        self.ended = true;
        self.master.kill().and_then(|()| self.master.wait()).expect("a child");
    }

    /// Seconds and report of `bench nuke`, which found all of it gone at the end.
    fn call_nuke(&self, more: &[&str]) -> (f64, Value) {
        let mut command = self.world.command(BENCH);
        command.args(["nuke", "--yes", "--run-id", &self.id, "--output", "json", "--home"]);
        command.arg(self.world.home()).args(FIXTURES).args(more);
        let name = format!("{}-nuke", self.id);
        let begun = Instant::now();
        let status = logged(self.world, &name, &mut command).wait().expect("a child");
        let whole = begun.elapsed().as_secs_f64();
        let report = json(&self.world.path(&format!("{name}.out")));
        assert!(status.success(), "bench nuke: {status}: {report:#}");
        assert_eq!(report["gone"], true, "{report:#}");
        (whole, report)
    }
}

/// How long a nuke took, seconds.
pub struct Nuke {
    pub whole: f64,
    pub listing: f64,
}

impl Nuke {
    pub fn without_listing(&self) -> f64 {
        self.whole - self.listing
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // A figure that could not be taken leaves nothing running either: it is asked to end, which may take it a while.
        if !self.ended {
            let id = Pid::from_raw(self.master.id().try_into().expect("a process id"));
            // It may have ended just now.
            let _ = kill(id, Signal::SIGINT).map(|()| self.master.wait());
        }
    }
}

/// Starts a command with its outputs in `NAME.out` and `NAME.err`.
fn logged(world: &World, name: &str, command: &mut Command) -> Child {
    let file = |end: &str| File::create(world.path(&format!("{name}.{end}"))).expect("a writable folder");
    command.stdout(file("out")).stderr(file("err"));
    command.spawn().expect("bench starts")
}

fn steps<'j>(journal: &'j [Value], step: &str) -> Vec<&'j Value> {
    journal.iter().filter(|entry| entry["step"] == *step).collect()
}

//! A run of the fixture `loopback` in a temporary folder. When it is dropped, its processes are ended.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::client::Secret;
use bench::config;
use bench::plan::{PlannedProvider, plan};
use bench::provider::{Arch, MachineFacts, Registry};
use bench::render::{self, Inputs, RunFacts, Runner};
use bench::terraform::{InitCache, MetaOutputs, Source, Terraform, TfEvent, Tools, Workspace};
use serde_json::{Value, json};

pub const RUN_ID: &str = "20261120-101500-test";

/// Longest wait for something that takes well below a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the tests can run. Says why not.
pub fn terraform_is_there() -> bool {
    match Terraform::find() {
        Ok(_) => true,
        Err(error) if std::env::var_os("BENCH_REQUIRE_TERRAFORM").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// One provider instance of one run.
pub struct Run {
    pub root: PathBuf,
    pub run_key: Secret,
    /// What hosts run; a stand-in that sleeps where a test gives no other.
    pub program: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Run {
    pub fn new() -> Run {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().to_owned();
        let mut run = Run::at(root);
        run._temporary = Some(temporary);
        fs_err::create_dir_all(run.hosts()).unwrap();
        fs_err::write(&run.program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs_err::set_permissions(&run.program, std::fs::Permissions::from_mode(0o755)).unwrap();
        run.tell_orchestrator("http://127.0.0.1:1");
        run
    }

    /// Writes the state from which modules learn where the orchestrator is.
    pub fn tell_orchestrator(&self, url: &str) {
        let meta = MetaOutputs {
            orchestrator_url: url.into(),
            orchestrator_pin: String::new(),
            api_key: self.run_key.clone(),
        };
        meta.write(&self.root.join("meta.tfstate")).unwrap();
    }

    /// The run of another process, in the same folder.
    pub fn at(root: PathBuf) -> Run {
        Run { run_key: Secret::new("rk.test"), program: root.join("task-runner"), root, _temporary: None }
    }

    /// Where the hosts are.
    pub fn hosts(&self) -> PathBuf {
        self.root.join("hosts")
    }

    pub fn gate(&self) -> PathBuf {
        self.root.join("gate")
    }

    pub fn open_gate(&self) {
        fs_err::write(self.gate(), "").unwrap();
    }

    pub fn cache(&self) -> InitCache {
        InitCache::new(self.root.join("init"))
    }

    pub fn workspace(&self, name: &str) -> Workspace {
        let tools = Tools { bench: env!("CARGO_BIN_EXE_bench").into(), ..Tools::find().unwrap() };
        self.workspace_with(name, &tools)
    }

    pub fn workspace_with(&self, name: &str, tools: &Tools) -> Workspace {
        let registry = registry();
        let manifest = &registry.get("loopback").unwrap().manifest;
        let copy = self.root.join("copies").join(format!("{name}.tfstate"));
        Workspace::new(self.root.join("providers").join(name), tools, manifest).with_state_copy(copy)
    }

    /// Renders, prepares and initialises the provider instance `name`: two hosts, three task runners.
    pub async fn prepared(&self, name: &str, settings: Value) -> Workspace {
        let workspace = self.workspace(name);
        workspace.prepare(&self.rendered(name, settings).files).unwrap();
        workspace.init(&self.cache()).await.unwrap();
        workspace
    }

    pub fn rendered(&self, name: &str, settings: Value) -> render::Rendered {
        let registry = registry();
        let backend = registry.get("loopback").unwrap();
        let source = Source::load(&backend.folder).unwrap();
        let run = RunFacts {
            run_id: RUN_ID.parse().unwrap(),
            owner: "tester".into(),
            ruby_version: None,
            mock: true,
            debug: false,
            ttl_minutes: 30,
            expires_at: 1_800_000_000,
            run_key: self.run_key.clone(),
            meta_state_path: self.root.join("meta.tfstate"),
            tags: BTreeMap::new(),
        };
        let inputs = Inputs {
            run: &run,
            provider: &self.planned(name, settings),
            manifest: &backend.manifest,
            runner: &Runner::Image { image: "none".into() },
            module: &source.module,
            extra: &source.extra,
            templates: &source.templates,
        };
        render::render(&inputs).unwrap()
    }

    fn planned(&self, name: &str, mut settings: Value) -> PlannedProvider {
        settings["backend"] = json!("loopback");
        settings["directory"] = json!(self.hosts());
        settings["program"] = json!(self.program);
        let config = json!({
            "runs_per_instance_type": 1,
            "task_runners": { "mode": "image", "image": "none" },
            "providers": { name: settings },
            name: [
                { "instance_type": "single", "alias": "one" },
                { "instance_type": "double", "alias": "two" },
            ],
        });
        let registry = registry();
        let config = config::parse("run.json", &config.to_string(), &registry).unwrap();
        let machine = MachineFacts { online_cpus: 2, arch: Arch::X86_64 };
        plan(&config, &registry, machine).unwrap().providers.remove(0)
    }

    /// Process ids of all task runners, in every host's folder.
    pub fn runners(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut folders = vec![self.hosts()];
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if entry.file_name() == "pids" {
                    let text = fs_err::read_to_string(path).unwrap_or_default();
                    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
                }
            }
        }
        pids
    }
}

impl Run {
    /// Processes that work in this run's folder or name it in their arguments.
    fn processes(&self) -> Vec<(u32, String)> {
        let root = self.root.display().to_string();
        let pids = fs_err::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let about = |pid: u32| {
            let arguments = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let folder = fs_err::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            (pid, format!("{arguments}in {}", folder.display()))
        };
        pids.filter(|pid| is_alive(*pid)).map(about).filter(|(_, text)| text.contains(&root)).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self._temporary.is_none() {
            return;
        }
        self.open_gate();
        for pid in self.runners() {
            signal(-(pid as i32), nix::sys::signal::Signal::SIGKILL);
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = self.processes();
        assert!(std::thread::panicking() || left.is_empty(), "processes are left: {left:?}");
    }
}

fn registry() -> Registry {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers");
    Registry::load(&[folder]).unwrap()
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Told(pub Vec<TfEvent>);

impl Told {
    pub fn watch(&mut self) -> impl FnMut(TfEvent) + Send + '_ {
        |event| self.0.push(event)
    }
}

pub fn quiet(_: TfEvent) {}

/// Sends a signal to a process, or with a negative id to a group.
pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

pub fn is_alive(pid: u32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

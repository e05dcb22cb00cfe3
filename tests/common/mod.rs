//! What the end-to-end tests share: a folder of their own, the binary, and conditions to wait for.
#![expect(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An empty folder in which `bench` is run as a user would.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a config of one local alias that runs `workload`, and returns its path.
    pub fn config(&self, tasks: u32, runners: u32, workload: serde_json::Value) -> PathBuf {
        self.file(
            "run.json",
            &serde_json::json!({
                "runs_per_instance_type": tasks,
                "task_runners": { "count": runners },
                "workload": workload,
                "local": [ { "instance_type": "process", "alias": "here" } ]
            })
            .to_string(),
        )
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path
    }

    /// The binary, in this folder, with nothing of the developer's environment that would change it.
    pub fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        self.clean(&mut command);
        command
    }

    /// Takes what would change `bench` from a command's environment.
    pub fn clean(&self, command: &mut Command) {
        for name in [
            "BENCH_HOME",
            "BENCH_LOG",
            "BENCH_API_KEY",
            "BENCH_RUN_KEY",
            "BENCH_PROVIDER_PATH",
            "BENCH_OWNER",
        ] {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.path().join("state"));
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.bench(arguments).output().expect("the binary starts")
    }

    /// Runs it and gives its exit code, stdout and stderr.
    pub fn said(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("bench writes UTF-8");
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }

    /// Writes a JSON file, with the folders above it, and returns its path.
    pub fn json_file(&self, name: &str, value: &serde_json::Value) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a writable folder");
        std::fs::write(&path, value.to_string()).expect("a writable folder");
        path.to_str().expect("a plain path").to_owned()
    }

    /// Runs with `--output json` and gives the exit code and the one JSON value of stdout.
    pub fn json(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let output = self.run(&all);
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("stdout is not one JSON value ({error}):\n{}", describe(&output));
        });
        (output.status.code().expect("an exit code"), value)
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.bench(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }

    /// The run's folder once it exists.
    pub fn wait_for_run(&self) -> PathBuf {
        let runs = self.path().join(".bench/runs");
        wait_for("a run's folder", || {
            let entry = std::fs::read_dir(&runs).ok()?.next()?.ok()?;
            entry.path().join("run.json").is_file().then(|| entry.path())
        })
    }
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn describe(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits for a condition, up to a minute: machines that run tests are busy.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes whose command line holds `marker`, this one left out.
pub fn processes_with(marker: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("a mounted /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != std::process::id() && command_line(pid).contains(marker) {
            found.push(pid);
        }
    }
    found
}

/// Processes that are `sleep MARKER` and nothing else: workloads that have got so far.
pub fn sleeping(marker: &str) -> usize {
    let exact = format!("sleep {marker} ");
    processes_with(&exact).into_iter().filter(|pid| command_line(*pid) == exact).count()
}

fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Processes of a run: its runners name it in their arguments, launchers and workloads by `marker`.
pub fn wait_until_gone(marker: &str, within: Duration) {
    let start = Instant::now();
    loop {
        let left = processes_with(marker);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < within, "still running after {within:?}: {left:?} with {marker}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("the process lives");
}

/// Waits for a child with both its streams.
pub fn finish(child: Child) -> Output {
    child.wait_with_output().expect("the child can be waited for")
}

pub fn read_json(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

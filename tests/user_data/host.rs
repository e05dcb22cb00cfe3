//! A host for user-data: the script runs as root of its own namespaces, with empty folders where it writes
//! and stand-ins for the programs that change a machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{skipped, variants};

/// What the script writes to; each is an empty folder of the test's.
const FOLDERS: [&str; 4] = ["opt", "etc/systemd/system", "run", "var/log"];

/// Stand-ins that only record how they were called.
const RECORDED: [&str; 8] =
    ["shutdown", "systemctl", "docker", "git", "dnf", "apt-get", "journalctl", "sleep"];

/// Writes the binary that was asked for, answers for the metadata service.
///
/// A deadline that was moved stands in a file; without it nobody answers.
const CURL: &str = r#"#!/bin/bash
out=
for ((i = 1; i <= $#; i++)); do [ "${!i}" != -o ] || { n=$((i + 1)); out=${!n}; }; done
case "$*" in
  *meta-data/instance-id* | *compute/vmId*) printf i-0123456789abcdef0 ;;
  */deadline) echo "$*" >>@CALLS@; cat "$(dirname @CALLS@)/deadline" 2>/dev/null || exit 7 ;;
  *identity/oauth2/token*) printf '{"access_token":"token-of-the-host","expires_in":"3600"}' ;;
  *compute/resourceId*) printf /subscriptions/s/resourceGroups/g/providers/P/virtualMachines/v ;;
  */deallocate*) echo "curl $* with $(cat)" >>@CALLS@; kill $PPID ;;
  *binaries*) printf '#!/bin/sh\necho bench 1.0\n' >"$out" ;;
  *) exit 22 ;;
esac
"#;

/// SHA-256 of the binary that the stand-in for curl writes.
const BINARY_SHA256: &str = "6e0309c39dd15b3812cc3451a0a3d4e19868a000c5ed1a73dc022d061b2967a9";

pub struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// Boots with the variant's script; `changes` are laid over the usual values. `None` where this machine
    /// cannot do it.
    pub fn boot(variant: &str, changes: &Value) -> Option<Host> {
        let host = Host { folder: tempfile::tempdir().unwrap() };
        let mut values = variants::values();
        values["binary_sha256"] = BINARY_SHA256.into();
        for (key, value) in changes.as_object().unwrap() {
            values[key] = value.clone();
        }
        let chosen = variants::all().into_iter().find(|v| v.name == variant).unwrap();
        let templates = BTreeMap::from([("script".to_owned(), chosen.template())]);
        let Some(scripts) = variants::fill(&templates, &values, host.folder.path()) else {
            skipped("terraform is missing");
            return None;
        };
        fs_err::write(host.path("user-data"), &scripts["script"]).unwrap();
        for folder in FOLDERS {
            fs_err::create_dir_all(host.path("root").join(folder)).unwrap();
        }
        host.make_stand_ins();
        if !host.namespaces(&["true"]).0 {
            skipped("this machine allows no namespaces");
            return None;
        }
        let script = host.path("user-data");
        host.namespaces(&["bash", script.to_str().unwrap()]);
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_stand_ins(&self) {
        let bin = self.path("bin");
        fs_err::create_dir_all(&bin).unwrap();
        for name in RECORDED {
            let log = self.path("calls");
            // The machine's end is the end of who asked for it.
            let off = "[ \"$*\" != poweroff ] || kill $PPID";
            write_program(
                &bin.join(name),
                &format!("#!/bin/sh\necho {name} \"$@\" >>{}\n{off}\n", log.display()),
            );
        }
        let calls = self.path("calls").display().to_string();
        write_program(&bin.join("curl"), &CURL.replace("@CALLS@", &calls));
    }

    /// Runs a program with the test's folders in the places that the script writes to.
    fn namespaces(&self, command: &[&str]) -> (bool, String) {
        let mut script = String::from("set -e; PATH=$PATH:/usr/sbin:/sbin\n");
        for folder in FOLDERS {
            let source = self.path("root").join(folder);
            script += &format!("mkdir -p /{folder}; mount --bind {} /{folder}\n", source.display());
        }
        // The script sets its own PATH, so the stand-ins go to where it looks first.
        script += &format!("mount --bind {} /usr/local/sbin; exec \"$@\"", self.path("bin").display());
        let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--map-root-user"] };
        let output = Command::new("unshare")
            .args(user)
            .args(["--mount", "--propagation", "private", "bash", "-c", &script, "bash"])
            .args(command)
            .env("TMPDIR", self.folder.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What the orchestrator says of the deadline from now on.
    pub fn deadline(&self, said: &Value) -> &Host {
        fs_err::write(self.path("deadline"), said.to_string()).unwrap();
        self
    }

    /// Calls the host's tool, as units and people do.
    pub fn run(&self, arguments: &[&str]) -> &Host {
        let (worked, stderr) = self.namespaces(&[&["/opt/bench/host"], arguments].concat());
        assert!(worked, "{arguments:?}: {stderr}");
        self
    }

    /// Calls a part of the host's tool that ends with the machine.
    pub fn run_until_poweroff(&self, arguments: &[&str]) {
        let (worked, stderr) = self.namespaces(&[&["/opt/bench/host"], arguments].concat());
        assert!(!worked, "{arguments:?} went on after the machine's end: {stderr}");
    }

    /// What the stand-ins were called with, in order.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs_err::read_to_string(self.path("calls")).unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    pub fn file(&self, name: &str) -> String {
        fs_err::read_to_string(self.path("root").join(name)).unwrap()
    }

    /// The reports in the spool, in the order in which they are sent.
    fn beats(&self) -> Vec<Value> {
        let spool = self.path("root/run/bench/beats");
        let mut files: Vec<_> = fs_err::read_dir(spool).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let read = |path: &PathBuf| serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        files.iter().map(read).collect()
    }

    pub fn stages(&self) -> Vec<String> {
        self.beats().iter().map(|beat| beat["stage"].as_str().unwrap().to_owned()).collect()
    }

    pub fn beat(&self, stage: &str) -> Value {
        let found = self.beats().into_iter().find(|beat| beat["stage"] == stage);
        let event = found.unwrap_or_else(|| panic!("no {stage} among {:?}", self.stages()));
        // The same type that the orchestrator reads.
        serde_json::from_value::<bench::api::HostEvent>(event.clone()).unwrap();
        event
    }
}

fn write_program(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

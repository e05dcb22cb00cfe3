//! A network and a process tree of a test's own: addresses of a cloud are on its loopback interface, nothing else
//! is in reach, and whatever was started in it ends with it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::repository;

pub struct World {
    /// `unshare`; its one child is the first process of the tree.
    holder: Child,
    first: String,
}

impl World {
    /// With these addresses beside 127.0.0.0/8.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub fn new(addresses: &[&str]) -> Result<World, String> {
        let mut unshare = Command::new("unshare");
        if !is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let mut holder = unshare
            .args(["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child", "python3"])
            .arg(repository("tests/common/cloud/world.py"))
            .args(addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("no namespaces: unshare: {error}"))?;
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut line);
        if said.is_err() || line != "up\n" {
            drop(holder.kill());
            drop(holder.wait());
            return Err("this machine allows no network and process namespaces".to_owned());
        }
        let children = format!("/proc/{pid}/task/{pid}/children", pid = holder.id());
        let first = std::fs::read_to_string(children).expect("/proc lists children").trim().to_owned();
        Ok(World { holder, first })
    }

    /// A program in there; arguments and environment are to be added.
    pub fn command(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--net", "--pid", "--mount"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        // Another mount namespace has lost the folder.
        command.args(["--", "env"]).arg("--chdir").arg(folder).arg(program);
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The end of its input is the end of the first process, and that is everybody's.
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

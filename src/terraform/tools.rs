//! The programs that drive a workspace, and the short commands that need no supervisor.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use duct::cmd;

use super::{BinaryError, Command, Environment, Terraform};

/// What every workspace of a master shares.
#[derive(Debug, Clone)]
pub struct Tools {
    pub terraform: Terraform,
    /// This program, for `bench supervise`.
    pub bench: PathBuf,
    pub environment: Environment,
}

impl Tools {
    /// Finds Terraform; the rest is this process's.
    pub fn find() -> Result<Tools, BinaryError> {
        let bench = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"));
        Ok(Tools { terraform: Terraform::find()?, bench, environment: Environment::inherited() })
    }

    /// Runs a short command to its end, its output captured. The exit status is the caller's to judge.
    ///
    /// It is in a session of its own, as every Terraform is: a terminal's interrupt is the master's.
    pub async fn run(&self, folder: &Path, command: Command) -> io::Result<Output> {
        let expression = cmd(self.terraform.program.as_os_str(), command.arguments())
            .dir(folder)
            .full_env(self.environment.variables().map(|(name, value): (&OsStr, &OsStr)| (name, value)))
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .before_spawn(|command| {
                super::supervisor::own_session(command);
                Ok(())
            });
        tokio::task::spawn_blocking(move || expression.run()).await.map_err(io::Error::other)?
    }
}

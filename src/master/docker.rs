//! Whether a container engine is there, for the instance type `docker`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The image that task runners run in where the config names none: glibc and little else. The runner itself
/// is this program, mounted into it.
pub const DEFAULT_IMAGE: &str = "debian:bookworm-slim";
/// An engine on this machine answers at once; one that needs longer than this is as good as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum NoEngine {
    #[error(
        "the instance type `docker` needs the `docker` command, which is not in PATH; install it, or use `process`"
    )]
    NotInstalled(#[source] which::Error),
    #[error(
        "no container engine answers `docker version`: {0}; start one (or set DOCKER_HOST), or use the instance type `process`"
    )]
    Unreachable(String),
}

/// The engine's command line, once its engine has answered.
pub async fn reachable_engine() -> Result<PathBuf, NoEngine> {
    let docker = which::which("docker").map_err(NoEngine::NotInstalled)?;
    let mut command = Command::new(&docker);
    command.args(["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(ANSWER_WITHIN, command.output()).await;
    let why = match answer {
        Ok(Ok(output)) if output.status.success() => return Ok(docker),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
    };
    Err(NoEngine::Unreachable(why))
}

//! Each backend's programs and credentials, as its manifest names them.

use std::process::{Command, Stdio};

use super::Check;
use crate::provider::{Backend, Registry, Tool};

pub fn checks(registry: &Registry) -> Vec<Check> {
    let mut checks = vec![ruby()];
    for backend in registry.all() {
        checks.extend(backend.manifest.tools.iter().map(|tool| check_tool(backend.name(), tool)));
        checks.extend(check_credentials(backend));
    }
    checks
}

/// Only the workload of a `ruby_version` needs it.
fn ruby() -> Check {
    const NAME: &str = "ruby";
    match version("ruby", &["--version".to_owned()]) {
        Found::Version(text) => Check::ok(NAME, text),
        Found::Silent => Check::ok(NAME, "installed"),
        Found::Missing => Check::warning(
            NAME,
            "not in PATH",
            "only configs with `ruby_version` and nothing else need it, in the version they name",
        ),
    }
}

fn check_tool(backend: &str, tool: &Tool) -> Check {
    let name = format!("{} ({backend})", tool.name);
    match version(&tool.name, &tool.version_args) {
        Found::Version(text) => Check::ok(name, text),
        Found::Silent => Check::ok(name, "installed"),
        Found::Missing => {
            let fix = tool.hint.clone().unwrap_or_else(|| format!("install `{}`", tool.name));
            let why = if tool.optional { "not in PATH; only some runs need it" } else { "not in PATH" };
            Check::warning(name, why, fix)
        }
    }
}

enum Found {
    Version(String),
    /// There, but it does not say which version it is.
    Silent,
    Missing,
}

fn version(program: &str, arguments: &[String]) -> Found {
    let Ok(path) = which::which(program) else { return Found::Missing };
    if arguments.is_empty() {
        return Found::Silent;
    }
    let mut command = Command::new(path);
    let output = command.args(arguments).env("CHECKPOINT_DISABLE", "1").stdin(Stdio::null()).output();
    let Ok(output) = output else { return Found::Silent };
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Found::Version(line.to_owned()),
        None => Found::Silent,
    }
}

/// `None` for a backend that needs none.
fn check_credentials(backend: &Backend) -> Option<Check> {
    let sources = &backend.manifest.credentials;
    if sources.is_empty() {
        return None;
    }
    let name = format!("credentials ({})", backend.name());
    let none = serde_json::Map::new();
    if let Some(source) = sources.iter().find(|source| source.is_there(&backend.manifest, &none)) {
        return Some(Check::ok(name, source.name.clone()));
    }
    let ways: Vec<String> = sources.iter().map(ToString::to_string).collect();
    Some(Check::warning(name, "none found", format!("any of: {}", ways.join("; "))))
}

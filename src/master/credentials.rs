//! Programs and credentials of all backends, before anything is created: every problem is found in one go.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::process::Command;

use crate::provider::{Manifest, Tool};
use crate::sweep::Values;
use crate::terraform::Environment;

/// A cloud that has not answered by then will not answer Terraform either.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Whichever of them is used was found already.
const TERRAFORM: [&str; 2] = ["terraform", "tofu"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct NotReady {
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("`{provider}` needs the program `{program}`, which is not in PATH: {hint}")]
    NoTool { provider: String, program: String, hint: String },
    #[error("there are no credentials for `{provider}` (backend {backend}); any of these would do: {ways}")]
    NoCredentials { provider: String, backend: String, ways: String },
    #[error("the credentials for `{provider}` do not work: `{command}` {why}")]
    Refused { provider: String, command: String, why: String },
}

/// Checks all backends at once; the provider instances of one backend share its check, filled with the
/// settings of the first.
///
/// # Errors
/// All problems there are.
pub async fn check<'m>(
    providers: impl IntoIterator<Item = (&'m str, &'m Manifest, &'m Map<String, Value>)>,
) -> Result<(), NotReady> {
    let mut backends: IndexMap<&str, (Vec<&str>, &Manifest, Values)> = IndexMap::new();
    for (name, manifest, settings) in providers {
        let first = || (Vec::new(), manifest, Values::of(settings));
        backends.entry(&manifest.name).or_insert_with(first).0.push(name);
    }
    let checks = backends
        .into_values()
        .map(|(names, manifest, values)| check_backend(names.join("`, `"), manifest, values));
    let problems: Vec<Problem> = join_all(checks).await.into_iter().flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(NotReady { problems }) }
}

async fn check_backend(provider: String, manifest: &Manifest, values: Values) -> Vec<Problem> {
    let needed = manifest.tools.iter().filter(|tool| !tool.optional && !TERRAFORM.contains(&&*tool.name));
    let missing = needed.filter(|tool| which::which(&tool.name).is_err());
    let mut problems: Vec<Problem> = missing.map(|tool| no_tool(&provider, tool)).collect();
    if manifest.credentials.is_empty() {
        return problems;
    }
    let there = manifest.credentials.iter().find(|source| source.is_there());
    let Some(source) = there else {
        let ways: Vec<String> = manifest.credentials.iter().map(ToString::to_string).collect();
        problems.push(Problem::NoCredentials {
            provider,
            backend: manifest.name.clone(),
            ways: ways.join("; "),
        });
        return problems;
    };
    if let Some(command) = source.check.as_ref().or(manifest.credential_check.as_ref())
        // Without a value for a place of it, Terraform is the one to tell.
        && let Ok(command) = values.render(command)
        && let Err(why) = try_out(&command).await
    {
        problems.push(Problem::Refused { provider, command: command.join(" "), why });
    }
    problems
}

fn no_tool(provider: &str, tool: &Tool) -> Problem {
    Problem::NoTool {
        provider: provider.to_owned(),
        program: tool.name.clone(),
        hint: tool.hint.clone().unwrap_or_else(|| "install it".to_owned()),
    }
}

/// Runs the backend's own check. Where its program is not there, Terraform will tell.
async fn try_out(command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let Ok(program) = which::which(program) else {
        tracing::info!("`{program}` is not in PATH; the credentials are not tried out beforehand");
        return Ok(());
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, run(&program, arguments)).await;
    match answer {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Err(format!("ended with {}: {}", output.status, said.trim()))
        }
        Ok(Err(error)) => Err(format!("could not be run: {error}")),
        Err(_elapsed) => Err(format!("did not answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn run(program: &Path, arguments: &[String]) -> std::io::Result<std::process::Output> {
    let environment = Environment::inherited();
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.variables())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, more: serde_json::Value) -> Manifest {
        let mut manifest = serde_json::json!({
            "name": name, "description": "d", "phase": "post_run", "driver": "terraform", "orchestrator": "any"
        });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        serde_json::from_value(manifest).unwrap()
    }

    #[tokio::test]
    async fn every_backends_problems_are_named_in_one_go_with_every_way_out() {
        let a = manifest(
            "a",
            serde_json::json!({ "credentials": [
                { "name": "key", "env": ["BENCH_TEST_NO_SUCH_KEY", "BENCH_TEST_NO_SUCH_SECRET"] },
                { "name": "file", "files": ["/no/such/file"] }
            ] }),
        );
        let b = manifest(
            "b",
            serde_json::json!({
                "tools": [{ "name": "no-such-program", "hint": "build it" }],
                "credentials": [{ "name": "home", "env": ["PATH"] }],
                "credential_check": ["sh", "-c", "echo first >&2; echo 'token expired' >&2; exit {{status}}"]
            }),
        );
        let settings = serde_json::json!({ "status": 4 });
        let settings = settings.as_object().unwrap();
        let all = [("a-north", &a, settings), ("b", &b, settings), ("a-south", &a, settings)];
        let error = check(all).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are no credentials for `a-north`, `a-south` (backend a); any of these would do: \
             key (BENCH_TEST_NO_SUCH_KEY, BENCH_TEST_NO_SUCH_SECRET); file (/no/such/file)\n\
             `b` needs the program `no-such-program`, which is not in PATH: build it\n\
             the credentials for `b` do not work: \
             `sh -c echo first >&2; echo 'token expired' >&2; exit 4` ended with exit status: 4: token expired"
        );
    }

    #[tokio::test]
    async fn credentials_that_work_or_are_not_needed_are_no_problem() {
        let none = manifest("none", serde_json::json!({ "tools": [{ "name": "terraform" }] }));
        let good = manifest(
            "good",
            serde_json::json!({ "credentials": [{ "name": "p", "env": ["PATH"] }], "credential_check": ["true"] }),
        );
        let settings = Map::new();
        assert_eq!(check([("none", &none, &settings), ("good", &good, &settings)]).await, Ok(()));
    }
}

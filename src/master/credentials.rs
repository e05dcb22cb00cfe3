//! Programs and credentials of all provider instances, before anything is created: every problem is found in one go.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::process::Command;

use crate::provider::{Manifest, Tool};
use crate::sweep::{MissingValue, Values};
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

/// What has to be found out about one or more provider instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question<'m> {
    /// Whether this backend's programs are there.
    Tools(&'m str),
    /// None of the sources of this backend is there.
    NoSource(&'m str),
    /// Whether this command, made with a provider instance's own settings, lets us in.
    LetsIn(Vec<String>),
}

/// Checks all provider instances at once, each with its own settings (region, profile). What several of them ask
/// alike is asked once.
///
/// # Errors
/// All problems there are.
pub async fn check<'m>(
    providers: impl IntoIterator<Item = (&'m str, &'m Manifest, &'m Map<String, Value>)>,
) -> Result<(), NotReady> {
    let mut asked: IndexMap<Question<'m>, (Vec<&str>, &Manifest)> = IndexMap::new();
    for (name, manifest, settings) in providers {
        for question in questions(name, manifest, settings) {
            asked.entry(question).or_insert_with(|| (Vec::new(), manifest)).0.push(name);
        }
    }
    let answers =
        asked.into_iter().map(|(question, (names, manifest))| answer(question, names.join("`, `"), manifest));
    let problems: Vec<Problem> = join_all(answers).await.into_iter().flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(NotReady { problems }) }
}

fn questions<'m>(name: &str, manifest: &'m Manifest, settings: &Map<String, Value>) -> Vec<Question<'m>> {
    let mut questions = vec![Question::Tools(&manifest.name)];
    if manifest.credentials.is_empty() {
        return questions;
    }
    let Some(source) = manifest.credentials.iter().find(|source| source.is_there(manifest, settings)) else {
        questions.push(Question::NoSource(&manifest.name));
        return questions;
    };
    if let Some(command) = source.check.as_ref().or(manifest.credential_check.as_ref()) {
        match arguments(manifest, command, &Values::of(settings)) {
            Ok(command) => questions.push(Question::LetsIn(command)),
            // Terraform is the one to tell.
            Err(error) => {
                tracing::info!("the credentials for `{name}` are not tried out beforehand: {error}")
            }
        }
    }
    questions
}

/// The whole argument list of a check.
fn arguments(manifest: &Manifest, command: &[String], values: &Values) -> Result<Vec<String>, MissingValue> {
    let mut arguments = values.render(command)?;
    for (setting, more) in &manifest.check_arguments_when_set {
        if values.get(setting).is_some_and(|value| !value.is_empty()) {
            arguments.extend(values.render(more)?);
        }
    }
    Ok(arguments)
}

async fn answer(question: Question<'_>, provider: String, manifest: &Manifest) -> Vec<Problem> {
    match question {
        Question::Tools(_) => {
            let needed =
                manifest.tools.iter().filter(|tool| !tool.optional && !TERRAFORM.contains(&&*tool.name));
            let missing = needed.filter(|tool| which::which(&tool.name).is_err());
            missing.map(|tool| no_tool(&provider, tool)).collect()
        }
        Question::NoSource(backend) => {
            let ways: Vec<String> = manifest.credentials.iter().map(ToString::to_string).collect();
            vec![Problem::NoCredentials { provider, backend: backend.to_owned(), ways: ways.join("; ") }]
        }
        Question::LetsIn(command) => match try_out(&command).await {
            Ok(()) => Vec::new(),
            Err(why) => vec![Problem::Refused { provider, command: command.join(" "), why }],
        },
    }
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

    /// Each check says its arguments in a file, and lets in only the region and the profile that it is told to.
    fn cloud(folder: &Path) -> Manifest {
        let asked = folder.join("asked").display().to_string();
        let script = format!(
            "echo \"$*\" >>{asked}; [ \"$1\" != south ] && [ \"$3\" != bob ] || {{ echo \"$* is closed\" >&2; exit 3; }}"
        );
        manifest(
            "cloud",
            serde_json::json!({
                "credentials": [{ "name": "p", "env": ["PATH"] }],
                "credential_check": ["sh", "-c", script, "check", "{{region}}"],
                "check_arguments_when_set": { "profile": ["--profile", "{{profile}}"] },
            }),
        )
    }

    #[tokio::test]
    async fn every_provider_instance_is_checked_with_its_own_settings_and_what_is_alike_once() {
        let folder = tempfile::tempdir().unwrap();
        let cloud = cloud(folder.path());
        let settings = |region: &str, profile: Value| {
            let json = serde_json::json!({ "region": region, "profile": profile, "disk_gib": region.len() });
            json.as_object().unwrap().clone()
        };
        let (north, south) = (settings("north", Value::Null), settings("south", Value::Null));
        let (alice, bob) = (settings("north", "alice".into()), settings("north", "bob".into()));
        let all = [
            ("a", &cloud, &north),
            ("b", &cloud, &south),
            ("c", &cloud, &alice),
            ("d", &cloud, &bob),
            ("e", &cloud, &north),
            ("f", &cloud, &south),
        ];
        let problems = check(all).await.unwrap_err().problems;
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[0].starts_with("the credentials for `b`, `f` do not work"), "{told:#?}");
        assert!(told[0].ends_with("ended with exit status: 3: south is closed"), "{told:#?}");
        assert!(told[1].starts_with("the credentials for `d` do not work"), "{told:#?}");
        assert!(told[1].ends_with("ended with exit status: 3: north --profile bob is closed"), "{told:#?}");
        let asked = fs_err::read_to_string(folder.path().join("asked")).unwrap();
        let mut asked: Vec<&str> = asked.lines().collect();
        asked.sort_unstable();
        assert_eq!(asked, ["north", "north --profile alice", "north --profile bob", "south"]);
    }

    #[tokio::test]
    async fn a_setting_takes_the_place_of_a_variable_for_its_provider_instance_alone() {
        let cloud = manifest(
            "cloud",
            serde_json::json!({
                "credentials": [{ "name": "profile", "env": ["BENCH_TEST_NO_SUCH_PROFILE"] }],
                "settings": { "profile": {
                    "type": "string", "description": "d", "optional": true, "instead_of_env": "BENCH_TEST_NO_SUCH_PROFILE"
                } },
            }),
        );
        let given = serde_json::json!({ "profile": "alice" });
        let (given, empty, none) =
            (given.as_object().unwrap(), serde_json::json!({ "profile": "" }), Map::new());
        assert_eq!(check([("with", &cloud, given)]).await, Ok(()));
        let all =
            [("with", &cloud, given), ("empty", &cloud, empty.as_object().unwrap()), ("none", &cloud, &none)];
        let error = check(all).await.unwrap_err().to_string();
        assert!(error.starts_with("there are no credentials for `empty`, `none` (backend cloud)"), "{error}");
    }
}

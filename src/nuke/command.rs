//! EFFECT. Runs what sweep manifests say: a bounded number at once, without a shell, each with an end.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::background::step_back;
use crate::sweep::{AnswerClass, MissingValue, QueryError, SweepManifest, Values, query};
use crate::terraform::Environment;

/// A command that has not ended by then is ended: a listing that hangs is no listing.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pauses before a command that failed in passing is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Most of stderr that goes into a message, characters.
const SHOWN: usize = 600;

#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Missing(#[from] MissingValue),
    #[error("could not start `{program}`: {reason}")]
    Start { program: String, reason: String },
    #[error("`{program}` did not end within {} s", PATIENCE.as_secs())]
    TooSlow { program: String },
    #[error("{said}")]
    Failed { said: String, class: Option<AnswerClass> },
    #[error("`{program}` printed no JSON: {reason}")]
    NoJson { program: String, reason: String },
    #[error("{0}")]
    NotUnderstood(String),
}

impl AskError {
    pub fn class(&self) -> Option<AnswerClass> {
        match self {
            AskError::Failed { class, .. } => *class,
            AskError::TooSlow { .. } => Some(AnswerClass::Transient),
            _ => None,
        }
    }
}

impl From<QueryError> for AskError {
    fn from(error: QueryError) -> AskError {
        AskError::NotUnderstood(error.to_string())
    }
}

/// Runs commands for all scopes.
#[derive(Debug, Clone)]
pub struct Commands {
    slots: Arc<Semaphore>,
    environment: Environment,
    urgency: Urgency,
}

/// What else on this machine may have to wait for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for its answer.
    Waited,
    /// It takes the CPU that is left over.
    Background,
}

impl Commands {
    /// Cloud tools are bound by the CPU for most of their second: two a CPU keep it busy.
    pub fn new(urgency: Urgency) -> Commands {
        let cpus = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let slots = Arc::new(Semaphore::new((2 * cpus).max(4)));
        Commands { slots, environment: Environment::inherited(), urgency }
    }
}

/// One manifest, ready to be asked.
#[derive(Debug, Clone)]
pub struct Voice {
    pub manifest: Arc<SweepManifest>,
    answers: Arc<Vec<(Regex, AnswerClass)>>,
    commands: Commands,
}

impl Voice {
    pub fn new(manifest: Arc<SweepManifest>, commands: Commands) -> Voice {
        let compiled = |pattern: &str| Regex::new(pattern).expect("the manifest's patterns were checked");
        let answers =
            manifest.answers.iter().map(|answer| (compiled(&answer.pattern), answer.means)).collect();
        Voice { manifest, answers: Arc::new(answers), commands }
    }

    /// The whole argument list of a command of this manifest.
    pub fn arguments(&self, command: Vec<String>, values: &Values) -> Result<Vec<String>, MissingValue> {
        let mut arguments = command;
        for (setting, more) in &self.manifest.arguments_when_set {
            if values.get(setting).is_some_and(|value| !value.is_empty()) {
                arguments.extend(values.render(more)?);
            }
        }
        Ok(arguments)
    }

    /// What a command prints, through its query.
    pub async fn ask(
        &self,
        command: &[String],
        words: Option<&str>,
        values: &Values,
    ) -> Result<Value, AskError> {
        let arguments = self.arguments(values.render(command)?, values)?;
        let printed = self.run(&arguments).await?;
        Ok(query(words, json(&arguments[0], &printed)?)?)
    }

    /// Runs an argument list to its end. What fails in passing is tried again.
    pub async fn run(&self, arguments: &[String]) -> Result<Vec<u8>, AskError> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.once(arguments).await {
                Err(error) if error.class() == Some(AnswerClass::Transient) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(error),
                },
                ended => return ended,
            }
        }
    }

    async fn once(&self, arguments: &[String]) -> Result<Vec<u8>, AskError> {
        let _slot = self.commands.slots.acquire().await.expect("the slots are never closed");
        let program = arguments[0].clone();
        let start =
            |error: io::Error| AskError::Start { program: program.clone(), reason: error.to_string() };
        let mut command = Command::new(&program);
        command
            .args(&arguments[1..])
            .env_clear()
            .envs(self.commands.environment.variables())
            .envs(self.manifest.environment.iter())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        match self.commands.urgency {
            // A terminal's interrupt is this program's to handle.
            Urgency::Waited => drop(command.process_group(0)),
            Urgency::Background => step_back(command.as_std_mut()),
        }
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(output) => output.map_err(start)?,
            Err(_elapsed) => return Err(AskError::TooSlow { program }),
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let class =
            self.answers.iter().find(|(pattern, _)| pattern.is_match(&stderr)).map(|(_, class)| *class);
        Err(AskError::Failed { said: shown(&program, &stderr, &output.status.to_string()), class })
    }
}

/// JSON that a command printed; nothing at all is null.
pub fn json(program: &str, printed: &[u8]) -> Result<Value, AskError> {
    if printed.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(printed)
        .map_err(|error| AskError::NoJson { program: program.to_owned(), reason: error.to_string() })
}

/// The end of what a program said, in one line.
fn shown(program: &str, stderr: &str, status: &str) -> String {
    let line = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return format!("`{program}` ended with {status}");
    }
    let skip = line.chars().count().saturating_sub(SHOWN);
    line.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_takes_the_cpu_that_is_left_over() {
        let manifest = serde_json::json!({ "backend": "cloud", "steps": [] });
        let manifest: Arc<SweepManifest> = Arc::new(serde_json::from_value(manifest).unwrap());
        let niceness = async |urgency| {
            let voice = Voice::new(manifest.clone(), Commands::new(urgency));
            let words = voice.ask(&["nice".to_owned()], None, &Values::default()).await;
            words.unwrap().as_i64().unwrap()
        };
        assert_eq!(niceness(Urgency::Background).await, 19);
        let mine = std::process::Command::new("nice").output().unwrap().stdout;
        let mine: i64 = String::from_utf8(mine).unwrap().trim().parse().unwrap();
        assert_eq!(niceness(Urgency::Waited).await, mine);
    }
}

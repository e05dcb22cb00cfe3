//! Terraform's command lines, as values: built here, run elsewhere.

use std::path::PathBuf;

/// Operations on resources at once. Waiting for a cloud costs nothing here, and Terraform's default of 10
/// makes twenty machines wait in two waves (23.9 s against 14.0 s).
pub const PARALLELISM: u32 = 30;

/// How long another process may hold the state's lock before a command gives up, seconds.
const LOCK_TIMEOUT_S: u32 = 30;

/// A command and what varies in it. None asks questions, colours its output or reads variables from
/// elsewhere than the folder's `terraform.tfvars.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Version,
    /// Fetches providers; `backend` is off for a mere check of the module.
    Init {
        backend: bool,
    },
    /// Makes what the module says, and the resources at these addresses anew.
    Apply {
        replaced: Vec<String>,
    },
    Destroy,
    /// Exits with 0 where nothing would change, with 2 where something would.
    Plan,
    Output,
    /// The state, or a state file.
    Show {
        file: Option<PathBuf>,
    },
    Validate,
    Test,
    /// Keeps a resource that an interrupt left marked for replacement.
    Untaint {
        address: String,
    },
}

impl Command {
    /// Everything behind the program's name.
    pub fn arguments(&self) -> Vec<String> {
        let lock = format!("-lock-timeout={LOCK_TIMEOUT_S}s");
        let parallel = format!("-parallelism={PARALLELISM}");
        let (lock, parallel) = (lock.as_str(), parallel.as_str());
        let (name, options): (&str, Vec<&str>) = match self {
            Command::Version => ("version", vec!["-json"]),
            Command::Init { backend: true } => ("init", vec!["-input=false", "-no-color", lock]),
            Command::Init { backend: false } => ("init", vec!["-input=false", "-no-color", "-backend=false"]),
            Command::Apply { .. } => {
                ("apply", vec!["-input=false", "-no-color", "-json", "-auto-approve", lock, parallel])
            }
            Command::Destroy => {
                ("destroy", vec!["-input=false", "-no-color", "-json", "-auto-approve", lock, parallel])
            }
            Command::Plan => {
                ("plan", vec!["-input=false", "-no-color", "-json", "-detailed-exitcode", lock, parallel])
            }
            Command::Output => ("output", vec!["-no-color", "-json"]),
            Command::Show { .. } => ("show", vec!["-no-color", "-json"]),
            Command::Validate => ("validate", vec!["-no-color", "-json"]),
            Command::Test => ("test", vec!["-no-color", "-json"]),
            Command::Untaint { address } => ("untaint", vec!["-no-color", lock, address]),
        };
        let mut arguments: Vec<String> = [name].into_iter().chain(options).map(str::to_owned).collect();
        match self {
            Command::Show { file: Some(file) } => arguments.push(file.display().to_string()),
            Command::Apply { replaced } => {
                arguments.extend(replaced.iter().map(|address| format!("-replace={address}")));
            }
            _ => {}
        }
        arguments
    }
}

/// The one JSON object in a command's output, between lines for people.
pub(super) fn json_in(output: &str) -> Option<&str> {
    let start = output.find('{')?;
    let end = output.rfind('}')?;
    output.get(start..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: Command) -> String {
        command.arguments().join(" ")
    }

    #[test]
    fn command_lines_are_whole() {
        assert_eq!(line(Command::Version), "version -json");
        assert_eq!(line(Command::Init { backend: true }), "init -input=false -no-color -lock-timeout=30s");
        assert_eq!(line(Command::Init { backend: false }), "init -input=false -no-color -backend=false");
        assert_eq!(
            line(Command::Apply { replaced: vec!["x.host[\"a-0\"]".to_owned()] }),
            "apply -input=false -no-color -json -auto-approve -lock-timeout=30s -parallelism=30 \
             -replace=x.host[\"a-0\"]"
        );
        assert_eq!(
            line(Command::Destroy),
            "destroy -input=false -no-color -json -auto-approve -lock-timeout=30s -parallelism=30"
        );
        assert_eq!(
            line(Command::Plan),
            "plan -input=false -no-color -json -detailed-exitcode -lock-timeout=30s -parallelism=30"
        );
        assert_eq!(line(Command::Output), "output -no-color -json");
        assert_eq!(line(Command::Show { file: None }), "show -no-color -json");
        assert_eq!(
            line(Command::Show { file: Some("a b.tfstate".into()) }),
            "show -no-color -json a b.tfstate"
        );
        assert_eq!(line(Command::Validate), "validate -no-color -json");
        assert_eq!(line(Command::Test), "test -no-color -json");
        let address = "x.host[\"a-0\"]".to_owned();
        assert_eq!(line(Command::Untaint { address }), "untaint -no-color -lock-timeout=30s x.host[\"a-0\"]");
    }
}

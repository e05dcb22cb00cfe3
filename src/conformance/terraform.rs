//! What Terraform itself says of the module: format, validity, and its own tests where their providers are
//! mocked. Nothing is made.

use std::path::Path;

use serde::Deserialize;

use super::own_tests::Tests;
use super::user_data::{runners, sample};
use super::{Check, Outcome};
use crate::master::home::write_private;
use crate::provider::{Backend, Role};
use crate::render::Module;
use crate::terraform::{Command, Source, Tools};

const VALIDATE: &str = "terraform validate";
const TEST: &str = "terraform test";
pub(super) const NAMES: [&str; 2] = [VALIDATE, TEST];

pub(super) async fn checks(backend: &Backend, module: &Module) -> Vec<Check> {
    let tests = match Tests::read(&backend.folder) {
        Ok(tests) => tests,
        Err(error) => {
            return vec![Check::failed(VALIDATE, error.to_string()), Check::failed(TEST, error.to_string())];
        }
    };
    // What does not mock its cloud is not run: it would make real machines.
    let flaws = tests.flaws(module);
    let tools = match Tools::find() {
        Ok(tools) => tools,
        Err(error) => {
            return vec![Check::skipped(VALIDATE, error.to_string()), untested(error.to_string(), flaws)];
        }
    };
    let prepared = tempfile::tempdir()
        .map_err(|error| error.to_string())
        .and_then(|folder| write(backend, &tests, folder.path()).map(|()| folder));
    let folder = match prepared {
        Ok(folder) => folder,
        Err(why) => return vec![Check::failed(VALIDATE, why.clone()), untested(why, flaws)],
    };
    if let Err(why) = init(&tools, folder.path()).await {
        return vec![Check::skipped(VALIDATE, why.clone()), untested(why, flaws)];
    }
    let validated = validate(&tools, folder.path()).await;
    let tested = if !flaws.is_empty() {
        Check::of(TEST, flaws)
    } else if tools.terraform.has_mocks() {
        test(&tools, folder.path()).await
    } else {
        let why =
            format!("{} {} knows no mocked providers", tools.terraform.product, tools.terraform.version);
        Check::skipped(TEST, why)
    };
    vec![validated, tested]
}

/// Tests that Terraform cannot run here; what is wrong with them shows without it.
fn untested(why: String, flaws: Vec<String>) -> Check {
    if flaws.is_empty() { Check::skipped(TEST, why) } else { Check::of(TEST, flaws) }
}

/// The folder as it would be rendered, with its tests.
fn write(backend: &Backend, tests: &Tests, folder: &Path) -> Result<(), String> {
    let source = Source::load(&backend.folder).map_err(|error| crate::cause_chain(&error))?;
    let files = match backend.manifest.role {
        Role::Orchestrator => source.files(),
        Role::TaskRunners => {
            let [runner, ..] = runners();
            sample(backend, &source, &runner).map_err(|error| crate::cause_chain(&error))?.files
        }
    };
    // Values would count in tests, which set their own.
    for (name, bytes) in files.iter().filter(|(name, _)| *name != crate::render::TFVARS) {
        write_private(&folder.join(name), bytes).map_err(|error| error.to_string())?;
    }
    tests.write(folder).map_err(|error| error.to_string())
}

/// Fetches providers. Where they cannot be had, nothing is wrong with the module.
async fn init(tools: &Tools, folder: &Path) -> Result<(), String> {
    let output =
        tools.run(folder, Command::Init { backend: false }).await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr
        .lines()
        .find_map(|line| line.split_once("Error: "))
        .map_or("it gave no reason", |(_, text)| text);
    Err(format!("terraform init failed: {line}"))
}

async fn validate(tools: &Tools, folder: &Path) -> Check {
    #[derive(Deserialize)]
    struct Validation {
        #[serde(default)]
        diagnostics: Vec<Diagnostic>,
    }
    #[derive(Deserialize)]
    struct Diagnostic {
        severity: String,
        summary: String,
        #[serde(default)]
        detail: String,
        range: Option<Range>,
    }
    #[derive(Deserialize)]
    struct Range {
        filename: String,
        start: Start,
    }
    #[derive(Deserialize)]
    struct Start {
        line: u64,
    }
    let output = match tools.run(folder, Command::Validate).await {
        Ok(output) => output,
        Err(error) => return Check::failed(VALIDATE, error.to_string()),
    };
    let Ok(validation) = serde_json::from_slice::<Validation>(&output.stdout) else {
        return Check::failed(VALIDATE, String::from_utf8_lossy(&output.stderr).trim().to_owned());
    };
    let findings = validation.diagnostics.into_iter().map(|d| {
        let place =
            d.range.map(|range| format!("{}:{}: ", range.filename, range.start.line)).unwrap_or_default();
        (d.severity == "error", format!("{place}{}: {}", d.summary, d.detail.replace('\n', " ")))
    });
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.partition(|(is_error, _)| *is_error);
    let outcome =
        if errors.is_empty() && output.status.success() { Outcome::Passed } else { Outcome::Failed };
    Check {
        name: VALIDATE,
        outcome,
        findings: errors.into_iter().chain(warnings).map(|(_, text)| text).collect(),
    }
}

async fn test(tools: &Tools, folder: &Path) -> Check {
    let output = match tools.run(folder, Command::Test).await {
        Ok(output) => output,
        Err(error) => return Check::failed(TEST, error.to_string()),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if output.status.success() {
        let summary = lines.iter().rev().find(|line| line["type"] == "test_summary");
        let passed = summary.and_then(|line| line["test_summary"]["passed"].as_u64()).unwrap_or_default();
        return match passed {
            0 => Check::failed(TEST, "terraform test ran nothing"),
            _ => Check::passed(TEST, format!("{passed} passed")),
        };
    }
    let errors = lines.iter().filter(|line| line["@level"] == "error");
    let mut findings: Vec<String> = errors
        .filter_map(|line| {
            let detail = line["diagnostic"]["detail"].as_str().unwrap_or_default().replace('\n', " ");
            Some(format!("{} {detail}", line["@message"].as_str()?).trim_end().to_owned())
        })
        .collect();
    if findings.is_empty() {
        findings.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Check { name: TEST, outcome: Outcome::Failed, findings }
}

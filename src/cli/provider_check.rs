//! `bench provider new` and `bench provider validate`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Context, Exit, Failure, View};
use crate::conformance::{self, Check, Outcome};
use crate::provider::Backend;

pub(super) fn new(name: &str, directory: &Path, context: &Context) -> Result<Exit, Failure> {
    let files = conformance::scaffold(directory, name).map_err(Failure::usage)?;
    context.output.show(&Made { name: name.to_owned(), files });
    context.output.note(&format!(
        "hint: `bench provider validate {name} --infrastructure {}` checks it",
        directory.display()
    ));
    Ok(Exit::Done)
}

pub(super) fn validate(backend: &Backend, strict: bool, context: &Context) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checks = runtime.map_err(Failure::infrastructure)?.block_on(conformance::check(backend));
    let bad =
        |check: &Check| check.outcome == Outcome::Failed || (strict && check.outcome == Outcome::Skipped);
    let valid = !checks.iter().any(bad);
    context.output.show(&Report { backend: backend.name().to_owned(), valid, checks });
    Ok(if valid { Exit::Done } else { Exit::Usage })
}

#[derive(Serialize)]
struct Made {
    name: String,
    files: Vec<PathBuf>,
}

impl View for Made {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.files.iter().try_for_each(|file| writeln!(out, "{}", file.display()))
    }
}

#[derive(Serialize)]
struct Report {
    backend: String,
    valid: bool,
    checks: Vec<Check>,
}

impl View for Report {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let word = match check.outcome {
                Outcome::Passed => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
                Outcome::NotApplicable => "n/a",
            };
            match check.findings.as_slice() {
                [only] if check.outcome != Outcome::Failed => {
                    writeln!(out, "{word:7} {}: {only}", check.name)?
                }
                findings => {
                    writeln!(out, "{word:7} {}", check.name)?;
                    findings.iter().try_for_each(|finding| writeln!(out, "          {finding}"))?;
                }
            }
        }
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let (failed, skipped) = (count(Outcome::Failed), count(Outcome::Skipped));
        writeln!(out, "{}: {} checks, {failed} failed, {skipped} skipped", self.backend, self.checks.len())
    }
}

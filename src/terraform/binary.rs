//! Which Terraform is used: found, asked for its version, refused where it is too old.

use std::path::{Path, PathBuf};

use duct::cmd;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::{Command, command};

/// Names another program than the first of `terraform` and `tofu` in `PATH`.
pub const VARIABLE: &str = "BENCH_TERRAFORM";

/// 1.6 brought `terraform test` and is where OpenTofu begins; what the modules use is older.
const OLDEST: (u32, u32) = (1, 6);
/// The first with mocked providers in `terraform test`.
const MOCKS: (u32, u32) = (1, 7);
const NAMES: [&str; 2] = ["terraform", "tofu"];

/// A program that can do the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Terraform {
    pub program: PathBuf,
    pub product: Product,
    /// As the program gives it, such as `1.11.4`.
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    Terraform,
    #[serde(rename = "opentofu")]
    OpenTofu,
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Product::Terraform => "Terraform",
            Product::OpenTofu => "OpenTofu",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error(
        "neither `terraform` nor `tofu` is in PATH; install one of them \
         (https://developer.hashicorp.com/terraform/install, https://opentofu.org/docs/intro/install) \
         or name one with {VARIABLE}"
    )]
    NotFound,
    #[error("{VARIABLE} names `{}`, which is not a program that can be run", .path.display())]
    NotAProgram { path: PathBuf, source: which::Error },
    #[error("could not ask `{}` for its version", .path.display())]
    Run { path: PathBuf, source: std::io::Error },
    #[error("`{} version -json` did not answer with a version, but with {output:?}", .path.display())]
    NoVersion { path: PathBuf, output: String },
    #[error(
        "`{}` is {product} {version}; {}.{} or newer is needed",
        .path.display(), OLDEST.0, OLDEST.1
    )]
    TooOld { path: PathBuf, product: Product, version: String },
}

impl Terraform {
    /// Finds the program of [`VARIABLE`], else the first of `terraform` and `tofu` in `PATH`.
    pub fn find() -> Result<Terraform, BinaryError> {
        match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(value) => {
                let path = PathBuf::from(value);
                let program = which::which(&path)
                    .map_err(|source| BinaryError::NotAProgram { path: path.clone(), source })?;
                Terraform::at(&program)
            }
            None => {
                let program = NAMES.iter().find_map(|name| which::which(name).ok());
                Terraform::at(&program.ok_or(BinaryError::NotFound)?)
            }
        }
    }

    /// Asks one program who it is.
    pub fn at(program: &Path) -> Result<Terraform, BinaryError> {
        let run = |source| BinaryError::Run { path: program.to_owned(), source };
        let output = cmd(program, Command::Version.arguments())
            .full_env(Environment::inherited().variables())
            .stdin_null()
            .stdout_capture()
            .stderr_null()
            .run()
            .map_err(run)?;
        judge(program, &String::from_utf8_lossy(&output.stdout))
    }

    /// Whether `terraform test` knows `mock_provider`.
    pub fn has_mocks(&self) -> bool {
        release(&self.version).is_some_and(|version| version >= MOCKS)
    }
}

/// From what `version -json` printed. Warnings about the CLI configuration may stand around the JSON.
fn judge(program: &Path, output: &str) -> Result<Terraform, BinaryError> {
    #[derive(Deserialize)]
    struct Version {
        terraform_version: String,
    }
    let path = program.to_owned();
    let product = product(program);
    let version = command::json_in(output)
        .and_then(|json| serde_json::from_str::<Version>(json).ok())
        .map(|version| version.terraform_version);
    match version.as_deref().map(release) {
        Some(Some(release)) if release >= OLDEST => {
            Ok(Terraform { program: path, product, version: version.unwrap_or_default() })
        }
        Some(Some(_)) => Err(BinaryError::TooOld { path, product, version: version.unwrap_or_default() }),
        _ => Err(BinaryError::NoVersion { path, output: output.chars().take(200).collect() }),
    }
}

/// Both print the same JSON, so the name tells them apart; it matters to messages only.
fn product(program: &Path) -> Product {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if name.contains("tofu") { Product::OpenTofu } else { Product::Terraform }
}

fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(program: &str, output: &str) -> Result<Terraform, BinaryError> {
        judge(Path::new(program), output)
    }

    #[test]
    fn a_version_is_read_between_warnings() {
        let output = "Warning: {no} file\n{\"terraform_version\": \"1.11.4\", \"platform\": \"x\"}\nmore";
        let output = output.replace("{no}", "no");
        let found = judged("/bin/terraform", &output).unwrap();
        assert_eq!((found.product, found.version.as_str()), (Product::Terraform, "1.11.4"));
        assert!(found.has_mocks());
    }

    #[test]
    fn an_old_program_is_refused_by_name_and_version() {
        let error = judged("/bin/tofu", r#"{"terraform_version": "1.5.7"}"#).unwrap_err();
        assert_eq!(error.to_string(), "`/bin/tofu` is OpenTofu 1.5.7; 1.6 or newer is needed");
    }

    #[test]
    fn another_program_is_refused() {
        for output in ["", "hello", "{}", r#"{"terraform_version": "new"}"#] {
            let error = judged("/bin/terraform", output).unwrap_err();
            assert!(matches!(error, BinaryError::NoVersion { .. }), "{error}");
        }
    }
}

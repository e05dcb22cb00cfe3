//! ruby-bench's headline set under one version of Ruby.
//!
//! Environment: `BENCH_RUBY_BENCH_DIR` names a checkout to use instead of fetching one,
//! `BENCH_RUBY_BENCH_REPOSITORY` another place to fetch it from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{PreflightError, Reader, Script, Source, Step, Surroundings};
use crate::api::{FailKind, OutputFormat};

const REPOSITORY: &str = "https://github.com/ruby/ruby-bench";
const ENTRY: &str = "run_benchmarks.rb";

/// Where version managers put Ruby, below the home folder or absolute; `{}` is the version.
const PLACES: [&str; 9] = [
    ".local/share/mise/installs/ruby/{}/bin/ruby",
    ".rbenv/versions/{}/bin/ruby",
    ".asdf/installs/ruby/{}/bin/ruby",
    ".rvm/rubies/ruby-{}/bin/ruby",
    ".rubies/ruby-{}/bin/ruby",
    ".rubies/{}/bin/ruby",
    "/opt/rubies/ruby-{}/bin/ruby",
    "/opt/rubies/{}/bin/ruby",
    "/usr/local/rbenv/versions/{}/bin/ruby",
];

/// The parts of the environment that decide what is found.
struct Search {
    home: PathBuf,
    path: OsString,
    checkout: Option<PathBuf>,
    repository: String,
}

impl Search {
    fn from_environment() -> Search {
        let repository = std::env::var("BENCH_RUBY_BENCH_REPOSITORY");
        Search {
            home: std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default(),
            path: std::env::var_os("PATH").unwrap_or_default(),
            checkout: std::env::var_os("BENCH_RUBY_BENCH_DIR").map(PathBuf::from),
            repository: repository.unwrap_or_else(|_| REPOSITORY.to_owned()),
        }
    }
}

pub(super) fn preflight(version: &str) -> Result<(), PreflightError> {
    let search = Search::from_environment();
    find_ruby(version, &search)?;
    check_source(&search)
}

pub(super) fn script(version: &str, surroundings: &Surroundings<'_>) -> Result<Script, PreflightError> {
    plan(version, surroundings, &Search::from_environment())
}

fn plan(version: &str, surroundings: &Surroundings<'_>, search: &Search) -> Result<Script, PreflightError> {
    let ruby = find_ruby(version, search)?;
    let checkout = search.checkout.clone().unwrap_or_else(|| surroundings.shared.join("ruby-bench"));
    let mut setup = Vec::new();
    if !checkout.join(ENTRY).is_file() {
        setup.push(fetch(&checkout, &search.repository));
    }
    let output = surroundings.scratch.join("ruby-bench");
    let executable = format!("ruby-{version}::{}", ruby.display());
    let mut command = vec![text(&ruby), ENTRY.to_owned()];
    // CPU and turbo are the runner's and the machine's business.
    let arguments = ["--headline", "--rss", "--no-pinning", "--turbo", "-e", &executable];
    command.extend(arguments.map(str::to_owned));
    command.push(format!("--out-name={}", output.display()));
    let reader = Reader::Format { format: OutputFormat::RubyBenchJson, pattern: None };
    Ok(Script {
        setup,
        measure: Step {
            command,
            env: BTreeMap::from([("PATH".to_owned(), path_with(&ruby, &search.path))]),
            directory: Some(checkout),
            on_failure: (FailKind::Exit, None),
        },
        warmup: 0,
        repetitions: 1,
        source: Some(Source::File(output.with_extension("json"), reader)),
        measures_process: false,
    })
}

fn fetch(checkout: &Path, repository: &str) -> Step {
    let hint = format!(
        "ruby-bench could not be fetched from {repository}: this machine needs the network for it, or set \
         BENCH_RUBY_BENCH_DIR to a checkout"
    );
    let command = ["git", "clone", "--depth", "1", repository];
    let command = command.map(str::to_owned).into_iter().chain([text(checkout)]).collect();
    // Without a terminal, git must not wait for somebody to type a password.
    let env = BTreeMap::from([("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())]);
    Step { command, env, directory: None, on_failure: (FailKind::Environment, Some(hint)) }
}

fn check_source(search: &Search) -> Result<(), PreflightError> {
    match &search.checkout {
        Some(folder) if folder.join(ENTRY).is_file() => Ok(()),
        Some(folder) => Err(missing(format!(
            "BENCH_RUBY_BENCH_DIR is `{}`, which holds no {ENTRY}; point it at a checkout of {REPOSITORY}",
            folder.display()
        ))),
        None if which::which_in("git", Some(&search.path), "/").is_ok() => Ok(()),
        None => Err(missing(
            "ruby-bench is fetched with git, which is not on PATH; install git, or set BENCH_RUBY_BENCH_DIR \
             to a checkout"
                .into(),
        )),
    }
}

/// The first Ruby of this version: of the version managers, else of PATH.
fn find_ruby(version: &str, search: &Search) -> Result<PathBuf, PreflightError> {
    let managed = PLACES.iter().map(|place| search.home.join(place.replace("{}", version)));
    let mut others = Vec::new();
    let on_path = which::which_in_all("ruby", Some(&search.path), "/").into_iter().flatten();
    for ruby in managed.filter(|ruby| ruby.is_file()).chain(on_path) {
        match version_of(&ruby) {
            Some(found) if is_version(&found, version) => return Ok(ruby),
            Some(found) => others.push(format!("{} is {found}", ruby.display())),
            None => others.push(format!("{} does not run", ruby.display())),
        }
    }
    let seen = if others.is_empty() { "there is no other Ruby either".to_owned() } else { others.join(", ") };
    Err(missing(format!(
        "Ruby {version} was not found on PATH nor where mise, rbenv, asdf, rvm and chruby install it ({seen}); \
         install it, e.g. `mise install ruby@{version}`"
    )))
}

/// The second word of `ruby -v`.
fn version_of(ruby: &Path) -> Option<String> {
    let output = Command::new(ruby).arg("-v").env_remove("RUBYOPT").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.split_whitespace().nth(1).map(str::to_owned))?
}

/// `3.4` is any 3.4.x; old Rubies add a patch level to the version (`2.7.8p225`).
fn is_version(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn path_with(ruby: &Path, path: &OsString) -> String {
    let folder = ruby.parent().unwrap_or(Path::new("/"));
    format!("{}:{}", folder.display(), path.to_string_lossy())
}

fn missing(message: String) -> PreflightError {
    PreflightError { kind: FailKind::Environment, message }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path, script: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let draft = path.with_extension("draft");
        fs_err::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A process forked meanwhile may hold the draft open for writing, which forbids running it.
        assert!(
            Command::new("cp")
                .args(["-p".as_ref(), draft.as_os_str(), path.as_os_str()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn search(home: &Path, path: &str) -> Search {
        Search { home: home.to_owned(), path: path.into(), checkout: None, repository: REPOSITORY.into() }
    }

    #[test]
    fn the_right_version_is_found_among_managers_and_path() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        program(&bin.join("ruby"), "echo 'ruby 3.3.0 (2023-12-25) [x86_64-linux]'");
        let managed = home.path().join(".rbenv/versions/3.4.7/bin/ruby");
        program(&managed, "echo 'ruby 3.4.7 (2025-10-08) +PRISM [x86_64-linux]'");
        let search = search(home.path(), bin.to_str().unwrap());
        assert_eq!(find_ruby("3.4.7", &search).unwrap(), managed);
        assert_eq!(find_ruby("3.3", &search).unwrap(), bin.join("ruby"));
        let error = find_ruby("3.4.8", &search).unwrap_err();
        assert_eq!(error.kind, FailKind::Environment);
        assert!(error.message.contains("Ruby 3.4.8 was not found"), "{error}");
        assert!(error.message.contains("is 3.3.0"), "{error}");
    }

    #[test]
    fn versions_are_compared_by_whole_numbers() {
        assert!(is_version("3.4.7", "3.4.7") && is_version("3.4.7", "3.4"));
        assert!(is_version("2.7.8p225", "2.7.8"));
        assert!(!is_version("3.4.70", "3.4.7") && !is_version("3.40.0", "3.4"));
    }

    #[test]
    fn the_headline_set_is_run_by_that_ruby_and_fetched_once() {
        let home = tempfile::tempdir().unwrap();
        let ruby = home.path().join(".rubies/ruby-3.4.7/bin/ruby");
        program(&ruby, "echo ruby 3.4.7");
        let shared = home.path().join("shared");
        let surroundings = Surroundings {
            program: Path::new("bench"),
            scratch: home.path(),
            task_dir: home.path(),
            shared: &shared,
        };
        let search = search(home.path(), "/usr/bin");
        let script = plan("3.4.7", &surroundings, &search).unwrap();
        assert_eq!(script.setup.len(), 1);
        assert_eq!(script.setup[0].command[..2], ["git", "clone"]);
        assert!(script.setup[0].on_failure.1.as_deref().is_some_and(|hint| hint.contains("network")));
        let command = script.measure.command.join(" ");
        assert!(command.contains("--headline") && command.contains("--no-pinning"), "{command}");
        assert!(script.measure.env["PATH"].starts_with(ruby.parent().unwrap().to_str().unwrap()));

        fs_err::create_dir_all(shared.join("ruby-bench")).unwrap();
        fs_err::write(shared.join("ruby-bench").join(ENTRY), "").unwrap();
        assert!(plan("3.4.7", &surroundings, &search).unwrap().setup.is_empty());
    }

    #[test]
    fn missing_git_and_a_wrong_checkout_are_named() {
        let empty = tempfile::tempdir().unwrap();
        let mut search = search(empty.path(), empty.path().to_str().unwrap());
        assert!(check_source(&search).unwrap_err().message.contains("git"));
        search.checkout = Some(empty.path().to_owned());
        assert!(check_source(&search).unwrap_err().message.contains(ENTRY));
    }
}

//! Whether user-data renders, fits and is a script, in every mode and on every architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use duct::cmd;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{Check, Outcome};
use crate::api::Alias;
use crate::client::Secret;
use crate::plan::{PlannedProvider, PlannedType, Totals};
use crate::provider::{Arch, Backend, Setting, SettingType};
use crate::render::{self, BinaryFile, Inputs, Rendered, RunFacts, Runner, USER_DATA};
use crate::terraform::Source;

const RENDERS: &str = "user-data";
const VALUES: &str = "user-data values";
const SYNTAX: &str = "user-data syntax";
pub(super) const NAMES: [&str; 3] = [RENDERS, VALUES, SYNTAX];

pub(super) fn checks(backend: &Backend, source: &Source) -> Vec<Check> {
    let failed = |why: String| {
        let rest = [VALUES, SYNTAX].map(|name| Check::skipped(name, "there is no user-data to look at"));
        [Check::failed(RENDERS, why)].into_iter().chain(rest).collect()
    };
    if backend.manifest.user_data.is_none() {
        return failed("the manifest has no `user_data`: hosts would not start a task runner".to_owned());
    }
    let mut found = Vec::new();
    let mut scripts = Vec::new();
    for runner in runners() {
        match sample(backend, source, &runner) {
            Ok(rendered) => {
                let size = rendered.user_data.map_or((0, 0), |size| (size.encoded, size.limit));
                found.push(format!("{}: at most {} of {} bytes", runner.mode(), size.0, size.1));
                let template = rendered.files.get(USER_DATA).unwrap_or_default();
                scripts.push((runner.mode(), String::from_utf8_lossy(template).into_owned()));
            }
            Err(error) => return failed(format!("{}: {}", runner.mode(), crate::cause_chain(&error))),
        }
    }
    let rendered = Check { findings: found, ..Check::of(RENDERS, Vec::new()) };
    let values = scripts.iter().map(|(mode, template)| unpassed(mode, source, template));
    let syntax = scripts.iter().map(|(mode, template)| syntax(mode, template));
    vec![rendered, judge(VALUES, values), judge(SYNTAX, syntax)]
}

/// What was found in one mode: mistakes, or why nothing could be looked for.
type Found = Result<Vec<String>, String>;

/// One check of all modes: mistakes first, then what could not be looked at.
fn judge(name: &'static str, modes: impl Iterator<Item = Found>) -> Check {
    let (looked, unseen): (Vec<Found>, Vec<Found>) = modes.partition(Result::is_ok);
    let mistakes: BTreeSet<String> = looked.into_iter().flatten().flatten().collect();
    let unseen: Vec<String> = unseen.into_iter().filter_map(Result::err).collect();
    if mistakes.is_empty() && !unseen.is_empty() {
        return Check { name, outcome: Outcome::Skipped, findings: unseen };
    }
    Check::of(name, mistakes.into_iter().collect())
}

/// What the folder's files would be for a run with one host of each of a few instance types.
pub(super) fn sample(
    backend: &Backend,
    source: &Source,
    runner: &Runner,
) -> Result<Rendered, render::RenderError> {
    let run = RunFacts {
        run_id: "20260101-000000-test-with-a-long-run-id".parse().expect("the text is a run id"),
        owner: "0123456789abcdef0123456789abcdef".into(),
        ruby_version: Some("3.4.7".into()),
        mock: true,
        debug: true,
        ttl_minutes: 10_080,
        expires_at: 1_800_000_000,
        run_key: Secret::new(format!("rk.{}", "0123456789abcdef".repeat(10))),
        meta_state_path: "/nowhere/meta/terraform.tfstate".into(),
        tags: BTreeMap::new(),
    };
    let provider = planned(backend);
    render::render(&Inputs {
        run: &run,
        provider: &provider,
        manifest: &backend.manifest,
        runner,
        module: &source.module,
        extra: &source.extra,
        templates: &source.templates,
    })
}

/// One of each mode, with long names.
pub(super) fn runners() -> [Runner; 3] {
    let binaries: IndexMap<Arch, BinaryFile> = [Arch::Arm64, Arch::X86_64]
        .into_iter()
        .map(|arch| {
            let url = format!("/api/v1/binaries/{arch}/{}", "0123456789abcdef".repeat(4));
            (arch, BinaryFile { url, sha256: "0123456789abcdef".repeat(4) })
        })
        .collect();
    let image =
        format!("registry.example.com:5000/team/bench-task-runner@sha256:{}", "0123456789abcdef".repeat(4));
    let repo = "https://git.example.com/a-team-with-a-long-name/bench-task-runner.git".to_owned();
    [
        Runner::Image { image },
        Runner::Build {
            repo,
            reference: "0123456789abcdef0123456789abcdef01234567".into(),
            binaries: binaries.clone(),
        },
        Runner::Binary { binaries },
    ]
}

/// Up to two instance types of the catalog, one an architecture.
fn planned(backend: &Backend) -> PlannedProvider {
    let mut names: IndexMap<Arch, (String, u32)> = IndexMap::new();
    for name in backend.catalog().instance_types.keys() {
        let facts = backend.facts(name);
        if let (Some(arch), Some(vcpu)) = (facts.arch, facts.vcpu) {
            names.entry(arch).or_insert((name.clone(), vcpu));
        }
    }
    if names.is_empty() {
        // All facts come from elsewhere; hosts are told the same.
        names.insert(Arch::X86_64, ("an-instance-type".to_owned(), 2));
    }
    let rows: Vec<PlannedType> =
        names.into_iter().map(|(arch, (name, vcpu))| row(arch, name, vcpu)).collect();
    let by_alias =
        |value: fn(&PlannedType) -> u32| rows.iter().map(|row| (row.alias.clone(), value(row))).collect();
    PlannedProvider {
        name: "an-instance-with-a-long-name".into(),
        backend: backend.name().to_owned(),
        phase: backend.manifest.phase,
        driver: backend.manifest.driver,
        orchestrator: backend.manifest.orchestrator,
        settings: settings(backend),
        vcpu_count: by_alias(|row| row.effective_vcpu),
        instance_count: by_alias(|row| row.instances),
        totals: Totals::default(),
        instance_types: rows,
    }
}

fn row(arch: Arch, instance_type: String, vcpu: u32) -> PlannedType {
    let alias: Alias =
        format!("alias-{}", arch.to_string().replace('_', "-")).parse().expect("it is an alias");
    PlannedType {
        alias,
        instance_type,
        vcpu,
        arch,
        effective_vcpu: vcpu,
        instances: 1,
        tasks: vcpu,
        memory_gib: None,
        threads_per_core: None,
        burstable: false,
        spot: true,
        max_price_usd_per_h: Some(1.0),
        price_usd_per_h: None,
        hourly_cost_usd: None,
    }
}

/// The defaults, and something for what has none.
fn settings(backend: &Backend) -> Map<String, Value> {
    let mut settings = backend.settings(&Map::new());
    for (name, setting) in &backend.manifest.settings {
        if !setting.optional && !settings.contains_key(name) {
            settings.insert(name.clone(), something(setting));
        }
    }
    settings
}

fn something(setting: &Setting) -> Value {
    match setting.kind {
        SettingType::String => json!(setting.options.first().map_or("x", String::as_str)),
        SettingType::Integer | SettingType::Number => json!(1),
        SettingType::Boolean => json!(false),
        SettingType::StringList => json!([]),
    }
}

/// Values that the template uses and no `templatefile` of the module passes.
fn unpassed(mode: &str, source: &Source, template: &str) -> Found {
    let (_, used) = render::fill_unknown(template, &json!({})).map_err(|error| {
        format!("{mode}: which values it uses cannot be told: {}", crate::cause_chain(&error))
    })?;
    let missing = used.into_iter().filter(|name| !source.module.passes(name));
    Ok(missing
        .map(|name| format!("the template uses `{name}`, which the module does not pass to it"))
        .collect())
}

/// What its shell says of a script.
fn syntax(mode: &str, template: &str) -> Found {
    let text = match render::fill_unknown(template, &json!({})) {
        Ok((text, _)) => text,
        // Enough for a shell's parser are empty values.
        Err(_) => with_empty_values(template),
    };
    let first = text.lines().next().unwrap_or_default();
    let Some(shell) = first.strip_prefix("#!").and_then(|line| line.split_whitespace().next()) else {
        return Err(format!("{mode}: it is no script: its first line is `{first}`, not `#!` and a shell"));
    };
    if !Path::new(shell).is_file() {
        return Err(format!("{mode}: this machine has no {shell} to parse it"));
    }
    let parse = cmd(shell, ["-n"]).stdin_bytes(text.as_str()).stderr_capture().stdout_null().unchecked();
    let parsed = parse.run().map_err(|error| format!("{mode}: {shell} could not be started: {error}"))?;
    if parsed.status.success() {
        return Ok(Vec::new());
    }
    let said = String::from_utf8_lossy(&parsed.stderr).trim().replace('\n', "; ");
    Ok(vec![format!("{mode}: {shell} -n says: {said}")])
}

/// Interpolations become empty and escapes what they stand for; enough for a shell's parser.
fn with_empty_values(template: &str) -> String {
    let escaped = template.replace("$${", "\u{1}").replace("%%{", "\u{2}");
    let pattern = regex::Regex::new(r"[$%]\{[^{}]*\}").expect("the pattern is constant");
    let text = pattern.replace_all(&escaped, "");
    text.replace('\u{1}', "${").replace('\u{2}', "%{")
}

//! Whether user-data renders, fits and is a script, in every mode and on every architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use duct::cmd;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::Check;
use crate::api::Alias;
use crate::client::Secret;
use crate::plan::{PlannedProvider, PlannedType, Totals};
use crate::provider::{Arch, Backend, Setting, SettingType};
use crate::render::{self, BinaryFile, Inputs, Rendered, RunFacts, Runner, USER_DATA};
use crate::terraform::Source;

pub(super) fn checks(backend: &Backend, source: &Source) -> Vec<Check> {
    const NAME: &str = "user-data";
    const VALUES: &str = "user-data values";
    const SYNTAX: &str = "user-data syntax";
    if backend.manifest.user_data.is_none() {
        let why = "the manifest has no `user_data`: hosts would not start a task runner";
        return vec![Check::failed(NAME, why)];
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
            Err(error) => {
                return vec![Check::failed(
                    NAME,
                    format!("{}: {}", runner.mode(), crate::cause_chain(&error)),
                )];
            }
        }
    }
    let rendered = Check { findings: found, ..Check::of(NAME, Vec::new()) };
    let mistakes = scripts.iter().filter_map(|(mode, template)| syntax(mode, template));
    let unpassed: BTreeSet<String> =
        scripts.iter().flat_map(|(_, template)| unpassed(source, template)).collect();
    vec![rendered, Check::of(VALUES, unpassed.into_iter().collect()), Check::of(SYNTAX, mistakes.collect())]
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
fn unpassed(source: &Source, template: &str) -> Vec<String> {
    let Ok((_, used)) = render::fill_unknown(template, &json!({})) else { return Vec::new() };
    let missing = used.into_iter().filter(|name| !source.module.passes(name));
    missing.map(|name| format!("the template uses `{name}`, which the module does not pass to it")).collect()
}

/// What its shell says of a script; nothing of what is no script, and where there is no such shell.
fn syntax(mode: &str, template: &str) -> Option<String> {
    let text = match render::fill_unknown(template, &json!({})) {
        Ok((text, _)) => text,
        // Some value must be a number or a list: enough for a shell's parser are empty ones.
        Err(_) => with_empty_values(template),
    };
    let shell = text.strip_prefix("#!")?.lines().next()?.trim().to_owned();
    let shell = shell.split_whitespace().next()?.to_owned();
    if !Path::new(&shell).is_file() {
        return None;
    }
    let checked =
        cmd(&shell, ["-n"]).stdin_bytes(text).stderr_capture().stdout_null().unchecked().run().ok()?;
    (!checked.status.success()).then(|| {
        format!(
            "{mode}: {shell} -n says: {}",
            String::from_utf8_lossy(&checked.stderr).trim().replace('\n', "; ")
        )
    })
}

/// Interpolations become empty and escapes what they stand for; enough for a shell's parser.
fn with_empty_values(template: &str) -> String {
    let escaped = template.replace("$${", "\u{1}").replace("%%{", "\u{2}");
    let pattern = regex::Regex::new(r"[$%]\{[^{}]*\}").expect("the pattern is constant");
    let text = pattern.replace_all(&escaped, "");
    text.replace('\u{1}', "${").replace('\u{2}', "%{")
}

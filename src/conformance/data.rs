//! What stands in a folder as data: credentials, catalog, classes of errors, the sweep.

use serde_json::{Map, Value, json};

use crate::provider::{Backend, Driver, ErrorClassName, Manifest};
use crate::sweep::{self, Values};
use crate::words::count;

use super::Check;

/// Classes that bound how long a hopeless apply lasts, or what its message says.
const NEEDED_CLASSES: [(ErrorClassName, &str); 4] = [
    (ErrorClassName::Credentials, "credentials"),
    (ErrorClassName::Quota, "quota"),
    (ErrorClassName::Capacity, "capacity"),
    (ErrorClassName::Throttling, "throttling"),
];

const ERROR_CLASSES: &str = "error classes";
const SWEEP: &str = "sweep manifest";

pub(super) fn checks(backend: &Backend) -> Vec<Check> {
    let mut checks = vec![credentials(backend), catalog(backend)];
    checks.extend(match backend.manifest.driver {
        Driver::Terraform => [error_classes(backend), sweep(backend)],
        Driver::Local => [ERROR_CLASSES, SWEEP]
            .map(|name| Check::not_applicable(name, "the host is this machine: nothing is made in a cloud")),
    });
    checks
}

fn credentials(backend: &Backend) -> Check {
    let manifest = &backend.manifest;
    let empty = manifest.credentials.iter().filter(|source| source.env.is_empty() && source.files.is_empty());
    let empty = empty.map(|source| format!("source `{}` names neither variables nor files", source.name));
    let mistakes = empty.chain(check_places(manifest)).chain(stand_ins(manifest));
    let mut check = Check::of("credentials", mistakes.collect());
    if check.findings.is_empty() {
        check.findings.push(match (manifest.credentials.len(), &manifest.credential_check) {
            (0, _) => "the backend needs none".to_owned(),
            (n, Some(command)) => format!("{n} sources, checked by `{}`", command.join(" ")),
            (n, None) => {
                let checked = manifest.credentials.iter().filter(|source| source.check.is_some()).count();
                format!("{n} sources, {checked} of them checked by a command of their own")
            }
        });
    }
    check
}

/// What a check of credentials asks for and no provider instance can say: it would be left out in every run.
fn check_places(manifest: &Manifest) -> Vec<String> {
    let known: Map<String, Value> =
        manifest.settings.keys().map(|name| (name.clone(), json!(name))).collect();
    let values = Values::of(&known);
    let own = manifest.credentials.iter().filter_map(|source| source.check.as_ref());
    let more = manifest.check_arguments_when_set.values();
    let commands = manifest.credential_check.iter().chain(own).chain(more);
    let unknown = commands.filter_map(|command| Some((command, values.render(command).err()?)));
    let unknown = unknown.map(|(command, missing)| {
        format!("`{}` asks for `{{{{{}}}}}`, which is no setting", command.join(" "), missing.name)
    });
    let added = manifest.check_arguments_when_set.keys().filter(|name| !known.contains_key(*name));
    let added = added.map(|name| format!("`check_arguments_when_set` names `{name}`, which is no setting"));
    unknown.chain(added).collect()
}

/// Settings that take the place of a variable which no source asks for.
fn stand_ins(manifest: &Manifest) -> impl Iterator<Item = String> {
    let asked = |variable: &String| manifest.credentials.iter().any(|source| source.env.contains(variable));
    manifest.settings.iter().filter_map(move |(name, setting)| {
        let variable = setting.instead_of_env.as_ref().filter(|variable| !asked(variable))?;
        Some(format!(
            "setting `{name}` takes the place of `{variable}`, which no source of credentials names"
        ))
    })
}

fn catalog(backend: &Backend) -> Check {
    let types = &backend.catalog().instance_types;
    let manifest = &backend.manifest.instance_types;
    if backend.manifest.driver == Driver::Local {
        return Check::passed("catalog", count(types.len(), "instance type"));
    }
    if types.is_empty() && manifest.live_query.is_none() {
        let why = "there is neither a catalog with instance types nor a live query: vCPU counts would have to \
                   stand in every config";
        return Check::failed("catalog", why);
    }
    let unknown = types.keys().filter_map(|name| {
        let facts = backend.facts(name);
        let missing = [("vcpu", facts.vcpu.is_none()), ("arch", facts.arch.is_none())];
        let missing: Vec<&str> =
            missing.into_iter().filter(|(_, missing)| *missing).map(|(what, _)| what).collect();
        (!missing.is_empty()).then(|| format!("`{name}`: no {}", missing.join(", no ")))
    });
    let mut check = Check::of("catalog", unknown.collect());
    if check.findings.is_empty() {
        check.findings.push(match types.len() {
            0 => "no instance types: all facts come from the live query, which is not asked here".to_owned(),
            n => count(n, "instance type"),
        });
    }
    check
}

fn error_classes(backend: &Backend) -> Check {
    let has = |class| backend.manifest.error_classes.iter().any(|entry| entry.class == class);
    let missing = NEEDED_CLASSES.iter().filter(|(class, _)| !has(*class));
    Check::of(ERROR_CLASSES, missing.map(|(_, name)| format!("no code stands for `{name}`")).collect())
}

fn sweep(backend: &Backend) -> Check {
    match sweep::load(backend) {
        Ok(manifest) => {
            let kinds: Vec<&str> = manifest.steps.iter().map(|step| step.kind.as_str()).collect();
            Check::passed(SWEEP, format!("finds and deletes: {}", kinds.join(", ")))
        }
        Err(error) => Check::failed(SWEEP, crate::cause_chain(&error)),
    }
}

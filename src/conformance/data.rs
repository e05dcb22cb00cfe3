//! What stands in a folder as data: credentials, catalog, classes of errors, the sweep.

use crate::provider::{Backend, Driver, ErrorClassName};
use crate::sweep;
use crate::words::count;

use super::Check;

/// Classes that bound how long a hopeless apply lasts, or what its message says.
const NEEDED_CLASSES: [(ErrorClassName, &str); 4] = [
    (ErrorClassName::Credentials, "credentials"),
    (ErrorClassName::Quota, "quota"),
    (ErrorClassName::Capacity, "capacity"),
    (ErrorClassName::Throttling, "throttling"),
];

pub(super) fn checks(backend: &Backend) -> Vec<Check> {
    let mut checks = vec![credentials(backend), catalog(backend)];
    if backend.manifest.driver == Driver::Terraform {
        checks.extend([error_classes(backend), sweep(backend)]);
    }
    checks
}

fn credentials(backend: &Backend) -> Check {
    let manifest = &backend.manifest;
    let empty = manifest.credentials.iter().filter(|source| source.env.is_empty() && source.files.is_empty());
    let mistakes = empty.map(|source| format!("source `{}` names neither variables nor files", source.name));
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
        check.findings.push(count(types.len(), "instance type"));
    }
    check
}

fn error_classes(backend: &Backend) -> Check {
    let has = |class| backend.manifest.error_classes.iter().any(|entry| entry.class == class);
    let missing = NEEDED_CLASSES.iter().filter(|(class, _)| !has(*class));
    Check::of("error classes", missing.map(|(_, name)| format!("no code stands for `{name}`")).collect())
}

fn sweep(backend: &Backend) -> Check {
    match sweep::load(backend) {
        Ok(manifest) => {
            let kinds: Vec<&str> = manifest.steps.iter().map(|step| step.kind.as_str()).collect();
            Check::passed("sweep manifest", format!("finds and deletes: {}", kinds.join(", ")))
        }
        Err(error) => Check::failed("sweep manifest", error.to_string()),
    }
}

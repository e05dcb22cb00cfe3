//! PURE. What a module must declare and use.

use crate::master::meta::VARIABLES as META_VARIABLES;
use crate::provider::Manifest;
use crate::render::{Module, STANDARD};

use super::Check;

/// Variables without which a module cannot do its work.
const NEEDED: [&str; 8] = [
    "run_id",
    "owner",
    "provider_name",
    "instance_types",
    "instance_count",
    "vcpu_count",
    "run_key",
    "meta_state_path",
];
const OUTPUTS: [&str; 3] = ["run_id", "task_runner_instances", "task_runner_instance_ids"];
/// The same of a module that makes an orchestrator.
const STACK_NEEDED: [&str; 7] =
    ["owner", "bench_version", "binary_path", "binary_sha256", "admin_key", "tls_certificate", "tls_key"];
const STACK_SECRETS: [&str; 2] = ["admin_key", "tls_key"];
const STACK_OUTPUTS: [&str; 5] =
    ["orchestrator_url", "orchestrator_pin", "api_key", "instance_id", "instance_type"];
const IDLE: &str = "idle_minutes";
/// In the variable `tags`, which a module that hands it on need not name one by one.
const COMMON_TAGS: [&str; 6] =
    ["bench_managed", "bench_owner", "bench_run_id", "bench_backend", "bench_provider", "bench_expires_at"];
/// An orchestrator has no time at which it expires.
const STACK_TAGS: [&str; 5] =
    ["bench_managed", "bench_owner", "bench_run_id", "bench_backend", "bench_provider"];
const ALIAS_TAG: &str = "bench_alias";

const VARIABLES: &str = "variables";
const OUTPUT: &str = "outputs";
const TAGS: &str = "tags";
const REMOTE_STATE: &str = "remote state";
const VERSIONS: &str = "provider versions";
pub(super) const NAMES: [&str; 5] = [VARIABLES, OUTPUT, TAGS, REMOTE_STATE, VERSIONS];

pub(super) fn checks(manifest: &Manifest, module: &Module) -> Vec<Check> {
    vec![
        Check::of(VARIABLES, variables(manifest, module)),
        Check::of(OUTPUT, outputs(module, &OUTPUTS)),
        Check::of(TAGS, tags(module, &COMMON_TAGS).chain(alias_tag(module)).collect()),
        Check::of(REMOTE_STATE, remote_state(module)),
        Check::of(VERSIONS, versions(module)),
    ]
}

/// For a module that makes an orchestrator.
pub(super) fn stack_checks(manifest: &Manifest, module: &Module) -> Vec<Check> {
    let mut mistakes = declarations(manifest, module, &STACK_NEEDED, &META_VARIABLES, &STACK_SECRETS);
    if !manifest.settings.contains_key(IDLE) {
        mistakes.push(format!("there is no setting `{IDLE}`: the machine would never end itself"));
    }
    vec![
        Check::of(VARIABLES, mistakes),
        Check::of(OUTPUT, outputs(module, &STACK_OUTPUTS)),
        Check::of(TAGS, tags(module, &STACK_TAGS).collect()),
        Check::not_applicable(REMOTE_STATE, "it makes the orchestrator that others read about"),
        Check::of(VERSIONS, versions(module)),
    ]
}

fn variables(manifest: &Manifest, module: &Module) -> Vec<String> {
    let mut mistakes = declarations(manifest, module, &NEEDED, &STANDARD, &["run_key"]);
    if !module.declares("ttl_minutes") && !module.declares("expires_at") {
        mistakes.push(
            "neither `ttl_minutes` nor `expires_at` is declared: hosts would not know their end".into(),
        );
    }
    mistakes
}

/// `standard` are the variables that the master sets, `needed` those of them that must be there.
fn declarations(
    manifest: &Manifest,
    module: &Module,
    needed: &[&str],
    standard: &[&str],
    secrets: &[&str],
) -> Vec<String> {
    let is_set = |name: &str| manifest.settings.contains_key(name) || standard.contains(&name);
    let missing = needed.iter().filter(|name| !module.declares(name)).map(|name| {
        format!("variable `{name}` is not declared; the master sets it, and the module cannot do without")
    });
    let undeclared = manifest.settings.keys().filter(|name| !module.declares(name));
    let undeclared = undeclared.map(|name| format!("setting `{name}` is not a variable of the module"));
    let shadowed = manifest.settings.keys().filter(|name| standard.contains(&name.as_str()));
    let shadowed =
        shadowed.map(|name| format!("setting `{name}` has the name of a variable that the master sets"));
    let unset = module.variables().filter(|variable| !variable.has_default && !is_set(&variable.name));
    let unset = unset.map(|variable| {
        format!("variable `{}` has no default, is no setting, and is not set by the master", variable.name)
    });
    let unused = module.variables().filter(|variable| !module.mentions(&format!("var.{}", variable.name)));
    let unused = unused.map(|variable| format!("variable `{}` is not used", variable.name));
    let open = module.variables().filter(|variable| secrets.contains(&variable.name.as_str()));
    let open = open.filter(|variable| !variable.sensitive);
    let open = open
        .map(|variable| format!("variable `{}` is not `sensitive`: it would show in logs", variable.name));
    missing.chain(undeclared).chain(shadowed).chain(unset).chain(unused).chain(open).collect()
}

fn outputs(module: &Module, needed: &[&str]) -> Vec<String> {
    let missing = needed.iter().filter(|name| !module.has_output(name));
    missing.map(|name| format!("output `{name}` is missing")).collect()
}

fn tags(module: &Module, wanted: &[&'static str]) -> impl Iterator<Item = String> {
    let hands_on = module.mentions("var.tags");
    wanted.iter().filter(move |tag| !hands_on && !module.mentions(tag)).map(|tag| unset(tag))
}

fn alias_tag(module: &Module) -> Option<String> {
    (!module.mentions(ALIAS_TAG)).then(|| unset(ALIAS_TAG))
}

fn unset(tag: &str) -> String {
    format!("tag `{tag}` is never set: what carries it not is not found by a sweep")
}

fn remote_state(module: &Module) -> Vec<String> {
    let mut mistakes = Vec::new();
    if !module.has_data("terraform_remote_state", "meta") {
        mistakes.push(
            "there is no `data \"terraform_remote_state\" \"meta\"`: hosts would not know the orchestrator"
                .into(),
        );
    }
    let outputs = "data.terraform_remote_state.meta.outputs";
    for name in ["orchestrator_url", "orchestrator_pin"] {
        if !module.mentions(&format!("{outputs}.{name}")) {
            mistakes.push(format!("`{outputs}.{name}` is not used"));
        }
    }
    if module.mentions(&format!("{outputs}.api_key")) {
        mistakes.push("the admin key (`api_key`) is used: hosts get `var.run_key` only".into());
    }
    mistakes
}

fn versions(module: &Module) -> Vec<String> {
    let is_exact = |version: &str| {
        let version = version.trim_start_matches(['=', ' ']);
        !version.is_empty()
            && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
    };
    let loose = module
        .required_providers()
        .into_iter()
        .filter(|(_, version)| !version.as_deref().is_some_and(is_exact));
    loose
        .map(|(name, version)| {
            let found = version.map_or_else(|| "any version".to_owned(), |version| format!("`{version}`"));
            format!("provider `{name}` is not pinned: {found}; give one exact version")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Outcome;

    fn manifest() -> Manifest {
        let json = serde_json::json!({
            "name": "toy", "description": "d", "phase": "post_run", "driver": "terraform", "orchestrator": "any",
            "settings": {
                "region": { "type": "string", "description": "d" },
                "owner": { "type": "string", "description": "d" },
            },
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let text = r#"
            terraform {
              required_providers {
                x = { source = "a/x", version = "~> 1.0" }
              }
            }
            variable "run_id" {}
            variable "run_key" {}
            variable "unknown" {}
            resource "x_host" "h" {
              id  = var.run_id
              key = data.terraform_remote_state.meta.outputs.api_key
            }
            output "run_id" { value = var.unknown }
        "#;
        let module = Module::parse([("main.tf".to_owned(), text.to_owned())]).unwrap();
        let checks = checks(&manifest(), &module);
        assert!(checks.iter().all(|check| check.outcome == Outcome::Failed), "{checks:#?}");
        let all = checks.iter().flat_map(|check| &check.findings).cloned().collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(all);
    }
}

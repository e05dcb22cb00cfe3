//! `terraform.tfvars.json`: the values of a module's variables.

use serde_json::{Map, Value, json};

use super::{Inputs, Runner};

/// Name of the file that Terraform reads by itself.
pub const TFVARS: &str = "terraform.tfvars.json";

/// Variables that the master sets; a backend's settings come beside them.
pub const STANDARD: [&str; 16] = [
    "run_id",
    "owner",
    "backend",
    "provider_name",
    "ruby_version",
    "instance_types",
    "vcpu_count",
    "instance_count",
    "mock_benchmark",
    "debug_mode",
    "ttl_minutes",
    "expires_at",
    "tags",
    "meta_state_path",
    "run_key",
    "runner",
];

/// The values of those variables that the module declares: Terraform warns about others.
pub(super) fn values(inputs: &Inputs<'_>) -> Map<String, Value> {
    let declared = |(name, _): &(String, Value)| inputs.module.declares(name);
    let settings = inputs.provider.settings.clone().into_iter();
    // The master's own win: a setting cannot change who a resource belongs to.
    settings.chain(standard(inputs)).filter(declared).collect()
}

fn standard(inputs: &Inputs<'_>) -> Map<String, Value> {
    let Inputs { run, provider, .. } = inputs;
    let types = provider.instance_types.iter().map(|row| {
        json!({
            "instance_type": row.instance_type,
            "alias": row.alias,
            "arch": row.arch,
            "spot": row.spot,
            "max_price_usd_per_h": row.max_price_usd_per_h,
        })
    });
    let values = json!({
        "run_id": run.run_id,
        "owner": run.owner,
        "backend": provider.backend,
        "provider_name": provider.name,
        "ruby_version": run.ruby_version.as_deref().unwrap_or_default(),
        "instance_types": types.collect::<Vec<_>>(),
        "vcpu_count": provider.vcpu_count,
        "instance_count": provider.instance_count,
        "mock_benchmark": run.mock,
        "debug_mode": run.debug,
        "ttl_minutes": run.ttl_minutes,
        "expires_at": run.expires_at,
        "tags": tags(inputs),
        "meta_state_path": run.meta_state_path,
        "run_key": run.run_key.expose(),
        "runner": runner(inputs.runner),
    });
    match values {
        Value::Object(map) => map,
        _ => unreachable!("the value above is an object"),
    }
}

/// The user's tags, and those by which a sweep finds what Terraform no longer knows. A module adds
/// `bench_alias` and what is needed to connect.
fn tags(inputs: &Inputs<'_>) -> Map<String, Value> {
    let Inputs { run, provider, manifest, .. } = inputs;
    let fixed = [
        ("bench_managed", "true".to_owned()),
        ("bench_owner", run.owner.clone()),
        ("bench_run_id", run.run_id.to_string()),
        ("bench_backend", provider.backend.clone()),
        ("bench_provider", provider.name.clone()),
        ("bench_expires_at", run.expires_at.to_string()),
    ];
    let user = run.tags.clone().into_iter();
    let all = user.chain(fixed.map(|(name, value)| (name.to_owned(), value)));
    let lower = manifest.tags.as_ref().is_some_and(|rules| rules.lower_case);
    all.map(|(name, value)| match lower {
        true => (name.to_lowercase(), json!(value.to_lowercase())),
        false => (name, json!(value)),
    })
    .collect()
}

fn runner(runner: &Runner) -> Value {
    let (image, repo, reference) = match runner {
        Runner::Image { image } => (image.as_str(), "", ""),
        Runner::Build { repo, reference, .. } => ("", repo.as_str(), reference.as_str()),
        Runner::Binary { .. } => ("", "", ""),
    };
    let binaries = runner
        .binaries()
        .into_iter()
        .flatten()
        .map(|(arch, binary)| (arch.to_string(), json!({ "url": binary.url, "sha256": binary.sha256 })));
    json!({
        "mode": runner.mode(),
        "image": image,
        "repo": repo,
        "ref": reference,
        "binaries": binaries.collect::<Map<_, _>>(),
    })
}

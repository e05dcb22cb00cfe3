//! PURE. `terraform.tfvars.json` of the meta stack.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::folder::Keys;
use super::record::MetaRecord;
use crate::render::Module;

/// Variables that the master sets; the backend's settings come beside them.
pub const VARIABLES: [&str; 11] = [
    "owner",
    "bench_version",
    "arch",
    "binary_path",
    "binary_sha256",
    "admin_key",
    "tls_certificate",
    "tls_key",
    "orchestrator_pin",
    "generation",
    "tags",
];

/// The values of those variables that the module declares. `program` is absolute, `sha256` its digest.
pub fn values(
    module: &Module,
    record: &MetaRecord,
    keys: &Keys,
    program: &Path,
    sha256: &str,
) -> Map<String, Value> {
    let own = [
        ("owner", json!(record.owner)),
        ("bench_version", json!(record.version)),
        ("arch", json!(record.arch)),
        ("binary_path", json!(program)),
        ("binary_sha256", json!(sha256)),
        ("admin_key", json!(keys.admin_key.expose())),
        ("tls_certificate", json!(keys.certificate)),
        ("tls_key", json!(keys.tls_key.expose())),
        ("orchestrator_pin", json!(keys.pin.to_string())),
        ("generation", json!(record.generation)),
        ("tags", tags(record)),
    ];
    debug_assert!(own.iter().map(|(name, _)| *name).eq(VARIABLES));
    let own = own.map(|(name, value)| (name.to_owned(), value));
    // The master's own win: a setting cannot change who a resource belongs to.
    let all = record.settings.clone().into_iter().chain(own);
    all.filter(|(name, _)| module.declares(name)).collect()
}

/// By which a sweep finds what Terraform no longer knows. There is no time at which it expires: it ends when
/// it is idle.
fn tags(record: &MetaRecord) -> Value {
    json!({
        "bench_managed": "true",
        "bench_owner": record.owner,
        "bench_run_id": format!("meta-{}", record.owner),
        "bench_backend": record.backend,
        "bench_provider": record.backend,
    })
}

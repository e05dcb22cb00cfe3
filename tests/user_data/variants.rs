//! Every form of the user-data that the embedded backends give their hosts, rendered as a run renders it:
//! handlebars chooses the structure, Terraform fills in the values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench::provider::{Manifest, PackageManager};
use serde_json::{Value, json};

pub const MODES: [&str; 3] = ["image", "build", "binary"];

/// One backend's manifest and one way to bring the task runner.
pub struct Variant {
    pub name: String,
    pub manifest: Manifest,
    mode: &'static str,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folders under `infrastructure/` whose hosts have user-data, in all modes.
pub fn all() -> Vec<Variant> {
    let mut variants = Vec::new();
    for entry in fs_err::read_dir(root().join("infrastructure")).unwrap() {
        let Ok(text) = fs_err::read_to_string(entry.unwrap().path().join("provider.json")) else { continue };
        let manifest: Manifest = serde_json::from_value(without_comments(text.parse().unwrap())).unwrap();
        if manifest.user_data.is_some() {
            variants.extend(MODES.map(|mode| Variant {
                name: format!("{}-{mode}", manifest.name),
                manifest: manifest.clone(),
                mode,
            }));
        }
    }
    variants.sort_by(|a, b| a.name.cmp(&b.name));
    variants
}

fn without_comments(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(key, _)| !key.starts_with(['_', '$']))
            .map(|(key, value)| (key, without_comments(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_comments).collect(),
        other => other,
    }
}

impl Variant {
    /// The file that the master writes beside the module.
    pub fn template(&self) -> String {
        let user_data = self.manifest.user_data.as_ref().unwrap();
        let mut engine = handlebars::Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(handlebars::no_escape);
        let template = fs_err::read_to_string(root().join("templates").join(&user_data.template)).unwrap();
        let context = json!({
            "mode": self.mode,
            "mode_image": self.mode == "image",
            "mode_build": self.mode == "build",
            "mode_binary": self.mode == "binary",
            "package_manager": match user_data.package_manager {
                PackageManager::Apt => "apt",
                PackageManager::Dnf => "dnf",
            },
            "metadata": user_data.metadata,
            "spot_watch": user_data.spot_watch,
            "power_off": user_data.power_off,
        });
        engine.render_template(&template, &context).unwrap()
    }
}

/// Values as the modules pass them, with what could break out of quotes.
pub fn values() -> Value {
    json!({
        "orchestrator_url": "https://198.51.100.7/",
        "orchestrator_pin": "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "run_key": "rk.1a2b.20261120-101500-k3v9.1795000000.0123456789abcdef0123456789abcdef",
        "run_id": "20261120-101500-k3v9",
        "provider": "cloud-eu",
        "backend": "cloud",
        "instance_type": "Standard_D2ps_v6",
        "alias": "c7g",
        "runners": 2,
        "ttl_minutes": 240,
        "expires_at": 4_102_444_800_i64,
        "image": "registry/bench:1",
        "repo": "https://git.example/it's $(touch /tmp/broken)",
        "ref": "main",
        "binary_url": "/api/v1/binaries/x86_64",
        "binary_sha256": "0".repeat(64),
        "ruby_version": "",
        "mock": false,
        "debug": false,
    })
}

/// Fills values in with `templatefile`, all templates in one go. `None` where terraform is missing.
pub fn fill(
    templates: &BTreeMap<String, String>,
    values: &Value,
    folder: &Path,
) -> Option<BTreeMap<String, String>> {
    which::which("terraform").ok()?;
    let mut outputs = serde_json::Map::new();
    for (name, text) in templates {
        fs_err::write(folder.join(format!("{name}.tftpl")), text).unwrap();
        let call = format!("${{templatefile(\"${{path.module}}/{name}.tftpl\", var.values)}}");
        outputs.insert(name.clone(), json!({ "value": call }));
    }
    let module = json!({ "variable": { "values": { "default": values } }, "output": outputs });
    fs_err::write(folder.join("main.tf.json"), module.to_string()).unwrap();
    terraform(folder, &["apply", "-auto-approve", "-input=false", "-no-color"]);
    let shown: BTreeMap<String, Value> =
        serde_json::from_slice(&terraform(folder, &["output", "-json", "-no-color"])).unwrap();
    Some(shown.into_iter().map(|(name, output)| (name, text(&output["value"]))).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn terraform(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("terraform")
        .args(arguments)
        .current_dir(folder)
        .env("CHECKPOINT_DISABLE", "1")
        .env_remove("TF_CLI_CONFIG_FILE")
        .output()
        .unwrap();
    assert!(output.status.success(), "terraform {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

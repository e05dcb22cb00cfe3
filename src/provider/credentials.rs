//! Credentials as manifests name them: whether a source is there, and what it is called.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{CredentialSource, Manifest};

impl CredentialSource {
    /// Every variable is set, or one of the provider instance's settings takes its place, and every file is there.
    /// Whether they let anybody in is not known from that.
    pub fn is_there(&self, manifest: &Manifest, settings: &Map<String, Value>) -> bool {
        let set = |variable: &String| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        let replaced = |variable: &String| {
            manifest.settings.iter().any(|(name, setting)| {
                setting.instead_of_env.as_ref() == Some(variable)
                    && settings.get(name).is_some_and(|value| !value.is_null() && value != "")
            })
        };
        self.env.iter().all(|variable| set(variable) || replaced(variable))
            && self.files.iter().all(|file| in_home(file).exists())
    }
}

impl fmt::Display for CredentialSource {
    /// `access key (KEY_ID, SECRET)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.env.iter().chain(&self.files).map(String::as_str).collect();
        write!(f, "{} ({})", self.name, parts.join(", "))
    }
}

fn in_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(file),
    }
}

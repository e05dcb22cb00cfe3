//! The environment that Terraform runs in: the user's, without what would change its meaning.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Prefixes of variables that add arguments, values, logs or folders behind the master's back, and of the
/// master's own: `BENCH_API_KEY` is the admin key, which no host and no provisioner may see.
const DROPPED_PREFIXES: [&str; 4] = ["TF_CLI_ARGS", "TF_VAR_", "TF_LOG", "BENCH_"];
/// `TF_ENCRYPTION` would make the state unreadable for recovery; the run's folder is private instead.
const DROPPED: [&str; 4] = ["TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT", "TF_ENCRYPTION"];

/// Set for every command: a program drives it, and nobody wants to hear of newer versions.
const SET: [(&str, &str); 3] = [("TF_IN_AUTOMATION", "1"), ("CHECKPOINT_DISABLE", "1"), ("TF_INPUT", "0")];

/// A whole environment. Its values may be secrets, so it does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// This process's, scrubbed.
    pub fn inherited() -> Environment {
        scrub(std::env::vars_os())
    }

    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Environment {
        self.0.insert(name.into(), value.into());
        self
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// PURE. Drops what would change Terraform's meaning; keeps the CLI configuration and the clouds' variables.
pub fn scrub(inherited: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    let kept = inherited.into_iter().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !DROPPED.contains(&name.as_ref()) && !DROPPED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    let set = SET.into_iter().map(|(name, value)| (name.into(), value.into()));
    Environment(kept.chain(set).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_terraforms_meaning_is_dropped_and_the_rest_kept() {
        let inherited = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("TF_CLI_ARGS", "-lock=false"),
            ("TF_CLI_ARGS_apply", "-refresh=false"),
            ("TF_VAR_run_id", "other"),
            ("TF_WORKSPACE", "other"),
            ("TF_LOG", "trace"),
            ("TF_LOG_PATH", "/tmp/log"),
            ("TF_DATA_DIR", "/tmp/data"),
            ("TF_CLI_CONFIG_FILE", "/etc/terraformrc"),
            ("TF_PLUGIN_CACHE_DIR", "/cache"),
            ("CLOUD_ACCESS_KEY", "secret"),
            ("BENCH_API_KEY", "admin"),
        ];
        let scrubbed = scrub(inherited.map(|(name, value)| (name.into(), value.into())));
        let names: Vec<_> = scrubbed.variables().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "CHECKPOINT_DISABLE",
                "CLOUD_ACCESS_KEY",
                "HOME",
                "PATH",
                "TF_CLI_CONFIG_FILE",
                "TF_INPUT",
                "TF_IN_AUTOMATION",
                "TF_PLUGIN_CACHE_DIR"
            ]
        );
        assert!(!format!("{scrubbed:?}").contains("secret"));
    }
}

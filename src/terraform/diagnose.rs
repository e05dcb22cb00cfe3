//! PURE. Why Terraform failed: diagnostics and the backend's table of API codes in, a class and a next step
//! out. Terraform's prose is never read; the cloud's own code is.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Diagnostic;
use crate::provider::{ErrorClass, ErrorClassName, Manifest};

/// Why an operation failed, in the order in which one reason hides another: without credentials nothing
/// else can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    Credentials,
    Permission,
    Quota,
    Capacity,
    Invalid,
    Throttling,
    Network,
    Transient,
    Unknown,
}

/// What is known about a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    pub class: FailureClass,
    /// The cloud's code that told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A sentence.
    pub next_step: String,
    /// The diagnostic that told, else the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<Diagnostic>,
}

/// How an API's code stands in errors of most providers. A backend's manifest adds its own way of writing
/// them (`code_patterns`).
static CODES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // "operation error X, https response error StatusCode: 400, RequestID: y, api error CODE: text"
        r"\bapi error ([A-Za-z][\w.]*)",
        // `Code="CODE" Message="…"`, `"code": "CODE"`, `error code: CODE`, `error_code=CODE`
        r#"(?i)\bcode["']?\s*[:=]\s*["']?([A-Za-z][\w.]*)"#,
    ]
    .map(|pattern| Regex::new(pattern).expect("the pattern is constant"))
    .into()
});

/// What Go's network package says, whatever the provider: there was no answer to hold a code.
static NETWORK: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"dial tcp|no such host|connection refused|connection reset by peer|i/o timeout|TLS handshake timeout|network is unreachable|no route to host|x509: |Client\.Timeout exceeded|could not connect to registry|server misbehaving";
    Regex::new(pattern).expect("the pattern is constant")
});

/// Sorts failures by one backend's table.
#[derive(Debug, Default)]
pub struct Diagnostician {
    /// How codes stand in this backend's errors, beside [`CODES`].
    patterns: Vec<Regex>,
    table: Vec<(Regex, ErrorClass)>,
}

impl Diagnostician {
    /// # Panics
    /// Where a pattern is no regular expression; the registry checks them.
    pub fn new(manifest: &Manifest) -> Diagnostician {
        let compile = |pattern: &String| Regex::new(pattern).expect("the manifest's patterns were checked");
        let entry = |class: &ErrorClass| (compile(&class.code_regex), class.clone());
        Diagnostician {
            patterns: manifest.code_patterns.iter().map(compile).collect(),
            table: manifest.error_classes.iter().map(entry).collect(),
        }
    }

    /// The reason that explains the others; `Unknown` where none has a known code.
    pub fn diagnose(&self, errors: &[Diagnostic]) -> Diagnosis {
        let found = errors.iter().map(|error| self.one(error)).min_by_key(|diagnosis| diagnosis.class);
        found.unwrap_or_else(|| Diagnosis {
            class: FailureClass::Unknown,
            code: None,
            next_step: next_step(FailureClass::Unknown).to_owned(),
            diagnostic: None,
        })
    }

    fn one(&self, error: &Diagnostic) -> Diagnosis {
        let texts = [error.summary.as_str(), error.detail.as_str()];
        let codes: Vec<&str> = texts.iter().flat_map(|text| self.codes(text)).collect();
        // An error that was made before any call has no code; a table may know its whole summary.
        let known = codes.iter().copied().chain([error.summary.as_str()]).find_map(|code| {
            let (_, entry) = self.table.iter().find(|(regex, _)| regex.is_match(code))?;
            Some((code, entry))
        });
        let of = |class, code: Option<&str>, hint: Option<&String>| Diagnosis {
            class,
            code: code.map(str::to_owned),
            next_step: hint.cloned().unwrap_or_else(|| next_step(class).to_owned()),
            diagnostic: Some(error.clone()),
        };
        match known {
            Some((code, entry)) => {
                let code = codes.contains(&code).then_some(code);
                of(entry.class.into(), code, entry.hint.as_ref())
            }
            None if codes.is_empty() && texts.iter().any(|text| NETWORK.is_match(text)) => {
                of(FailureClass::Network, None, None)
            }
            None => of(FailureClass::Unknown, codes.first().copied(), None),
        }
    }

    /// The API codes in a text, in the order of the patterns.
    fn codes<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let found = self.patterns.iter().chain(CODES.iter()).flat_map(move |p| p.captures_iter(text));
        found.filter_map(|captures| captures.get(1)).map(|code| code.as_str().trim_end_matches('.'))
    }
}

impl From<ErrorClassName> for FailureClass {
    fn from(name: ErrorClassName) -> FailureClass {
        match name {
            ErrorClassName::Quota => FailureClass::Quota,
            ErrorClassName::Capacity => FailureClass::Capacity,
            ErrorClassName::Credentials => FailureClass::Credentials,
            ErrorClassName::Permission => FailureClass::Permission,
            ErrorClassName::Throttling => FailureClass::Throttling,
            ErrorClassName::Invalid => FailureClass::Invalid,
            ErrorClassName::Transient => FailureClass::Transient,
        }
    }
}

/// What to do where the backend's table gives no hint.
fn next_step(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Credentials => {
            "renew the credentials, then start again; `bench doctor` shows which are used"
        }
        FailureClass::Permission => "give these credentials the right that the message names, or use others",
        FailureClass::Quota => "lower `runs_per_instance_type`, or raise the quota with the cloud",
        FailureClass::Capacity => "choose another zone, region or instance type, or try later",
        FailureClass::Invalid => "correct the value that the message names in the config",
        FailureClass::Throttling => {
            "wait a few minutes, or run fewer provider instances of this account at once"
        }
        FailureClass::Network => "check the connection to the cloud's API, proxy and DNS, then start again",
        FailureClass::Transient => "start again with `--resume`; the cloud failed by itself",
        FailureClass::Unknown => "read the messages above and the log",
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            FailureClass::Credentials => "credentials",
            FailureClass::Permission => "permission",
            FailureClass::Quota => "quota",
            FailureClass::Capacity => "capacity",
            FailureClass::Invalid => "invalid",
            FailureClass::Throttling => "throttling",
            FailureClass::Network => "network",
            FailureClass::Transient => "transient",
            FailureClass::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::Severity;

    fn error(summary: &str, detail: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            summary: summary.into(),
            detail: detail.into(),
            address: None,
        }
    }

    fn diagnostician() -> Diagnostician {
        let manifest = serde_json::json!({
            "name": "toy", "description": "d", "phase": "post_run", "driver": "terraform", "orchestrator": "any",
            "code_patterns": ["\\bStatus: \"([A-Za-z]\\w*)\"", "(?m)\\(([a-z]+(?:_[a-z]+)+)\\)\\s*$"],
            "error_classes": [
                { "code_regex": "^(VcpuLimitExceeded|resource_limit_exceeded)$", "class": "quota" },
                { "code_regex": "^(NoCapacity|SkuNotAvailable)$", "class": "capacity", "hint": "another region" },
                { "code_regex": "^(AuthFailure|No valid credential sources)", "class": "credentials" },
            ],
        });
        Diagnostician::new(&serde_json::from_value(manifest).unwrap())
    }

    #[test]
    fn the_code_is_found_however_a_provider_writes_it() {
        let d = diagnostician();
        for (summary, detail, class) in [
            (
                "creating Instance: operation error X: Run, https response error StatusCode: 400, RequestID: 1, \
                 api error VcpuLimitExceeded: You have requested more",
                "",
                FailureClass::Quota,
            ),
            (
                "polling failed:\n\nStatus: \"SkuNotAvailable\"\nCode: \"\"\nMessage: x",
                "",
                FailureClass::Capacity,
            ),
            (r#"creating: Code="SkuNotAvailable" Message="x""#, "", FailureClass::Capacity),
            ("server limit reached (resource_limit_exceeded)", "", FailureClass::Quota),
            ("provisioner error", "Output: api error NoCapacity: none left", FailureClass::Capacity),
            ("No valid credential sources found", "", FailureClass::Credentials),
            ("reading: Post \"https://x/\": dial tcp: lookup x: no such host", "", FailureClass::Network),
            ("something else, NoCapacity is not a code here", "", FailureClass::Unknown),
            ("operation error X: api error NeverHeardOf: text", "", FailureClass::Unknown),
        ] {
            assert_eq!(d.diagnose(&[error(summary, detail)]).class, class, "{summary}");
        }
    }

    #[test]
    fn the_reason_that_explains_the_others_wins_and_names_its_code_and_next_step() {
        let errors = [
            error("unclear", ""),
            error("x: api error NoCapacity: y", ""),
            error("api error AuthFailure: z", ""),
        ];
        let found = diagnostician().diagnose(&errors);
        assert_eq!((found.class, found.code.as_deref()), (FailureClass::Credentials, Some("AuthFailure")));
        let found = diagnostician().diagnose(&errors[..2]);
        assert_eq!((found.class, found.next_step.as_str()), (FailureClass::Capacity, "another region"));
        assert_eq!(found.diagnostic.unwrap(), errors[1]);
        assert_eq!(diagnostician().diagnose(&[]).class, FailureClass::Unknown);
    }
}

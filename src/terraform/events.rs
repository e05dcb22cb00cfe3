//! PURE. Terraform's `-json` lines as types (<https://developer.hashicorp.com/terraform/internals/machine-readable-ui>).
//!
//! Unknown types and fields are ignored, and so are lines that are not JSON: a warning about the CLI
//! configuration comes before the first event.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line that means something here.
#[derive(Debug, Clone, PartialEq)]
pub struct TfEvent {
    /// Terraform's own clock.
    pub at: Option<jiff::Timestamp>,
    pub kind: EventKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    Version {
        version: String,
    },
    /// A resource that is going to change.
    PlannedChange {
        address: String,
        action: Action,
    },
    ApplyStart {
        address: String,
        action: Action,
    },
    /// Terraform says this every ten seconds by itself: no sign of life of the cloud.
    ApplyProgress {
        address: String,
        elapsed_s: f64,
    },
    ApplyComplete {
        address: String,
        action: Action,
        id: Option<String>,
        elapsed_s: f64,
    },
    ApplyErrored {
        address: String,
        action: Action,
        elapsed_s: f64,
    },
    Diagnostic(Diagnostic),
    /// Values by name; a sensitive one is absent.
    Outputs(Map<String, Value>),
    ChangeSummary {
        add: u64,
        change: u64,
        remove: u64,
        operation: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Delete,
    Replace,
    Read,
    #[serde(rename = "noop")]
    NoOp,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What failed; the cloud's own code stands in it or in the detail.
    pub summary: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The resource it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "@timestamp")]
    at: Option<jiff::Timestamp>,
    terraform: Option<String>,
    tofu: Option<String>,
    change: Option<Change>,
    hook: Option<Hook>,
    diagnostic: Option<Diagnostic>,
    outputs: Option<Map<String, Value>>,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Change {
    resource: Address,
    action: Action,
}

#[derive(Deserialize)]
struct Hook {
    resource: Address,
    action: Option<Action>,
    id_value: Option<String>,
    #[serde(default)]
    elapsed_seconds: f64,
}

#[derive(Deserialize)]
struct Address {
    addr: String,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    add: u64,
    #[serde(default)]
    change: u64,
    #[serde(default)]
    remove: u64,
    #[serde(default)]
    operation: String,
}

/// What a line says; nothing where it is not an event that is known here.
pub(super) fn parse(line: &[u8]) -> Option<TfEvent> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let at = line.at;
    kind(line).map(|kind| TfEvent { at, kind })
}

fn kind(line: Line) -> Option<EventKind> {
    let kind = match line.kind.as_str() {
        "version" => EventKind::Version { version: line.tofu.or(line.terraform)? },
        "planned_change" => {
            let change = line.change?;
            EventKind::PlannedChange { address: change.resource.addr, action: change.action }
        }
        "diagnostic" => EventKind::Diagnostic(line.diagnostic?),
        "outputs" => EventKind::Outputs(values(line.outputs?)),
        "change_summary" => {
            let Changes { add, change, remove, operation } = line.changes?;
            EventKind::ChangeSummary { add, change, remove, operation }
        }
        of_a_resource => return of_resource(of_a_resource, line.hook?),
    };
    Some(kind)
}

fn of_resource(kind: &str, hook: Hook) -> Option<EventKind> {
    let (address, elapsed_s) = (hook.resource.addr, hook.elapsed_seconds);
    let action = hook.action.unwrap_or(Action::Other);
    match kind {
        "apply_start" => Some(EventKind::ApplyStart { address, action }),
        "apply_progress" => Some(EventKind::ApplyProgress { address, elapsed_s }),
        "apply_complete" => Some(EventKind::ApplyComplete { address, action, id: hook.id_value, elapsed_s }),
        "apply_errored" => Some(EventKind::ApplyErrored { address, action, elapsed_s }),
        _ => None,
    }
}

/// Before the apply, outputs carry no value; sensitive ones never do.
fn values(outputs: Map<String, Value>) -> Map<String, Value> {
    let value = |(name, mut output): (String, Value)| Some((name, output.get_mut("value")?.take()));
    outputs.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(line: &str) -> Option<EventKind> {
        parse(line.as_bytes()).map(|event| event.kind)
    }

    #[test]
    fn lines_of_a_real_apply() {
        let version = r#"{"@level":"info","@message":"Terraform 1.11.4","@timestamp":"2026-11-20T20:06:45.084233Z","terraform":"1.11.4","type":"version","ui":"1.2"}"#;
        let event = parse(version.as_bytes()).unwrap();
        assert_eq!(event.at, Some("2026-11-20T20:06:45.084233Z".parse().unwrap()));
        assert_eq!(event.kind, EventKind::Version { version: "1.11.4".into() });
        assert_eq!(
            kind_of(
                r#"{"change":{"resource":{"addr":"a.b[0]","module":""},"action":"create"},"type":"planned_change"}"#
            ),
            Some(EventKind::PlannedChange { address: "a.b[0]".into(), action: Action::Create })
        );
        assert_eq!(
            kind_of(
                r#"{"hook":{"resource":{"addr":"a.b"},"action":"create","id_key":"id","id_value":"i-1","elapsed_seconds":2},"type":"apply_complete"}"#
            ),
            Some(EventKind::ApplyComplete {
                address: "a.b".into(),
                action: Action::Create,
                id: Some("i-1".into()),
                elapsed_s: 2.0
            })
        );
        let outputs = r#"{"outputs":{"o":{"sensitive":false,"type":"string","value":"v"},"s":{"sensitive":true,"type":"string"}},"type":"outputs"}"#;
        let Some(EventKind::Outputs(values)) = kind_of(outputs) else { panic!("no outputs") };
        assert_eq!(Value::Object(values), serde_json::json!({"o": "v"}));
        let diagnostic = r#"{"@level":"error","@message":"Error: x","diagnostic":{"severity":"error","summary":"x","detail":"","address":"a.b","range":{}},"type":"diagnostic"}"#;
        let Some(EventKind::Diagnostic(diagnostic)) = kind_of(diagnostic) else { panic!("no diagnostic") };
        assert_eq!((diagnostic.summary.as_str(), diagnostic.address.as_deref()), ("x", Some("a.b")));
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        for line in [
            "",
            "There are some problems with the CLI configuration:",
            "[1]",
            "{}",
            r#"{"type":"provision_start","hook":{"resource":{"addr":"a"}}}"#,
            r#"{"type":"from_the_future","x":1}"#,
            r#"{"type":"apply_start"}"#,
        ] {
            assert_eq!(kind_of(line), None, "{line}");
        }
        let future = r#"{"type":"planned_change","change":{"resource":{"addr":"a"},"action":"teleport"}}"#;
        assert!(matches!(kind_of(future), Some(EventKind::PlannedChange { action: Action::Other, .. })));
    }
}

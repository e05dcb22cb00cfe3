//! The run config: one JSON file, checked whole before anything is created.
//!
//! ```text
//!  path ──▶ document (limits, spans, duplicate keys)
//!             ├─▶ schema of RunFile ──▶ mistakes
//!             ├─▶ checks against the registry ──▶ mistakes
//!             └─▶ RunFile (serde) ──▶ RunConfig, what the rest of the program works with
//! ```

mod check;
mod check_providers;
mod file;
mod run_config;
mod workload;

use std::sync::LazyLock;

pub use crate::document::{InvalidDocument as ConfigError, Mistake};
pub use file::{Binary, Limits};
pub use run_config::{
    InstanceType, Located, MetaSettings, ProviderInstance, RunConfig, RunnerSource, TaskRunners,
};

use crate::document::{Document, Schema};
use crate::provider::Registry;
use file::{InstanceEntry, RunFile};

/// Where the examples' `$schema` leads, and what CI compares with [`schema`].
pub const SCHEMA_FILE: &str = "config/run.schema.json";

/// The JSON Schema of the run config (draft 2020-12), generated from the types.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of_open::<RunFile, Vec<InstanceEntry>>);
    &SCHEMA
}

/// Checks a config's text against the backends of `registry`; `file` is what messages call it. The error holds
/// every mistake of the file. (With those that only a plan shows: [`crate::plan::plan_document`].)
pub fn parse(file: &str, text: &str, registry: &Registry) -> Result<RunConfig, ConfigError> {
    from_document(&Document::parse(file, text)?, registry)
}

/// As [`parse`], of a document that was read already.
pub fn from_document(document: &Document, registry: &Registry) -> Result<RunConfig, ConfigError> {
    check::check(document, registry)?;
    Ok(run_config::convert(document, registry))
}

/// What can be read of a document with mistakes.
pub fn readable(document: &Document, registry: &Registry) -> RunConfig {
    run_config::readable(document, registry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_document;
    use crate::provider::{Arch, MachineFacts};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());
    const EXAMPLE: &str = include_str!("../../config/example.json");

    /// Values that stand where they should not.
    fn strange() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0_u32..5).prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            prop_oneof![
                Just(json!([])),
                Just(json!({})),
                Just(json!([[]])),
                Just(json!("local")),
                Just(json!("image")),
                Just(json!("build")),
                Just(json!("docker")),
                Just(json!({ "backend": "local" })),
                Just(json!(["", 1])),
                Just(json!("regex")),
                Just(json!("(?P<value>")),
            ],
        ]
    }

    /// Every place of a document, as JSON pointers.
    fn places(value: &Value, at: String, all: &mut Vec<String>) {
        match value {
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| places(v, format!("{at}/{i}"), all))
            }
            Value::Object(map) => map.iter().for_each(|(k, v)| places(v, format!("{at}/{k}"), all)),
            _ => {}
        }
        all.push(at);
    }

    proptest! {
        /// A config is refused with mistakes or planned.
        #[test]
        fn no_config_makes_the_program_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), "[a-z_]{1,12}", strange()), 1..4)
        ) {
            let mut config: Value = serde_json::from_str(EXAMPLE).unwrap();
            for (place, adds, name, value) in changes {
                let mut all = Vec::new();
                places(&config, String::new(), &mut all);
                let target = config.pointer_mut(place.get::<String>(&all)).unwrap();
                match target.as_object_mut() {
                    Some(object) if adds => drop(object.insert(name, value)),
                    _ => *target = value,
                }
            }
            let machine = MachineFacts { online_cpus: 2, arch: Arch::X86_64 };
            let document = Document::parse("run.json", &config.to_string());
            if let Err(error) = document.and_then(|document| plan_document(&document, &REGISTRY, machine)) {
                prop_assert!(!error.mistakes.is_empty());
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\]{}\",:0-9a-e\\\\ \\n\u{fe}\\-.]{0,60}") {
            prop_assert!(parse("run.json", &text, &REGISTRY).is_err());
        }
    }
}

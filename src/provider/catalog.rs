//! What is known about a backend's instance types without asking anybody.

use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Arch;
use crate::document::{Document, InvalidDocument, Mistakes, Path, Schema};

/// A catalog file. Keys that start with `_` say where its figures come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Instance type catalog of bench")]
pub struct Catalog {
    /// Facts by the name of the instance type.
    pub instance_types: IndexMap<String, InstanceFacts>,
}

/// Facts about one instance type. A fact that is absent is looked for elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceFacts {
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub vcpu: Option<u32>,
    /// Main memory, GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 65_536.0))]
    pub memory_gib: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Virtual CPUs that share one physical core: 2 with simultaneous multithreading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub threads_per_core: Option<u32>,
    /// Graphics or other accelerator cards that count as GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub gpus: Option<u32>,
    /// Runs at full speed only as long as it has credits: a poor choice for measurements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub burstable: bool,
    /// Price on demand, USD an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub price_usd_per_h: Option<f64>,
}

impl Catalog {
    /// Reads a catalog's text; `file` is what messages call it.
    pub fn parse(file: &str, text: &str) -> Result<Catalog, InvalidDocument> {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<Catalog>);
        let document = Document::parse(file, text)?;
        let mut mistakes = Mistakes::new(&document);
        SCHEMA.check(document.root(), &Path::root(), &mut mistakes);
        mistakes.finish()?;
        Ok(serde_json::from_value(document.root().to_value()).expect("the schema was made from this type"))
    }
}

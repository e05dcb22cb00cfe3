//! Settings of provider instances: a JSON Schema made from the manifest, and defaults filled in.

use serde_json::{Map, Value, json};

use super::{Manifest, Setting, SettingType};
use crate::document::Schema;

/// The schema of one entry of the config's `providers`: `backend` and the backend's settings.
pub(super) fn schema(manifest: &Manifest) -> Schema {
    let mut properties = Map::new();
    properties.insert("backend".into(), json!({ "type": "string" }));
    for (name, setting) in &manifest.settings {
        properties.insert(name.clone(), of_setting(setting));
    }
    let required: Vec<&String> =
        manifest.settings.iter().filter(|(_, setting)| setting.is_required()).map(|(name, _)| name).collect();
    Schema::new(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

/// Checks a value of one setting.
pub(super) fn value_schema(setting: &Setting) -> Schema {
    Schema::new(of_setting(setting))
}

fn of_setting(setting: &Setting) -> Value {
    let mut schema = match setting.kind {
        SettingType::String => json!({ "type": "string" }),
        SettingType::Integer => json!({ "type": "integer" }),
        SettingType::Number => json!({ "type": "number" }),
        SettingType::Boolean => json!({ "type": "boolean" }),
        SettingType::StringList => json!({ "type": "array", "items": { "type": "string" } }),
    };
    if let Some(pattern) = &setting.pattern {
        schema["pattern"] = json!(pattern);
    }
    if !setting.options.is_empty() {
        schema["enum"] = json!(setting.options);
    }
    schema
}

/// What the config gave, with the defaults of the rest.
pub(super) fn with_defaults(manifest: &Manifest, given: &Map<String, Value>) -> Map<String, Value> {
    let value = |(name, setting): (&String, &Setting)| {
        let value = given.get(name).cloned().or_else(|| setting.default.clone());
        value.map(|value| (name.clone(), value))
    };
    manifest.settings.iter().filter_map(value).collect()
}

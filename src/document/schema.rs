//! JSON Schemas (draft 2020-12) generated from the types that a file is read into.

use std::sync::OnceLock;

use jsonschema::{Draft, PatternOptions, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Keywords whose value is a map of schemas, a schema, or a list of schemas.
const MAPS: [&str; 3] = ["$defs", "properties", "patternProperties"];
const SINGLE: [&str; 2] = ["items", "additionalProperties"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// A schema, compiled when it is first used.
#[derive(Debug, Clone)]
pub struct Schema {
    value: Value,
    validator: OnceLock<Validator>,
}

impl Schema {
    /// Generated from a type, in the form in which it is checked in: no `null` for absent keys, plain
    /// enumerations, comment keys allowed in every object with fixed keys.
    pub fn of<T: JsonSchema>() -> Schema {
        let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
        let mut value = schema.to_value();
        normalise(&mut value);
        Schema::new(value)
    }

    /// As [`Schema::of`], where keys that `T` does not know hold an `A`, a list that is not empty.
    pub fn of_open<T: JsonSchema, A: JsonSchema>() -> Schema {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let mut others = generator.subschema_for::<A>().to_value();
        let mut value = generator.into_root_schema_for::<T>().to_value();
        normalise(&mut others);
        normalise(&mut value);
        others["minItems"] = json!(1);
        value["additionalProperties"] = others;
        Schema::new(value)
    }

    /// The keys that the root knows by name.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let properties = self.value.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    pub fn new(value: Value) -> Schema {
        Schema { value, validator: OnceLock::new() }
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text that is checked in.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.value)
    }

    pub(super) fn validator(&self) -> &Validator {
        self.validator.get_or_init(|| {
            jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_pattern_options(PatternOptions::regex())
                .build(&self.value)
                .expect("schemas are made from types or from checked manifests")
        })
    }
}

fn normalise(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::String(text)) = object.get_mut("description") {
        // Line breaks of doc comments mean nothing.
        *text = text.replace('\n', " ");
    }
    drop_null(object);
    plain_enumeration(object);
    object.shift_remove("format");
    if object.get("default") == Some(&Value::Null) {
        object.shift_remove("default");
    }
    if object.get("additionalProperties").is_some_and(|others| *others != Value::Bool(true)) {
        object.insert("patternProperties".into(), json!({ "^[_$]": true }));
    }
    let mut entries: Vec<(String, Value)> = std::mem::take(object).into_iter().collect();
    entries.sort_by_key(|(keyword, _)| rank(keyword));
    object.extend(entries);
    for keyword in MAPS {
        let map = object.get_mut(keyword).and_then(Value::as_object_mut);
        map.into_iter().flat_map(Map::values_mut).for_each(normalise);
    }
    for keyword in SINGLE {
        object.get_mut(keyword).into_iter().for_each(normalise);
    }
    for keyword in LISTS {
        let list = object.get_mut(keyword).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(normalise);
    }
}

/// The order in which people read a schema; what is not listed keeps its place after these.
fn rank(keyword: &str) -> usize {
    const ORDER: [&str; 9] = [
        "$schema",
        "title",
        "description",
        "type",
        "required",
        "properties",
        "patternProperties",
        "additionalProperties",
        "items",
    ];
    match keyword {
        "$defs" => ORDER.len() + 1,
        _ => ORDER.iter().position(|k| *k == keyword).unwrap_or(ORDER.len()),
    }
}

/// Absent is how an optional key is left out; `null` is a mistake.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    let null = json!({ "type": "null" });
    let is_optional =
        |list: &Value| list.as_array().is_some_and(|list| list.len() == 2 && list.contains(&null));
    if object.get("anyOf").is_some_and(is_optional)
        && let Some(Value::Array(list)) = object.shift_remove("anyOf")
    {
        let wanted = list.into_iter().filter(|s| *s != null);
        for (keyword, value) in wanted.filter_map(|s| s.as_object().cloned()).flatten() {
            object.entry(keyword).or_insert(value);
        }
    }
}

/// `oneOf` of constants becomes `enum`, its descriptions one text: messages and checking gain by it.
fn plain_enumeration(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let constant = |v: &Value| v.get("const").cloned().or_else(|| v["enum"].get(0).cloned());
    let is_plain = |v: &Value| v.get("const").is_some() || v.get("enum").is_some();
    if !variants.iter().all(is_plain) {
        return;
    }
    let mut names = Vec::new();
    let mut lines: Vec<String> =
        object.get("description").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
    for variant in variants.clone() {
        let described = variant.get("description").and_then(Value::as_str).zip(constant(&variant));
        if let Some((text, name)) = described {
            lines.push(format!("`{}`: {text}", name.as_str().unwrap_or_default()));
        }
        names.extend(variant.get("const").cloned());
        names.extend(variant.get("enum").and_then(Value::as_array).cloned().into_iter().flatten());
    }
    object.shift_remove("oneOf");
    object.insert("type".into(), json!("string"));
    object.insert("enum".into(), Value::Array(names));
    if !lines.is_empty() {
        object.insert("description".into(), json!(lines.join("\n")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter.
    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum Letter {
        /// The first.
        A,
        /// The second.
        B,
    }

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Sample {
        letter: Option<Letter>,
        /// Named like a keyword.
        format: Option<u32>,
    }

    #[test]
    fn optional_keys_take_no_null_and_enumerations_are_plain() {
        let schema = Schema::of::<Sample>();
        let letter = &schema.value()["$defs"]["Letter"];
        assert_eq!(letter["enum"], json!(["a", "b"]));
        assert_eq!(letter["description"], "A letter.\n`a`: The first.\n`b`: The second.");
        let properties = &schema.value()["properties"];
        assert_eq!(properties["letter"], json!({ "$ref": "#/$defs/Letter" }));
        assert_eq!(properties["format"]["type"], "integer");
        assert_eq!(schema.value()["patternProperties"], json!({ "^[_$]": true }));
    }
}

//! PURE. What a listing tells of one resource.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One listed resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: String,
    /// Other ids that Terraform may know it by.
    pub also: Vec<String>,
    pub tags: Tags,
    pub state: Option<String>,
    /// Id of what takes it along when it goes.
    pub part_of: Option<String>,
    pub instance_type: Option<String>,
    pub gib: Option<f64>,
    /// Whether it is billed in its state, where that is known.
    pub billed: Option<bool>,
    /// All that the listing said, for commands.
    pub facts: Map<String, Value>,
}

/// Tags, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    Known(BTreeMap<String, String>),
    /// Why they cannot be read.
    Unreadable(String),
}

impl Tags {
    /// An object, a list of key-value objects, or nothing at all.
    pub fn parse(value: &Value) -> Tags {
        let known = match value {
            Value::Null => Some(BTreeMap::new()),
            Value::Object(map) => map.iter().map(|(key, value)| Some((key.clone(), text(value)?))).collect(),
            Value::Array(pairs) => pairs.iter().map(pair).collect(),
            _ => None,
        };
        known.map_or_else(|| Tags::Unreadable(format!("tags of the form {}", shortened(value))), Tags::Known)
    }
}

/// Clouds write `Key` and `Value` in either case.
fn pair(value: &Value) -> Option<(String, String)> {
    let either = |a: &str, b: &str| value.get(a).or_else(|| value.get(b));
    let key = either("Key", "key")?.as_str()?.to_owned();
    Some((key, either("Value", "value").map_or(Some(String::new()), text)?))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// Reads what a listing's query gave. Anything else than a list of objects with an `id` is an error: a
/// listing that is not understood must not pass for an empty one.
pub fn items(found: Value) -> Result<Vec<Item>, String> {
    let Value::Array(found) = found else {
        return Err(format!("it gave no list, but {}", shortened(&found)));
    };
    found.into_iter().map(item).collect()
}

fn item(value: Value) -> Result<Item, String> {
    let Value::Object(facts) = value else {
        return Err(format!("it gave {} where an object was expected", shortened(&value)));
    };
    let field =
        |name: &str| facts.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let Some(id) = field("id") else {
        return Err(format!("it gave an object without id: {}", shortened(&Value::Object(facts))));
    };
    let also = facts.get("also").and_then(Value::as_array);
    Ok(Item {
        id,
        also: also.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        tags: Tags::parse(facts.get("tags").unwrap_or(&Value::Null)),
        state: field("state"),
        part_of: field("part_of"),
        instance_type: field("instance_type"),
        gib: facts.get("gib").and_then(Value::as_f64),
        billed: facts.get("billed").and_then(Value::as_bool),
        facts,
    })
}

impl Item {
    /// Whether Terraform, or another listing, means this one by `id`.
    pub fn is_called(&self, id: &str) -> bool {
        self.id == id || self.also.iter().any(|also| also == id)
    }

    pub fn tag(&self, key: &str) -> Option<&str> {
        match &self.tags {
            Tags::Known(tags) => tags.get(key).map(String::as_str),
            Tags::Unreadable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_read_in_every_form_and_a_strange_one_is_unreadable() {
        let known = |pairs: &[(&str, &str)]| {
            Tags::Known(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        for (value, tags) in [
            (json!(null), known(&[])),
            (json!({ "a": "1", "b": true }), known(&[("a", "1"), ("b", "true")])),
            (json!([{ "Key": "a", "Value": "1" }, { "key": "b" }]), known(&[("a", "1"), ("b", "")])),
        ] {
            assert_eq!(Tags::parse(&value), tags);
        }
        for strange in [json!("a=1"), json!([["a", "1"]]), json!({ "a": {} }), json!([{ "Value": "1" }])] {
            assert!(matches!(Tags::parse(&strange), Tags::Unreadable(_)), "{strange}");
        }
    }

    #[test]
    fn what_is_no_list_of_items_is_an_error_and_never_an_empty_list() {
        for strange in [
            json!(null),
            json!({}),
            json!("x"),
            json!([null]),
            json!([{ "tags": {} }]),
            json!([{ "id": "" }]),
        ] {
            assert!(items(strange.clone()).is_err(), "{strange}");
        }
        assert_eq!(items(json!([])).unwrap(), []);
    }

    #[test]
    fn an_item_carries_what_commands_and_costs_need() {
        let found = json!([{ "id": "v-1", "also": ["disk"], "tags": null, "state": "up", "part_of": "m-1",
            "gib": 8, "billed": false, "zone": "z" }]);
        let item = items(found).unwrap().remove(0);
        assert!(item.is_called("disk") && item.is_called("v-1") && !item.is_called("m-1"));
        assert_eq!((item.gib, item.billed, item.part_of.as_deref()), (Some(8.0), Some(false), Some("m-1")));
        assert_eq!(item.facts["zone"], "z");
    }
}

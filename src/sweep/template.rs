//! PURE. From a command with places to fill to an argument list.

use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::{Captures, Regex};
use serde_json::Value;

use super::Item;

/// A place in a command that nothing fills.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sweep manifest asks for `{{{{{name}}}}}`, which nothing says here")]
pub struct MissingValue {
    pub name: String,
}

/// What fills the places of commands. Later values win over earlier ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(IndexMap<String, String>);

/// `{{name}}`.
pub(super) static PLACE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}").expect("a valid expression"));

impl Values {
    /// Values from settings; those that are null or structured cannot stand in a command.
    pub fn of<'v>(settings: impl IntoIterator<Item = (&'v String, &'v Value)>) -> Values {
        let mut values = Values::default();
        for (name, value) in settings {
            values.set_json(name, value);
        }
        values
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Values {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// An item's facts and its `id`.
    #[must_use]
    pub fn with_item(mut self, item: &Item) -> Values {
        for (name, value) in &item.facts {
            self.set_json(name, value);
        }
        self.with("id", &item.id)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn set_json(&mut self, name: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return,
        };
        self.0.insert(name.to_owned(), text);
    }

    /// Fills the places of an argument list.
    pub fn render(&self, command: &[String]) -> Result<Vec<String>, MissingValue> {
        command.iter().map(|argument| self.fill(argument)).collect()
    }

    /// As [`Values::render`], for several items at once.
    pub fn render_for(&self, command: &[String], items: &[&Item]) -> Result<Vec<String>, MissingValue> {
        let objects: Vec<&Value> = items.iter().filter_map(|item| item.facts.get("object")).collect();
        let objects = serde_json::to_string(&objects).expect("JSON values are JSON");
        let mut values = self.clone().with("objects", objects);
        if let [only] = items {
            values = values.with_item(only);
        }
        let mut arguments = Vec::new();
        for argument in command {
            match argument.as_str() {
                "{{ids}}" => arguments.extend(items.iter().map(|item| item.id.clone())),
                _ => arguments.push(values.fill(argument)?),
            }
        }
        Ok(arguments)
    }

    fn fill(&self, text: &str) -> Result<String, MissingValue> {
        let mut missing = None;
        let filled = PLACE.replace_all(text, |found: &Captures<'_>| match self.get(&found[1]) {
            Some(value) => value.to_owned(),
            None => {
                missing.get_or_insert_with(|| found[1].to_owned());
                String::new()
            }
        });
        match missing {
            Some(name) => Err(MissingValue { name }),
            None => Ok(filled.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::items;
    use serde_json::json;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn places_are_filled_and_an_empty_one_is_an_error() {
        let settings = json!({ "region": "north", "size": 3, "profile": null });
        let values = Values::of(settings.as_object().unwrap()).with("owner", "me");
        let command = words(&["list", "--filter=owner={{owner}},{{ region }}", "{{size}}"]);
        assert_eq!(values.render(&command).unwrap(), words(&["list", "--filter=owner=me,north", "3"]));
        let error = values.render(&words(&["{{profile}}"])).unwrap_err();
        assert!(error.to_string().contains("`{{profile}}`"), "{error}");
    }

    #[test]
    fn a_value_never_becomes_two_arguments_or_a_place_of_its_own() {
        let values = Values::default().with("owner", "a b {{id}} $(x)");
        assert_eq!(values.render(&words(&["{{owner}}"])).unwrap(), words(&["a b {{id}} $(x)"]));
    }

    #[test]
    fn many_items_become_many_arguments_or_one_list() {
        let list = json!([{ "id": "a", "tags": {}, "object": { "Key": "a\"" } },
                          { "id": "b", "tags": {}, "object": { "Key": "b" } }]);
        let items = items(list).unwrap();
        let items: Vec<&Item> = items.iter().collect();
        let values = Values::default();
        let command = words(&["rm", "{{ids}}", "--all", "{\"O\": {{objects}}}"]);
        let rendered = values.render_for(&command, &items).unwrap();
        assert_eq!(rendered, words(&["rm", "a", "b", "--all", r#"{"O": [{"Key":"a\""},{"Key":"b"}]}"#]));
        assert!(values.render_for(&words(&["{{id}}"]), &items).is_err());
        assert_eq!(values.render_for(&words(&["{{id}}"]), &items[..1]).unwrap(), words(&["a"]));
    }
}

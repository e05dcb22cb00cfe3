//! Checks a document's structure against a schema: every mistake, in words.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::expected::describe;
use super::{Mistakes, Node, Path, Place, Schema, nearest};

impl Schema {
    /// Adds every deviation of `node`, which stands at `path`, to `mistakes`.
    pub fn check(&self, node: &Node, path: &Path, mistakes: &mut Mistakes<'_>) {
        self.check_except(node, path, &|_| false, mistakes);
    }

    /// As [`Schema::check`], leaving out the members of `node` for which `is_left_out` is true.
    pub fn check_except(
        &self,
        node: &Node,
        path: &Path,
        is_left_out: &dyn Fn(&str) -> bool,
        mistakes: &mut Mistakes<'_>,
    ) {
        let value = node.to_value();
        let mut check = Check { schema: self.value(), node, path, mistakes, seen: HashSet::new() };
        for error in self.validator().iter_errors(&value) {
            let first = error.instance_path().segments().next().map(|s| s.to_string());
            if !first.is_some_and(|name| is_left_out(&name)) {
                check.report(&error);
            }
        }
    }
}

struct Check<'c, 'd> {
    schema: &'c Value,
    node: &'c Node,
    path: &'c Path,
    mistakes: &'c mut Mistakes<'d>,
    /// Offsets of values found wrong: one sentence for each, though a value may break several rules.
    seen: HashSet<usize>,
}

impl<'c> Check<'c, '_> {
    fn report(&mut self, error: &ValidationError<'_>) {
        let segments = error.instance_path().segments().map(|s| s.to_string());
        let root: &'c Node = self.node;
        let (path, node) = root.locate(self.path, segments);
        let rule = self.rule(error);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    self.unknown_key(name, &path, node, rule);
                }
            }
            ValidationErrorKind::Required { property } => {
                self.missing_key(property.as_str().unwrap_or_default(), path, node, rule);
            }
            _ => {
                if self.seen.insert(node.start) {
                    let place = Place::of(path, node);
                    let nearest = nearest_option(rule, node);
                    self.mistakes.wrong_value(place, &describe(self.schema, rule), nearest);
                }
            }
        }
    }

    /// The schema that was broken: what holds the keyword.
    fn rule(&self, error: &ValidationError<'_>) -> &'c Value {
        let pointer = error.schema_path().as_str();
        let holder = pointer.rsplit_once('/').map_or("", |(holder, _)| holder);
        self.schema.pointer(holder).unwrap_or(&Value::Null)
    }

    fn unknown_key(&mut self, name: &str, path: &Path, node: &Node, rule: &Value) {
        let known: Vec<&str> =
            properties(rule).map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
        let nearest = nearest(name, known.iter().copied());
        let mut message = format!("unknown key `{name}`");
        if let Some(nearest) = &nearest {
            message.push_str(&format!("; did you mean `{nearest}`?"));
        }
        let list = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        message.push_str(&format!("{} known here: {list}", if nearest.is_some() { "" } else { ";" }));
        let offset = node.members().iter().find(|m| m.name == name).map_or(node.start, |m| m.start);
        let place = Place { path: path.key(name), offset, found: Some(format!("`{name}`")) };
        self.mistakes.add(place, &format!("one of {list}"), nearest, message);
    }

    fn missing_key(&mut self, name: &str, path: Path, node: &Node, rule: &Value) {
        let wanted = properties(rule).and_then(|p| p.get(name)).unwrap_or(&Value::Null);
        let expected = describe(self.schema, wanted);
        let message = format!("the key `{name}` is missing, expected {expected}");
        self.mistakes.add(Place { path, offset: node.start, found: None }, &expected, None, message);
    }
}

fn properties(rule: &Value) -> Option<&Map<String, Value>> {
    rule.get("properties").and_then(Value::as_object)
}

/// The option of an enumeration nearest to what was found.
fn nearest_option(rule: &Value, node: &Node) -> Option<String> {
    let options = rule.get("enum").and_then(Value::as_array)?;
    nearest(node.as_str()?, options.iter().filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
    use serde_json::json;

    #[test]
    fn all_deviations_are_found_with_place_and_words() {
        let schema = Schema::new(json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {
                "name": { "type": "string" },
                "mode": { "$ref": "#/$defs/Mode" },
                "list": { "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 1, "maximum": 9 } }
            },
            "$defs": { "Mode": { "type": "string", "enum": ["image", "build"] } }
        }));
        let document =
            Document::parse("c", "{\n\"mdoe\": 1,\n\"mode\": \"biuld\",\n\"list\": [1, \"four\", 10]}")
                .unwrap();
        let mut mistakes = Mistakes::new(&document);
        schema.check(document.root(), &Path::root(), &mut mistakes);
        assert_eq!(
            mistakes.finish().unwrap_err().to_string(),
            "c:1:1: the key `name` is missing, expected a string\n\
             c:2:1: $.mdoe: unknown key `mdoe`; did you mean `mode`? known here: `name`, `mode`, `list`\n\
             c:3:9: $.mode: found \"biuld\", expected one of `image`, `build`; did you mean `build`?\n\
             c:4:13: $.list[1]: found \"four\", expected an integer from 1 to 9\n\
             c:4:21: $.list[2]: found 10, expected an integer from 1 to 9"
        );
    }
}

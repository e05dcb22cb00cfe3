//! What a schema wants, in words.

use serde_json::Value;

/// Keyword of our own: the words for a schema that would need a long explanation.
const WORDS: &str = "x-expected";

/// Follows `$ref` within the document; a schema elsewhere is never referred to.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// E.g. `an integer from 1 to 1,024`.
pub(super) fn describe(root: &Value, schema: &Value) -> String {
    let words = |schema: &Value| schema.get(WORDS).and_then(Value::as_str).map(str::to_owned);
    if let Some(words) = words(schema) {
        return words;
    }
    let schema = resolve(root, schema);
    if let Some(words) = words(schema) {
        return words;
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return one_of(options);
    }
    match schema.get("type") {
        Some(Value::String(kind)) => of_type(root, schema, kind),
        Some(Value::Array(kinds)) => {
            let words: Vec<_> =
                kinds.iter().filter_map(Value::as_str).map(|k| of_type(root, schema, k)).collect();
            words.join(" or ")
        }
        _ => "something else".to_owned(),
    }
}

fn one_of(options: &[Value]) -> String {
    let names: Vec<String> =
        options.iter().map(|o| o.as_str().map_or_else(|| o.to_string(), |s| format!("`{s}`"))).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

fn of_type(root: &Value, schema: &Value, kind: &str) -> String {
    match kind {
        "integer" => format!("an integer{}", range(schema)),
        "number" => format!("a number{}", range(schema)),
        "boolean" => "`true` or `false`".to_owned(),
        "string" => string(schema),
        "array" => array(root, schema),
        "object" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

fn range(schema: &Value) -> String {
    let get = |keyword: &str| schema.get(keyword).map(grouped);
    match (get("minimum"), get("maximum"), get("exclusiveMinimum")) {
        (Some(from), Some(to), _) => format!(" from {from} to {to}"),
        (Some(from), None, _) => format!(" of at least {from}"),
        (None, Some(to), Some(over)) => format!(" greater than {over}, at most {to}"),
        (None, Some(to), None) => format!(" of at most {to}"),
        (None, None, Some(over)) => format!(" greater than {over}"),
        (None, None, None) => String::new(),
    }
}

/// Thousands apart, as in `1,000,000`.
fn grouped(number: &Value) -> String {
    let text = number.as_f64().filter(|f| f.fract() == 0.0).map_or(number.to_string(), |f| format!("{f:.0}"));
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return text;
    }
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|c| std::str::from_utf8(c).ok()).collect();
    format!("{sign}{}", groups.join(","))
}

fn string(schema: &Value) -> String {
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        return format!("a string of the form {pattern}");
    }
    match (number("minLength"), number("maxLength")) {
        (Some(from), Some(to)) => format!("a string of {from} to {to} characters"),
        (Some(1), None) => "a string that is not empty".to_owned(),
        (None, Some(to)) => format!("a string of at most {to} characters"),
        _ => "a string".to_owned(),
    }
}

fn array(root: &Value, schema: &Value) -> String {
    let elements = schema.get("items").map_or("values", |items| {
        match resolve(root, items).get("type").and_then(Value::as_str) {
            Some("object") => "objects",
            Some("string") => "strings",
            Some("integer" | "number") => "numbers",
            _ => "values",
        }
    });
    match schema.get("minItems").and_then(Value::as_u64) {
        Some(n) if n > 0 => {
            format!("a list of at least {n} {}", elements.trim_end_matches(if n == 1 { "s" } else { "" }))
        }
        _ => format!("a list of {elements}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_read_as_words() {
        let root = json!({ "$defs": { "N": { "type": "integer", "minimum": 1, "maximum": 1_000_000 } } });
        let cases = [
            (json!({ "$ref": "#/$defs/N" }), "an integer from 1 to 1,000,000"),
            (
                json!({ "type": "number", "exclusiveMinimum": 0.0, "maximum": 2.5 }),
                "a number greater than 0, at most 2.5",
            ),
            (json!({ "enum": ["a", "b"] }), "one of `a`, `b`"),
            (
                json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
                "a list of at least 1 string",
            ),
            (json!({ "type": "string", "x-expected": "a name" }), "a name"),
            (json!({ "type": "string", "minLength": 1, "maxLength": 9 }), "a string of 1 to 9 characters"),
            (json!({ "type": "boolean" }), "`true` or `false`"),
        ];
        for (schema, words) in cases {
            assert_eq!(describe(&root, &schema), words);
        }
    }
}

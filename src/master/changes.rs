//! PURE. What differs between the config that a run was started with and the one it would be resumed with.

use serde_json::Value;

/// One line a difference, by JSON path, in the order of the new config; at most `MOST` of them.
pub fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("$", before, after, &mut found);
    let more = found.len().saturating_sub(MOST);
    if more > 0 {
        found.truncate(MOST);
        found.push(format!("and {more} more"));
    }
    found
}

/// A config that is quite another one need not be listed whole.
const MOST: usize = 20;

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get(key) {
                    Some(was) => compare(&format!("{path}.{key}"), was, value, found),
                    None => found.push(format!("{path}.{key} is new: {value}")),
                }
            }
            for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
                found.push(format!("{path}.{key} is gone: it was {value}"));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (was, value)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), was, value, found);
            }
        }
        (was, value) if was != value => found.push(format!("{path} was {was} and is {value}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_difference_is_named_by_its_path() {
        let before =
            json!({ "runs": 6, "limits": { "ttl": 60 }, "list": [{ "a": 1 }, { "a": 2 }], "gone": true });
        let after =
            json!({ "runs": 6, "limits": { "ttl": 90, "cost": 5 }, "list": [{ "a": 1 }, { "a": 3 }] });
        assert_eq!(
            changes(&before, &after),
            [
                "$.limits.ttl was 60 and is 90",
                "$.limits.cost is new: 5",
                "$.list[1].a was 2 and is 3",
                "$.gone is gone: it was true",
            ]
        );
        assert!(changes(&before, &before).is_empty());
    }

    #[test]
    fn very_many_differences_are_cut_and_the_cut_is_said() {
        let numbers = |n: u32| json!((0..30).map(|i| i * n).collect::<Vec<_>>());
        let found = changes(&numbers(1), &numbers(2));
        assert_eq!((found.len(), found[MOST].as_str()), (MOST + 1, "and 9 more"));
    }
}

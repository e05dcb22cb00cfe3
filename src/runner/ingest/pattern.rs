//! Numbers found by a regular expression with a group `value`, and optionally `name` and `unit`.

use regex::Regex;

use super::{IngestError, merge, series};
use crate::api::Benchmark;

/// Name of a series whose pattern has no group `name`.
const UNNAMED: &str = "value";

pub(super) fn compile(pattern: Option<&str>) -> Result<Regex, IngestError> {
    let pattern = pattern.ok_or_else(|| IngestError::Pattern("it is missing".into()))?;
    let regex = Regex::new(pattern).map_err(|error| IngestError::Pattern(error.to_string()))?;
    if regex.capture_names().flatten().any(|name| name == "value") {
        Ok(regex)
    } else {
        Err(IngestError::Pattern("it has no group `value`, such as (?<value>[0-9.]+)".into()))
    }
}

/// Every match is a sample; matches with the same name and unit are one series.
pub(super) fn read(pattern: Option<&str>, bytes: &[u8]) -> Result<Vec<Benchmark>, IngestError> {
    let regex = compile(pattern)?;
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for captures in regex.captures_iter(&text) {
        let group = |name| captures.name(name).map(|group| group.as_str().trim());
        let Some(value) = group("value") else { continue };
        let number: f64 = value.parse().map_err(|_e| IngestError::Number { text: value.to_owned() })?;
        let name = group("name").unwrap_or(UNNAMED);
        merge(&mut found, vec![series(name, group("unit").unwrap_or_default(), vec![number])]);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_become_samples_by_name_and_unit() {
        let text = b"add: 1.5e3 ns\nmul: 7 ns\nadd: 1600 ns\n";
        let found = read(Some(r"(?m)^(?<name>\w+): (?<value>\S+) (?<unit>\w+)$"), text).unwrap();
        let shown: Vec<_> =
            found.iter().map(|b| (b.name.as_str(), b.unit.as_str(), b.samples.clone())).collect();
        assert_eq!(shown, [("add", "ns", vec![1500.0, 1600.0]), ("mul", "ns", vec![7.0])]);
    }

    #[test]
    fn a_pattern_without_value_or_a_value_without_number_is_refused() {
        assert!(compile(None).is_err() && compile(Some("(")).is_err() && compile(Some("[0-9]+")).is_err());
        assert!(read(Some("(?<value>[a-z]+)"), b"abc").unwrap_err().to_string().contains("`abc`"));
    }
}

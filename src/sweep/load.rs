//! From a backend to its sweep manifest, every mistake with its place.

use include_dir::{Dir, include_dir};
use regex::Regex;

use super::{SweepManifest, query, template};
use crate::document::{Document, InvalidDocument, Mistakes, Node, Path, Place, nearest};
use crate::provider::{Backend, Folder};

/// `nuke/` as it was when the program was built.
static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/nuke");

/// Name of a folder's own sweep manifest.
pub const OWN_FILE: &str = "nuke.json";

/// What every command can ask for beside settings.
const KNOWN: [&str; 1] = ["owner"];

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(
        "the backend `{0}` has no sweep manifest: there is no {OWN_FILE} in its folder, nor nuke/{0}.json"
    )]
    Missing(String),
    #[error("{0}")]
    Invalid(#[from] InvalidDocument),
}

/// The backend's sweep manifest: the one in its folder, else the one of its name in `nuke/` beside the
/// folder's parent.
pub fn load(backend: &Backend) -> Result<SweepManifest, SweepError> {
    let (file, bytes) = find(backend).ok_or_else(|| SweepError::Missing(backend.name().to_owned()))?;
    let text = String::from_utf8_lossy(&bytes);
    let settings: Vec<&str> = backend.manifest.settings.keys().map(String::as_str).collect();
    Ok(parse(&file, &text, backend.name(), &settings)?)
}

fn find(backend: &Backend) -> Option<(String, Vec<u8>)> {
    if let Ok(bytes) = backend.folder.read(OWN_FILE) {
        return Some((backend.folder.display(OWN_FILE), bytes));
    }
    let name = format!("{}.json", backend.name());
    match &backend.folder {
        Folder::Embedded(_) => {
            let file = BUILT_IN.get_file(&name)?;
            Some((format!("(built in) nuke/{name}"), file.contents().to_vec()))
        }
        Folder::Disk(path) => {
            let path = path.parent()?.parent()?.join("nuke").join(&name);
            Some((path.display().to_string(), fs_err::read(&path).ok()?))
        }
    }
}

/// Reads a manifest's text; `file` is what messages call it.
pub(super) fn parse(
    file: &str,
    text: &str,
    backend: &str,
    settings: &[&str],
) -> Result<SweepManifest, InvalidDocument> {
    let document = Document::parse(file, text)?;
    let mut mistakes = Mistakes::new(&document);
    super::schema().check(document.root(), &Path::root(), &mut mistakes);
    if let Some(name) = document.root().get("backend")
        && name.as_str().is_some_and(|name| name != backend)
    {
        let expected = format!("`{backend}`, the backend that it was looked up for");
        mistakes.wrong_value(Place::of(Path::root().key("backend"), name), &expected, None);
    }
    let known: Vec<&str> = settings.iter().chain(&KNOWN).copied().collect();
    walk(document.root(), Path::root(), "", Some(&known), &mut mistakes);
    mistakes.finish()?;
    Ok(serde_json::from_value(document.root().to_value()).expect("the schema was made from this type"))
}

/// Queries, regular expressions and places, wherever they stand. `known` names what can fill places; none
/// where an item's own facts can, which show only when it is listed.
fn walk(node: &Node, path: Path, name: &str, known: Option<&[&str]>, mistakes: &mut Mistakes<'_>) {
    if let Some(text) = node.as_str() {
        if let Some(expected) = wrong(name, text) {
            mistakes.wrong_value(Place::of(path, node), &expected, None);
        }
        return;
    }
    for member in node.members() {
        let path = path.key(&member.name);
        let known = known.filter(|_| !["delete", "tags", "children"].contains(&member.name.as_str()));
        if let ("command", Some(known)) = (member.name.as_str(), known) {
            places(&member.value, &path, known, mistakes);
        }
        walk(&member.value, path, &member.name, known, mistakes);
    }
    for (index, element) in node.elements().iter().enumerate() {
        walk(element, path.index(index), name, known, mistakes);
    }
}

/// What a text under the key `name` should have been.
fn wrong(name: &str, text: &str) -> Option<String> {
    match name {
        "query" | "next" => query::mistake(text).map(|why| format!("a JMESPath query ({why})")),
        "pattern" | "none_pattern" => Regex::new(text).err().map(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("a regular expression ({why})")
        }),
        _ => None,
    }
}

/// A place that no setting fills can never be filled.
fn places(command: &Node, path: &Path, known: &[&str], mistakes: &mut Mistakes<'_>) {
    for (index, argument) in command.elements().iter().enumerate() {
        let text = argument.as_str().unwrap_or_default();
        for found in template::PLACE.captures_iter(text) {
            if !known.contains(&&found[1]) {
                let nearest = nearest(&found[1], known.iter().copied());
                let expected = format!("places of these names: {}", known.join(", "));
                mistakes.wrong_value(Place::of(path.index(index), argument), &expected, nearest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Registry;

    const MINIMAL: &str = r#"{
        "backend": "toy",
        "answers": [{ "pattern": "gone", "means": "gone" }],
        "steps": [{ "kind": "machine",
            "list": { "command": ["toy", "ls", "{{region}}"], "query": "[].{id: id, tags: tags}" },
            "delete": { "command": ["toy", "rm", "{{name}}"] } }]
    }"#;

    fn mistakes(text: &str) -> String {
        parse("nuke.json", text, "toy", &["region", "project"]).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_loads_with_its_defaults() {
        let manifest = parse("nuke.json", MINIMAL, "toy", &["region"]).unwrap();
        assert_eq!((manifest.steps.len(), manifest.steps[0].delete.at_once), (1, 1));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let text = MINIMAL
            .replace("\"toy\",", "\"toi\",")
            .replace("\"gone\", \"means\"", "\"(\", \"means\"")
            .replace("[].{id: id", "[.{id: id")
            .replace("{{region}}", "{{regoin}}")
            .replace("\"kind\": \"machine\",", "\"kind\": \"machine\", \"wiat\": true,");
        let all = mistakes(&text);
        for part in [
            "$.backend",
            "$.answers[0].pattern",
            "$.steps[0].wiat",
            "did you mean `wait`",
            "command[2]",
            "query",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
        assert_eq!(all.lines().filter(|line| line.starts_with("nuke.json:")).count(), 5, "{all}");
    }

    #[test]
    fn a_manifest_without_steps_would_find_nothing_and_is_refused() {
        assert!(mistakes(r#"{ "backend": "toy", "steps": [] }"#).contains("$.steps"));
    }

    #[test]
    fn the_built_in_manifests_load() {
        let registry = Registry::embedded().unwrap();
        for file in BUILT_IN.files().filter(|file| file.path().extension().is_some_and(|e| e == "json")) {
            let name = file.path().file_stem().unwrap().to_str().unwrap();
            let Some(backend) = registry.find(name) else { continue };
            load(backend).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

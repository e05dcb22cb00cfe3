//! What the schema cannot say about a config: names, combinations of keys, patterns. Works on the tree, so
//! that it finds its mistakes whatever else is wrong.

use indexmap::IndexSet;
use regex::Regex;

use super::check_providers::check_providers;
use crate::document::{Document, InvalidDocument, Kind, Mistakes, Node, Path, Place, nearest};
use crate::provider::{META, Registry};

/// Most names that one message lists.
const SHOWN_NAMES: usize = 40;

/// Every mistake of the document, or none.
pub(super) fn check(document: &Document, registry: &Registry) -> Result<(), InvalidDocument> {
    let mut mistakes = Mistakes::new(document);
    let root = document.root();
    let schema = super::schema();
    let keys: Vec<&str> = schema.keys().collect();
    let instances = instance_names(root, registry);
    let is_unknown = |name: &str| !keys.contains(&name) && !instances.contains(name);
    schema.check_except(root, &Path::root(), &is_unknown, &mut mistakes);
    if matches!(root.kind, Kind::Object(_)) {
        unknown_keys(root, &keys, &instances, &mut mistakes);
        check_providers(document, registry, &mut mistakes);
        check_task_runners(root, &mut mistakes);
        check_workload(root, &mut mistakes);
    }
    mistakes.finish()
}

/// Names under which instance types may stand: the backends' own and those of `providers`.
fn instance_names<'n>(root: &'n Node, registry: &'n Registry) -> IndexSet<&'n str> {
    let providers = root.get("providers").map(Node::members).unwrap_or_default();
    // The orchestrator's stack has settings there, and no instance types.
    let given = providers.iter().map(|m| m.name.as_str()).filter(|name| *name != META);
    registry.names().chain(given).collect()
}

fn unknown_keys(root: &Node, keys: &[&str], instances: &IndexSet<&str>, mistakes: &mut Mistakes<'_>) {
    let is_unknown = |name: &str| !keys.contains(&name) && !instances.contains(name);
    for member in root.members().iter().filter(|m| is_unknown(&m.name)) {
        if mistakes.is_full() {
            mistakes.omit();
            continue;
        }
        let candidates = keys.iter().chain(instances.iter().take(SHOWN_NAMES)).copied();
        let nearest = nearest(&member.name, candidates);
        let meant = nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        let message = format!(
            "unknown key `{}`{meant} The config knows {}; provider instances are {}, and any that \
             `providers` names",
            member.name,
            quoted(keys.iter().copied()),
            quoted(instances.iter().copied()),
        );
        let message = if meant.is_empty() { message.replacen("` The", "`. The", 1) } else { message };
        let expected = "a key of the config or the name of a provider instance";
        let found = Some(format!("`{}`", member.name));
        let place = Place { path: Path::root().key(&member.name), offset: member.start, found };
        mistakes.add(place, expected, nearest, message);
    }
}

/// `` `a`, `b` ``, cut where there are too many to read.
pub(super) fn quoted<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let shown: Vec<String> = names.by_ref().take(SHOWN_NAMES).map(|n| format!("`{n}`")).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn check_task_runners(root: &Node, mistakes: &mut Mistakes<'_>) {
    let Some(node) = root.get("task_runners") else { return };
    let path = Path::root().key("task_runners");
    let needs = match node.get("mode").and_then(Node::as_str) {
        Some("image") => Some("image"),
        Some("build") => Some("repo"),
        _ => None,
    };
    if let (Some(key), Some(mode)) = (needs, node.get("mode"))
        && node.get(key).is_none()
    {
        let expected = format!("a key `{key}` beside it");
        mistakes.wrong_value(Place::of(path.key("mode"), mode), &expected, None);
    }
    for member in node.get("binaries").map(Node::members).unwrap_or_default() {
        let both = member.value.get("path").is_some() == member.value.get("url").is_some();
        if matches!(member.value.kind, Kind::Object(_)) && both {
            let path = path.key("binaries").key(&member.name);
            mistakes.wrong_value(
                Place::of(path, &member.value),
                "exactly one of `path` and `url` in it",
                None,
            );
        }
    }
}

fn check_workload(root: &Node, mistakes: &mut Mistakes<'_>) {
    let Some(node) = root.get("workload").filter(|w| matches!(w.kind, Kind::Object(_))) else { return };
    let path = Path::root().key("workload");
    if node.get("command").is_some() == node.get("builtin").is_some() {
        mistakes.wrong_value(
            Place::of(path.clone(), node),
            "exactly one of `command` and `builtin` in it",
            None,
        );
    }
    if node.get("builtin").is_some() && node.get("command").is_none() {
        for key in ["setup", "env", "working_directory", "warmup", "repetitions", "output"] {
            let Some(member) = node.members().iter().find(|m| m.name == key) else { continue };
            let place = Place { path: path.key(key), offset: member.start, found: Some(format!("`{key}`")) };
            mistakes.wrong_value(place, "it only beside `command`, a builtin does not take it", None);
        }
    }
    check_empty_program(node, &path, mistakes);
    if let Some(output) = node.get("output") {
        check_output(output, &path.key("output"), mistakes);
    }
}

/// A list whose first element, the program, is empty text.
fn check_empty_program(workload: &Node, path: &Path, mistakes: &mut Mistakes<'_>) {
    for key in ["command", "setup"] {
        let program = workload.get(key).and_then(|list| list.elements().first());
        if let Some(program) = program.filter(|p| p.as_str() == Some("")) {
            mistakes.wrong_value(Place::of(path.key(key).index(0), program), "the name of a program", None);
        }
    }
}

fn check_output(output: &Node, path: &Path, mistakes: &mut Mistakes<'_>) {
    let format = output.get("format");
    let is_regex = format.and_then(Node::as_str) == Some("regex");
    match (is_regex, format, output.get("pattern")) {
        (true, Some(format), None) => {
            mistakes.wrong_value(Place::of(path.key("format"), format), "a key `pattern` beside it", None);
        }
        (false, Some(_), Some(pattern)) => {
            let place = Place::of(path.key("pattern"), pattern);
            mistakes.wrong_value(place, "a pattern only with the format `regex`", None);
        }
        (_, _, Some(pattern)) => check_pattern(pattern, path.key("pattern"), mistakes),
        _ => {}
    }
}

fn check_pattern(node: &Node, path: Path, mistakes: &mut Mistakes<'_>) {
    let Some(text) = node.as_str() else { return };
    let expected = match Regex::new(text) {
        Ok(regex) if regex.capture_names().flatten().any(|name| name == "value") => return,
        Ok(_) => "a regular expression with a group `(?P<value>…)`".to_owned(),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("a regular expression ({reason})")
        }
    };
    mistakes.wrong_value(Place::of(path, node), &expected, None);
}

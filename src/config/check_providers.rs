//! Provider instances and their instance types: names that exist, settings their backend takes, aliases that
//! stand for one thing.

use std::collections::HashMap;

use super::check::quoted;
use crate::document::{Document, Kind, Member, Mistakes, Node, Path, Place, nearest};
use crate::provider::{Backend, META, Registry};

pub(super) fn check_providers(document: &Document, registry: &Registry, mistakes: &mut Mistakes<'_>) {
    let root = document.root();
    let mut backends: HashMap<&str, &Backend> = registry.iter().map(|b| (b.name(), b)).collect();
    for entry in root.get("providers").map(Node::members).unwrap_or_default() {
        check_name(entry, registry, mistakes);
        if let Some(backend) = backend_of(entry, registry, mistakes) {
            let path = Path::root().key("providers").key(&entry.name);
            backend.settings_schema().check(&entry.value, &path, mistakes);
            if entry.name != META {
                backends.insert(&entry.name, backend);
            }
        }
    }
    let keys: Vec<&str> = super::schema().keys().collect();
    // An instance whose backend is not known still has aliases.
    let is_list = |m: &&Member| !keys.contains(&m.name.as_str()) && matches!(m.value.kind, Kind::Array(_));
    let lists: Vec<&Member> = root.members().iter().filter(is_list).collect();
    if !root.members().iter().any(|m| !keys.contains(&m.name.as_str())) {
        let expected =
            format!("at least one provider instance with its instance types: {}", quoted(registry.names()));
        let message = format!("the config has no instance types, expected {expected}");
        mistakes.add(Place { path: Path::root(), offset: root.start, found: None }, &expected, None, message);
    }
    check_aliases(document, &lists, mistakes);
    for list in lists {
        if let Some(backend) = backends.get(list.name.as_str()) {
            check_instance_types(list, backend, mistakes);
        }
        if root.get("providers").and_then(|p| p.get(&list.name)).is_none() {
            check_bare(list, registry, mistakes);
        }
    }
}

/// The name goes into tags and names of resources.
fn check_name(entry: &Member, registry: &Registry, mistakes: &mut Mistakes<'_>) {
    let name = entry.name.as_str();
    let place = || Place {
        path: Path::root().key("providers").key(name),
        offset: entry.start,
        found: Some(format!("`{name}`")),
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=32).contains(&name.len())
        || !name.chars().all(is_plain)
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
    {
        let expected = "a name of 1 to 32 characters from a-z, 0-9 and `-`, a letter first";
        mistakes.wrong_value(place(), expected, None);
    } else if super::schema().keys().any(|key| key == name) {
        mistakes.wrong_value(place(), "a name that is not a key of the config itself", None);
    } else if registry.get(name).is_some()
        && entry.value.get("backend").and_then(Node::as_str).is_some_and(|backend| backend != name)
    {
        let expected = format!("the backend `{name}` under its own name, or another name");
        mistakes.wrong_value(place(), &expected, None);
    }
}

fn backend_of<'r>(
    entry: &Member,
    registry: &'r Registry,
    mistakes: &mut Mistakes<'_>,
) -> Option<&'r Backend> {
    // Under this name stands the orchestrator's stack, which executes no tasks.
    let is_stack = entry.name == META;
    let find = |name: &str| if is_stack { registry.stack(name) } else { registry.get(name) };
    let names: Vec<&str> =
        if is_stack { registry.stacks().map(Backend::name).collect() } else { registry.names().collect() };
    let path = Path::root().key("providers").key(&entry.name);
    let Some(node) = entry.value.get("backend") else {
        let own = find(&entry.name);
        if own.is_none() && matches!(entry.value.kind, Kind::Object(_)) {
            let expected = format!("one of {}", quoted(names.iter().copied()));
            let message = format!("the key `backend` is missing, expected {expected}");
            mistakes.add(Place { path, offset: entry.value.start, found: None }, &expected, None, message);
        }
        return own;
    };
    let name = node.as_str()?;
    let backend = find(name);
    if backend.is_none() {
        let expected = format!("one of {}", quoted(names.iter().copied()));
        let nearest = nearest(name, names.iter().copied());
        mistakes.wrong_value(Place::of(path.key("backend"), node), &expected, nearest);
    }
    backend
}

fn check_aliases(document: &Document, lists: &[&Member], mistakes: &mut Mistakes<'_>) {
    let mut firsts: HashMap<&str, usize> = HashMap::new();
    for list in lists {
        for (i, entry) in list.value.elements().iter().enumerate() {
            let Some(node) = entry.get("alias") else { continue };
            let Some(alias) = node.as_str() else { continue };
            if let Some(first) = firsts.get(alias) {
                let (line, _) = document.line_and_column(*first);
                let path = Path::root().key(&list.name).index(i).key("alias");
                let expected = format!("an alias that no other instance type has; line {line} uses it");
                mistakes.wrong_value(Place::of(path, node), &expected, None);
                continue;
            }
            firsts.insert(alias, node.start);
        }
    }
}

/// A backend under its own name, without an entry in `providers`, has only default settings.
fn check_bare(list: &Member, registry: &Registry, mistakes: &mut Mistakes<'_>) {
    let Some(backend) = registry.get(&list.name) else { return };
    let name = backend.name();
    for (setting, _) in backend.manifest.settings.iter().filter(|(_, s)| s.is_required()) {
        let expected = format!("a value for it in `providers.{name}.{setting}`");
        let message = format!("the backend `{name}` needs the setting `{setting}`, expected {expected}");
        let place = Place { path: Path::root().key(name), offset: list.start, found: None };
        mistakes.add(place, &expected, None, message);
    }
}

/// A closed catalog knows every name there is.
fn check_instance_types(list: &Member, backend: &Backend, mistakes: &mut Mistakes<'_>) {
    if !backend.manifest.instance_types.closed {
        return;
    }
    let names = || backend.catalog().instance_types.keys().map(String::as_str);
    for (i, entry) in list.value.elements().iter().enumerate() {
        let Some(node) = entry.get("instance_type") else { continue };
        let Some(name) = node.as_str().filter(|name| !names().any(|n| n == *name)) else { continue };
        let path = Path::root().key(&list.name).index(i).key("instance_type");
        let expected = format!("one of {}", quoted(names()));
        mistakes.wrong_value(Place::of(path, node), &expected, nearest(name, names()));
    }
}

//! All backends: those in the binary, overridden and joined by folders on disk.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use indexmap::IndexMap;
use regex::Regex;
use serde_json::{Map, Value};

use super::folder::Folder;
use super::{Arch, Catalog, InstanceFacts, Manifest, Role, settings};
use crate::document::{Document, InvalidDocument, Mistakes, Node, Path, Place, Schema};

const MANIFEST: &str = "provider.json";

/// Why the backends could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("could not look for provider backends in `{}`", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("could not read `{file}`")]
    File { file: String, source: io::Error },
    #[error("{0}")]
    Invalid(#[from] InvalidDocument),
}

/// One backend: its manifest and its folder.
#[derive(Debug, Clone)]
pub struct Backend {
    pub manifest: Manifest,
    pub folder: Folder,
    catalog: OnceLock<Catalog>,
    rules: Vec<(Regex, Arch)>,
    settings_schema: OnceLock<Schema>,
}

impl Backend {
    fn load(folder: Folder) -> Result<Backend, RegistryError> {
        let file = folder.display(MANIFEST);
        let document = Document::parse(&file, &text(&folder, MANIFEST)?)?;
        let manifest = check(&document, &folder.name())?;
        let catalog = OnceLock::new();
        // Those in the binary are checked by a test, and read when somebody asks: there are thousands of types.
        if let Folder::Disk(_) = folder {
            let _ = catalog.set(read_catalog(&manifest, &folder)?);
        }
        let rule = |pattern: &str| Regex::new(pattern).expect("the manifest's patterns were checked");
        let rules = &manifest.instance_types.architecture_rules;
        let rules = rules.iter().map(|r| (rule(&r.pattern), r.arch)).collect();
        Ok(Backend { manifest, folder, catalog, rules, settings_schema: OnceLock::new() })
    }

    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    pub fn catalog(&self) -> &Catalog {
        self.catalog.get_or_init(|| {
            read_catalog(&self.manifest, &self.folder).expect("a test has read every catalog in the binary")
        })
    }

    /// What catalog and architecture rules know about an instance type; nothing where they do not know it.
    pub fn facts(&self, instance_type: &str) -> InstanceFacts {
        let mut facts = self.catalog().instance_types.get(instance_type).copied().unwrap_or_default();
        if facts.arch.is_none() {
            let rule = self.rules.iter().find(|(pattern, _)| pattern.is_match(instance_type));
            facts.arch = rule.map(|(_, arch)| *arch);
        }
        facts
    }

    /// Checks an entry of the config's `providers`.
    pub fn settings_schema(&self) -> &Schema {
        self.settings_schema.get_or_init(|| settings::schema(&self.manifest))
    }

    /// A provider instance's settings with the defaults of those it does not give.
    pub fn settings(&self, given: &Map<String, Value>) -> Map<String, Value> {
        settings::with_defaults(&self.manifest, given)
    }
}

fn read_catalog(manifest: &Manifest, folder: &Folder) -> Result<Catalog, RegistryError> {
    match &manifest.instance_types.catalog {
        Some(name) => Ok(Catalog::parse(&folder.display(name), &text(folder, name)?)?),
        None => Ok(Catalog::default()),
    }
}

fn text(folder: &Folder, file: &str) -> Result<String, RegistryError> {
    let error = |source| RegistryError::File { file: folder.display(file), source };
    let bytes = folder.read(file).map_err(error)?;
    String::from_utf8(bytes).map_err(|e| error(io::Error::new(io::ErrorKind::InvalidData, e)))
}

/// A manifest that its schema, its regular expressions and its folder's name agree with.
fn check(document: &Document, folder: &str) -> Result<Manifest, InvalidDocument> {
    let mut mistakes = Mistakes::new(document);
    let root = Path::root();
    super::schema().check(document.root(), &root, &mut mistakes);
    if let Some(name) = document.root().get("name")
        && name.as_str().is_some_and(|name| name != folder)
    {
        let expected = format!("`{folder}`, the name of the folder");
        mistakes.wrong_value(Place::of(root.key("name"), name), &expected, None);
    }
    check_patterns(document, &mut mistakes);
    mistakes.finish()?;
    let manifest: Manifest =
        serde_json::from_value(document.root().to_value()).expect("the schema was made from this type");
    check_defaults(document, &manifest)?;
    Ok(manifest)
}

/// Defaults must be values that the config could give.
fn check_defaults(document: &Document, manifest: &Manifest) -> Result<(), InvalidDocument> {
    let mut mistakes = Mistakes::new(document);
    for member in document.root().get("settings").into_iter().flat_map(|s| s.members()) {
        if let (Some(node), Some(setting)) =
            (member.value.get("default"), manifest.settings.get(&member.name))
        {
            let path = Path::root().key("settings").key(&member.name).key("default");
            settings::value_schema(setting).check(node, &path, &mut mistakes);
        }
    }
    mistakes.finish()
}

/// Regular expressions must compile before anything relies on them.
fn check_patterns(document: &Document, mistakes: &mut Mistakes<'_>) {
    let root = document.root();
    let rules = root.get("instance_types").and_then(|t| t.get("architecture_rules"));
    let rules = rules.into_iter().flat_map(|r| r.elements()).enumerate().filter_map(|(i, rule)| {
        let path = Path::root().key("instance_types").key("architecture_rules").index(i).key("pattern");
        Some((path, rule.get("pattern")?))
    });
    let classes = root.get("error_classes").into_iter().flat_map(|c| c.elements()).enumerate();
    let classes = classes.filter_map(|(i, class)| {
        Some((Path::root().key("error_classes").index(i).key("code_regex"), class.get("code_regex")?))
    });
    let codes = root.get("code_patterns").into_iter().flat_map(|c| c.elements()).enumerate();
    let codes = codes.map(|(i, pattern)| (Path::root().key("code_patterns").index(i), pattern));
    check_groups(codes.clone(), mistakes);
    let settings = root.get("settings").into_iter().flat_map(|s| s.members()).filter_map(|member| {
        let path = Path::root().key("settings").key(&member.name).key("pattern");
        Some((path, member.value.get("pattern")?))
    });
    for (path, node) in rules.chain(classes).chain(codes).chain(settings) {
        let Some(Err(error)) = node.as_str().map(Regex::new) else { continue };
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let expected = format!("a regular expression ({reason})");
        mistakes.wrong_value(Place::of(path, node), &expected, None);
    }
}

/// A pattern without its group would never give a code.
fn check_groups<'d>(patterns: impl Iterator<Item = (Path, &'d Node)>, mistakes: &mut Mistakes<'_>) {
    for (path, node) in patterns {
        if let Some(Ok(pattern)) = node.as_str().map(Regex::new)
            && pattern.captures_len() != 2
        {
            mistakes.wrong_value(Place::of(path, node), "a regular expression with exactly one group", None);
        }
    }
}

/// Backends by name, in order of name.
#[derive(Debug)]
pub struct Registry {
    backends: IndexMap<String, Backend>,
}

impl Registry {
    /// The built-in backends, then those in `folders`, of which later ones win. A folder either is a
    /// backend or holds backends.
    pub fn load(folders: &[PathBuf]) -> Result<Registry, RegistryError> {
        let mut found: IndexMap<String, Folder> = IndexMap::new();
        for folder in Folder::embedded_with(MANIFEST) {
            found.insert(folder.name(), folder);
        }
        for root in folders {
            let on_disk = Folder::on_disk_with(root, MANIFEST)
                .map_err(|source| RegistryError::Folder { folder: root.clone(), source })?;
            for folder in on_disk {
                found.insert(folder.name(), folder);
            }
        }
        found.sort_unstable_keys();
        let load = |(name, folder)| Backend::load(folder).map(|backend| (name, backend));
        let backends = found.into_iter().map(load).collect::<Result<_, _>>()?;
        Ok(Registry { backends })
    }

    /// The built-in backends alone.
    pub fn embedded() -> Result<Registry, RegistryError> {
        Registry::load(&[])
    }

    /// A backend whose machines execute tasks.
    pub fn get(&self, name: &str) -> Option<&Backend> {
        self.find(name).filter(|backend| backend.manifest.role == Role::TaskRunners)
    }

    /// Names of the backends whose machines execute tasks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(Backend::name)
    }

    /// The backends whose machines execute tasks.
    pub fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.all().filter(|backend| backend.manifest.role == Role::TaskRunners)
    }

    /// A backend that makes an orchestrator.
    pub fn stack(&self, name: &str) -> Option<&Backend> {
        self.find(name).filter(|backend| backend.manifest.role == Role::Orchestrator)
    }

    /// The backends that make an orchestrator.
    pub fn stacks(&self) -> impl Iterator<Item = &Backend> {
        self.all().filter(|backend| backend.manifest.role == Role::Orchestrator)
    }

    /// A backend of any role.
    pub fn find(&self, name: &str) -> Option<&Backend> {
        self.backends.get(name)
    }

    /// Every backend, whatever its machines do.
    pub fn all(&self) -> impl Iterator<Item = &Backend> {
        self.backends.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{
        "name": "toy", "description": "A toy", "phase": "post_run", "driver": "terraform", "orchestrator": "any",
        "instance_types": { "architecture_rules": [{ "pattern": "^a", "arch": "arm64" }] }
    }"#;

    fn folder_with(manifest: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir(root.path().join("toy")).unwrap();
        fs_err::write(root.path().join("toy/provider.json"), manifest).unwrap();
        root
    }

    #[test]
    fn the_built_in_backends_load() {
        let registry = Registry::embedded().unwrap();
        assert!(registry.get("local").is_some());
        assert!(registry.names().is_sorted());
        for backend in registry.iter() {
            read_catalog(&backend.manifest, &backend.folder).unwrap();
        }
    }

    #[test]
    fn a_folder_on_disk_joins_the_built_in_ones() {
        let root = folder_with(MINIMAL);
        for folder in [root.path().to_owned(), root.path().join("toy")] {
            let registry = Registry::load(&[folder]).unwrap();
            let toy = registry.get("toy").unwrap();
            assert_eq!(toy.facts("a1").arch, Some(Arch::Arm64));
            assert_eq!(toy.facts("b1"), InstanceFacts::default());
            assert!(registry.get("local").is_some());
        }
    }

    #[test]
    fn mistakes_in_a_manifest_are_all_named() {
        let broken = MINIMAL.replace("toy", "tyo").replace("post_run", "postrun").replace("\"^a\"", "\"(\"");
        let root = folder_with(&broken);
        let error = Registry::load(&[root.path().to_owned()]).unwrap_err().to_string();
        let file = root.path().join("toy/provider.json").display().to_string();
        assert_eq!(
            error.replace(&file, "F"),
            "F:2:17: $.name: found \"tyo\", expected `toy`, the name of the folder\n\
             F:2:57: $.phase: found \"postrun\", expected one of `pre_orchestrator`, `post_run`; \
             did you mean `post_run`?\n\
             F:3:65: $.instance_types.architecture_rules[0].pattern: found \"(\", \
             expected a regular expression (unclosed group)"
        );
    }

    #[test]
    fn a_code_pattern_needs_its_one_group() {
        let root =
            folder_with(&MINIMAL.replace(
                "\"instance_types\"",
                r#""code_patterns": ["a (b) (c)", "d", "("], "instance_types""#,
            ));
        let error = Registry::load(&[root.path().to_owned()]).unwrap_err().to_string();
        for (i, expected) in [
            (0, "expected a regular expression with exactly one group"),
            (1, "expected a regular expression with exactly one group"),
            (2, "expected a regular expression (unclosed group)"),
        ] {
            let line = error.lines().find(|line| line.contains(&format!("$.code_patterns[{i}]")));
            assert!(line.is_some_and(|line| line.ends_with(expected)), "{error}");
        }
    }

    #[test]
    fn a_default_that_its_own_setting_refuses_is_a_mistake() {
        let settings = r#""settings": {
            "zone": { "type": "string", "description": "Zone", "options": ["a", "b"], "default": "c" },
            "size": { "type": "integer", "description": "Size", "default": "9" }
        }, "instance_types""#;
        let root = folder_with(&MINIMAL.replace("\"instance_types\"", settings));
        let error = Registry::load(&[root.path().to_owned()]).unwrap_err().to_string();
        let file = root.path().join("toy/provider.json").display().to_string();
        assert_eq!(
            error.replace(&file, "F"),
            "F:4:98: $.settings.zone.default: found \"c\", expected one of `a`, `b`\n\
             F:5:76: $.settings.size.default: found \"9\", expected an integer"
        );
    }

    #[test]
    fn an_empty_catalog_or_a_broken_one_is_told_apart() {
        let root = folder_with(
            &MINIMAL.replace("\"architecture_rules\"", "\"catalog\": \"c.json\", \"architecture_rules\""),
        );
        let load = || Registry::load(&[root.path().to_owned()]).map(|_| ()).map_err(|e| e.to_string());
        assert!(load().unwrap_err().contains("could not read"));
        fs_err::write(root.path().join("toy/c.json"), r#"{ "instance_types": { "t": { "vcpus": 2 } } }"#)
            .unwrap();
        assert!(load().unwrap_err().contains("unknown key `vcpus`; did you mean `vcpu`?"));
        fs_err::write(root.path().join("toy/c.json"), r#"{ "_c": 1, "instance_types": {} }"#).unwrap();
        assert_eq!(load(), Ok(()));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Registry::load(&[PathBuf::from("/no/such")]).unwrap_err();
        assert_eq!(error.to_string(), "could not look for provider backends in `/no/such`");
    }
}

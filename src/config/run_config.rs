//! The checked config, in the form in which the program works with it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::file::{Binary, InstanceEntry, Limits, Mode, RunFile, TaskRunnersFile};
use super::workload;
use crate::api::{Alias, Workload};
use crate::document::{Document, Member, Node, Path};
use crate::provider::{Arch, META, Registry};

/// A config without mistakes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// The file as the user named it.
    pub file: String,
    /// Its text, to be kept with the run.
    #[serde(skip)]
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ruby_version: Option<String>,
    /// 1 to 1,000,000.
    pub runs_per_instance_type: u32,
    pub task_runners: TaskRunners,
    pub workload: Workload,
    pub limits: Limits,
    /// Provider instances that have instance types, in the order of the file.
    pub providers: Vec<ProviderInstance>,
    pub meta: MetaSettings,
}

/// How the orchestrator's stack is set up, where the run needs one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetaSettings {
    pub backend: String,
    /// What the config says itself; defaults are not filled in.
    pub given: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskRunners {
    /// Most task runners on one host, 1 to 1,000,000; absent: the driver's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    pub source: RunnerSource,
    /// The container image, wherever one is needed (also by `docker` on the local machine).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// How the task runner comes to a cloud's host.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum RunnerSource {
    Image {
        image: String,
    },
    Build {
        repo: String,
        reference: String,
    },
    /// Programs by architecture; the master's own stands in for its architecture.
    Binary {
        binaries: BTreeMap<Arch, Binary>,
    },
}

/// A named, configured endpoint of a backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProviderInstance {
    pub name: String,
    pub backend: String,
    /// The backend's settings, defaults filled in.
    pub settings: Map<String, Value>,
    /// At least one.
    pub instance_types: Vec<InstanceType>,
}

/// Where something stands in the config, for what is found wrong with it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// E.g. `$.local[0]`.
    pub path: String,
    /// From 0, in bytes of the file.
    #[serde(skip)]
    pub offset: usize,
}

impl std::fmt::Display for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.path)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceType {
    #[serde(skip)]
    pub at: Located,
    pub instance_type: String,
    pub alias: Alias,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    pub spot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price_usd_per_h: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd_per_h: Option<f64>,
}

/// From a document that was found to be free of mistakes.
pub(super) fn convert(document: &Document, registry: &Registry) -> RunConfig {
    let is_key = |name: &str| super::schema().keys().any(|key| key == name);
    let (keys, lists): (Vec<&Member>, Vec<&Member>) =
        document.root().members().iter().partition(|m| is_key(&m.name));
    let known: Map<String, Value> = keys.iter().map(|m| (m.name.clone(), m.value.to_value())).collect();
    let file: RunFile = typed(Value::Object(known));
    let providers = lists.iter().map(|list| provider_instance(document, list, &file, registry)).collect();
    run_config(document, file, providers)
}

/// What of a document with mistakes can be read: sections and instance types that make sense by themselves. The
/// others are as if they were not there.
pub(super) fn readable(document: &Document, registry: &Registry) -> RunConfig {
    let members = document.root().members();
    let makes_sense = |name: &str, value: &Value| {
        let alone = Value::Object([(name.to_owned(), value.clone())].into_iter().collect());
        serde_json::from_value::<RunFile>(alone).is_ok_and(|file| file.workload.is_none_or(|w| w.is_one()))
    };
    let values = members.iter().map(|member| (member.name.clone(), member.value.to_value()));
    let known: Map<String, Value> = values.filter(|(name, value)| makes_sense(name, value)).collect();
    let file: RunFile = typed(Value::Object(known));
    let providers = members.iter().filter_map(|list| {
        let given = document.root().get("providers").and_then(|all| all.get(&list.name));
        let name = given.and_then(|given| given.get("backend")).map_or(Some(&*list.name), Node::as_str)?;
        let backend = registry.get(name)?;
        let entries = list.value.elements().iter().enumerate().filter_map(|(i, node)| {
            let entry: InstanceEntry = serde_json::from_value(node.to_value()).ok()?;
            let _: Alias = entry.alias.parse().ok()?;
            Some(InstanceType::at(located(document, list, i, node), entry))
        });
        let (name, backend, settings) = (list.name.clone(), backend.name().to_owned(), Map::new());
        Some(ProviderInstance { name, backend, settings, instance_types: entries.collect() })
    });
    let providers = providers.collect();
    run_config(document, file, providers)
}

fn run_config(document: &Document, file: RunFile, providers: Vec<ProviderInstance>) -> RunConfig {
    let meta = meta_settings(&file);
    RunConfig {
        file: document.file().to_owned(),
        text: document.text().to_owned(),
        workload: workload::convert(file.workload, file.ruby_version.as_deref()),
        ruby_version: file.ruby_version,
        runs_per_instance_type: file.runs_per_instance_type,
        task_runners: task_runners(file.task_runners),
        limits: file.limits,
        providers,
        meta,
    }
}

fn meta_settings(file: &RunFile) -> MetaSettings {
    let mut given = file.providers.get(META).cloned().unwrap_or_default();
    given.retain(|name, _| !name.starts_with(['_', '$']));
    let backend = given.remove("backend").as_ref().and_then(Value::as_str).unwrap_or(META).to_owned();
    MetaSettings { backend, given }
}

/// The schema is generated from the type, so a document that fits the one fits the other.
fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("what fits the schema fits the type that it was made from")
}

fn provider_instance(
    document: &Document,
    list: &Member,
    file: &RunFile,
    registry: &Registry,
) -> ProviderInstance {
    let nothing = Map::new();
    let given = file.providers.get(&list.name).unwrap_or(&nothing);
    let name = given.get("backend").and_then(Value::as_str).unwrap_or(&list.name);
    let backend = registry.get(name).expect("the check found every provider instance's backend");
    let entries: Vec<InstanceEntry> = typed(list.value.to_value());
    ProviderInstance {
        name: list.name.clone(),
        backend: backend.name().to_owned(),
        settings: backend.settings(given),
        instance_types: entries
            .into_iter()
            .zip(list.value.elements())
            .enumerate()
            .map(|(i, (entry, node))| InstanceType::at(located(document, list, i, node), entry))
            .collect(),
    }
}

fn located(document: &Document, list: &Member, index: usize, node: &Node) -> Located {
    let path = Path::root().key(&list.name).index(index).to_string();
    let (line, column) = document.line_and_column(node.start);
    Located { file: document.file().to_owned(), line, column, path, offset: node.start }
}

impl InstanceType {
    fn at(at: Located, entry: InstanceEntry) -> InstanceType {
        InstanceType {
            at,
            instance_type: entry.instance_type,
            alias: entry.alias.parse().expect("the schema holds the alias's pattern"),
            vcpu: entry.vcpu,
            arch: entry.arch,
            spot: entry.spot,
            max_price_usd_per_h: entry.max_price_usd_per_h,
            price_usd_per_h: entry.price_usd_per_h,
        }
    }
}

fn task_runners(file: TaskRunnersFile) -> TaskRunners {
    let binaries = file.binaries.by_arch();
    let reference = file.reference.unwrap_or_else(|| "main".to_owned());
    let source = match (file.mode, file.image.clone(), file.repo) {
        (Some(Mode::Image) | None, Some(image), _) => RunnerSource::Image { image },
        (Some(Mode::Build) | None, _, Some(repo)) => RunnerSource::Build { repo, reference },
        _ => RunnerSource::Binary { binaries },
    };
    TaskRunners { count: file.count, source, image: file.image }
}

//! Terraform's state file, read for recovery: after a death, a truncated disk or a failed write there may be
//! several, none of them whole. Written only as the small state that tells modules about an orchestrator.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::client::Secret;
use crate::master::home::write_private;

/// The state format since Terraform 0.12; OpenTofu writes the same.
const VERSION: u64 = 4;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("could not read the state `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the state `{}` is not readable: {reason}", .path.display())]
    Invalid { path: PathBuf, reason: String },
    #[error("could not write the state `{}`", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What a state says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub serial: u64,
    pub lineage: String,
    /// Values by name, sensitive ones too: not to be shown.
    pub outputs: Map<String, Value>,
    /// Managed resources; data sources are left out.
    pub resources: Vec<Resource>,
}

/// One managed resource instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    /// As Terraform writes it: `aws_instance.host["a-0"]`, with the module in front.
    pub address: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub id: Option<String>,
    /// Tags or labels.
    pub tags: Map<String, Value>,
    /// An apply would replace it.
    pub tainted: bool,
}

/// Where a recovered state was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateSource {
    /// `errored.tfstate`: what Terraform knew when it could not write its state.
    Errored,
    State,
    /// `terraform.tfstate.backup`: what it was before the last change.
    Backup,
    /// The copy made after an apply.
    Copy,
}

/// The best state that can be read, and the files that cannot.
#[derive(Debug)]
pub struct Recovered {
    pub found: Option<(StateSource, State)>,
    /// Files that are there and hold no state.
    pub unreadable: Vec<StateError>,
}

#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(default)]
    serial: u64,
    #[serde(default)]
    lineage: String,
    #[serde(default)]
    outputs: Map<String, Value>,
    #[serde(default)]
    resources: Vec<FileResource>,
}

#[derive(Deserialize)]
struct FileResource {
    #[serde(default)]
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    instances: Vec<FileInstance>,
}

#[derive(Deserialize)]
struct FileInstance {
    #[serde(default)]
    index_key: Option<Value>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

impl Resource {
    /// Its key, where it is one of several of a resource with `for_each`.
    pub fn key(&self) -> Option<String> {
        let index = self.address.strip_suffix(']')?.rsplit_once('[')?.1;
        serde_json::from_str(index).ok()
    }
}

impl State {
    /// What has to be made anew for a host to be: the resource with its id, else all with its key.
    pub fn addresses_of(&self, key: &str, id: &str) -> Vec<String> {
        let of_key = || self.resources.iter().filter(|resource| resource.key().as_deref() == Some(key));
        let exact: Vec<String> = of_key()
            .filter(|resource| resource.id.as_deref() == Some(id))
            .map(|resource| resource.address.clone())
            .collect();
        if exact.is_empty() { of_key().map(|resource| resource.address.clone()).collect() } else { exact }
    }

    /// Reads one file; `None` where there is none. An empty file is not a state.
    pub fn read(path: &Path) -> Result<Option<State>, StateError> {
        match fs_err::read(path) {
            Ok(bytes) => State::parse(path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<State, StateError> {
        let invalid = |reason: String| StateError::Invalid { path: path.to_owned(), reason };
        let file: File = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        if file.version != VERSION {
            return Err(invalid(format!("it is in format {}, not {VERSION}", file.version)));
        }
        let value = |(name, mut output): (String, Value)| Some((name, output.get_mut("value")?.take()));
        let managed = file.resources.into_iter().filter(|resource| resource.mode == "managed");
        Ok(State {
            serial: file.serial,
            lineage: file.lineage,
            outputs: file.outputs.into_iter().filter_map(value).collect(),
            resources: managed.flat_map(instances).collect(),
        })
    }

    /// Looks in a folder, then at the copy: the best state that can be read, and what cannot be.
    pub fn recover(folder: &Path, copy: Option<&Path>) -> Recovered {
        let mut candidates = vec![
            (StateSource::Errored, folder.join("errored.tfstate")),
            (StateSource::State, folder.join(STATE_FILE)),
            (StateSource::Backup, folder.join("terraform.tfstate.backup")),
        ];
        candidates.extend(copy.map(|copy| (StateSource::Copy, copy.to_owned())));
        let mut recovered = Recovered { found: None, unreadable: Vec::new() };
        for (source, path) in candidates {
            match State::read(&path) {
                Ok(Some(state)) if recovered.found.is_none() => recovered.found = Some((source, state)),
                Ok(_) => {}
                Err(error) => recovered.unreadable.push(error),
            }
        }
        recovered
    }

    /// Whether this is a state of `run_id`, by its output or by tags; `None` where it says nothing of runs.
    pub fn belongs_to(&self, run_id: &str) -> Option<bool> {
        let output = self.outputs.get("run_id").into_iter();
        let tags = self.resources.iter().filter_map(|resource| resource.tags.get("bench_run_id"));
        let mut runs = output.chain(tags).peekable();
        runs.peek()?;
        Some(runs.all(|run| run == run_id))
    }
}

pub(super) const STATE_FILE: &str = "terraform.tfstate";

fn instances(resource: FileResource) -> Vec<Resource> {
    let FileResource { module, kind, name, instances, .. } = resource;
    let module = module.map(|module| format!("{module}.")).unwrap_or_default();
    let one = |instance: FileInstance| {
        let index = instance.index_key.map(|key| format!("[{key}]")).unwrap_or_default();
        let text = |name: &str| instance.attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        Resource {
            address: format!("{module}{kind}.{name}{index}"),
            kind: kind.clone(),
            id: text("id"),
            tags: tags(&instance.attributes),
            tainted: instance.status.as_deref() == Some("tainted"),
        }
    };
    instances.into_iter().map(one).collect()
}

/// Providers call them differently; the fuller map is the one with the provider's defaults in it.
fn tags(attributes: &Map<String, Value>) -> Map<String, Value> {
    let names = ["tags_all", "effective_labels", "terraform_labels", "tags", "labels"];
    let maps = names.iter().filter_map(|name| attributes.get(*name)?.as_object());
    maps.max_by_key(|map| map.len()).cloned().unwrap_or_default()
}

/// What modules read about an orchestrator: the outputs of the meta stack.
#[derive(Debug, Clone)]
pub struct MetaOutputs {
    pub orchestrator_url: String,
    /// Empty where the orchestrator speaks plain HTTP on loopback.
    pub orchestrator_pin: String,
    /// Terraform keeps all outputs of a remote state in the state of the module that reads one of them, so
    /// give the run's key here: a module that asks for `api_key` gets one that works, and the admin key stays
    /// in the meta stack's own state.
    pub api_key: Secret,
}

impl MetaOutputs {
    /// Writes them as a state file with nothing else in it, mode 0600: where the orchestrator is not the
    /// meta stack's, modules find it all the same.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let output = |value: &str, sensitive: bool| match sensitive {
            true => json!({ "value": value, "type": "string", "sensitive": true }),
            false => json!({ "value": value, "type": "string" }),
        };
        let state = json!({
            "version": VERSION,
            "terraform_version": "1.6.0",
            "serial": 1,
            "lineage": "bench-orchestrator",
            "outputs": {
                "orchestrator_url": output(&self.orchestrator_url, false),
                "orchestrator_pin": output(&self.orchestrator_pin, false),
                "api_key": output(self.api_key.expose(), true),
            },
            "resources": [],
            "check_results": null,
        });
        write_private(path, format!("{state:#}\n").as_bytes())
            .map_err(|source| StateError::Write { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{
        "version": 4, "terraform_version": "1.11.4", "serial": 7, "lineage": "l",
        "outputs": { "run_id": { "value": "r1", "type": "string" } },
        "resources": [
            { "mode": "data", "type": "x_image", "name": "i", "provider": "p", "instances": [{ "attributes": {} }] },
            { "mode": "managed", "type": "x_machine", "name": "host", "provider": "p", "instances": [
                { "index_key": "a-0", "schema_version": 1, "status": "tainted", "attributes": {
                    "id": "i-1", "tags": { "a": "1" }, "tags_all": { "a": "1", "bench_run_id": "r1" } } }
            ] },
            { "module": "module.net", "mode": "managed", "type": "x_net", "name": "n", "provider": "p",
              "instances": [{ "index_key": 0, "attributes": { "id": null } }] }
        ]
    }"#;

    #[test]
    fn resources_come_with_address_id_and_the_fullest_tags() {
        let state = State::parse(Path::new("s"), STATE.as_bytes()).unwrap();
        assert_eq!((state.serial, state.outputs["run_id"].as_str()), (7, Some("r1")));
        let [machine, net] = state.resources.as_slice() else { panic!("{:?}", state.resources) };
        assert_eq!(machine.address, "x_machine.host[\"a-0\"]");
        assert_eq!((machine.id.as_deref(), machine.tainted), (Some("i-1"), true));
        assert_eq!(machine.tags["bench_run_id"], "r1");
        assert_eq!((net.address.as_str(), &net.id, net.tainted), ("module.net.x_net.n[0]", &None, false));
        assert_eq!(state.belongs_to("r1"), Some(true));
        assert_eq!(state.belongs_to("r2"), Some(false));
        assert_eq!(State::default().belongs_to("r1"), None);
    }

    #[test]
    fn a_host_is_made_anew_by_its_own_resource_where_that_is_known() {
        let state = State::parse(Path::new("s"), STATE.as_bytes()).unwrap();
        assert_eq!(state.resources[0].key().as_deref(), Some("a-0"));
        assert_eq!(state.resources[1].key(), None, "a number is no key");
        assert_eq!(state.addresses_of("a-0", "i-1"), ["x_machine.host[\"a-0\"]"]);
        assert_eq!(state.addresses_of("a-0", "vm-7"), ["x_machine.host[\"a-0\"]"]);
        assert!(state.addresses_of("a-1", "i-1").is_empty());
    }

    #[test]
    fn the_best_readable_state_is_taken_and_the_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let copy = path("copy");
        assert!(State::recover(folder.path(), Some(&copy)).found.is_none());
        let serial = |n: u64| STATE.replace("\"serial\": 7", &format!("\"serial\": {n}"));
        let found =
            |copy: &Path| State::recover(folder.path(), Some(copy)).found.map(|(from, s)| (from, s.serial));
        for (name, n, source) in [
            ("copy", 1, StateSource::Copy),
            ("terraform.tfstate.backup", 2, StateSource::Backup),
            ("terraform.tfstate", 3, StateSource::State),
            ("errored.tfstate", 4, StateSource::Errored),
        ] {
            fs_err::write(path(name), serial(n)).unwrap();
            assert_eq!(found(&copy), Some((source, n)));
        }
        fs_err::write(path("errored.tfstate"), "").unwrap();
        fs_err::write(path("terraform.tfstate"), &STATE[..200]).unwrap();
        let recovered = State::recover(folder.path(), None);
        assert_eq!(recovered.found.unwrap().0, StateSource::Backup);
        let names: Vec<String> = recovered.unreadable.iter().map(ToString::to_string).collect();
        assert!(names[0].contains("errored.tfstate") && names[1].contains("terraform.tfstate"), "{names:?}");
    }

    #[test]
    fn the_orchestrators_state_is_private_and_reads_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.tfstate");
        let outputs = MetaOutputs {
            orchestrator_url: "https://10.0.0.1".into(),
            orchestrator_pin: "sha256//x".into(),
            api_key: Secret::new("k"),
        };
        outputs.write(&path).unwrap();
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let state = State::read(&path).unwrap().unwrap();
        assert_eq!(state.outputs["orchestrator_url"], "https://10.0.0.1");
        assert_eq!(state.outputs["api_key"], "k");
    }
}

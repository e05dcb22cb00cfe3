//! `provider.json`: what a backend is, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Schema;

/// A provider backend: the registry entry of one folder under `infrastructure/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Provider backend of bench")]
pub struct Manifest {
    /// Name of the backend; the same as its folder's.
    #[schemars(regex(pattern = "^[a-z][a-z0-9-]{0,31}$"))]
    #[schemars(extend("x-expected" = "1 to 32 characters from a-z, 0-9 and `-`, a letter first"))]
    pub name: String,
    /// One sentence for `bench provider list`.
    #[schemars(length(min = 1, max = 200))]
    pub description: String,
    /// What the backend's machines do.
    #[serde(default, skip_serializing_if = "Role::is_default")]
    pub role: Role,
    pub phase: Phase,
    pub driver: Driver,
    pub orchestrator: OrchestratorKind,
    /// Programs the master needs for this backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Sources of credentials, any one of which will do. None: the backend needs no credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialSource>,
    /// Command that exits with 0 when the credentials work, whatever their source: program and arguments, no
    /// shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub credential_check: Option<Vec<String>>,
    /// Arguments added to every check of credentials where the setting of that name is given: a provider instance
    /// is checked with its own account.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub check_arguments_when_set: IndexMap<String, Vec<String>>,
    /// What a provider instance can set in the config, by name; each is a Terraform variable of the module.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub settings: IndexMap<String, Setting>,
    #[serde(default)]
    pub instance_types: InstanceTypes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// User that the machine image lets in over SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub ssh_user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagRules>,
    /// How the cloud's own error codes stand in Terraform's diagnostics: regular expressions, each with one
    /// group that holds the code. `api error CODE` and `code: CODE` are known without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code_patterns: Vec<String>,
    /// Classes of the cloud's own error codes; the first that matches counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_classes: Vec<ErrorClass>,
    /// How hosts are listed and driven, by argument lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostCommands>,
}

/// What the machines of a backend do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// They execute tasks.
    #[default]
    TaskRunners,
    /// One machine, which runs the orchestrator for all runs of an owner.
    Orchestrator,
}

impl Role {
    fn is_default(&self) -> bool {
        *self == Role::default()
    }
}

/// When the backend's hosts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// While the orchestrator is being waited for.
    PreOrchestrator,
    /// After the run was created.
    PostRun,
}

/// What makes the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The folder's Terraform module.
    Terraform,
    /// Nothing: the master's own machine is the host.
    Local,
}

/// Which orchestrators the hosts can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrchestratorKind {
    /// Only one with a public address; refused with a local one.
    Public,
    /// Any.
    Any,
}

/// Processor architecture of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit ARM (AArch64).
    Arm64,
    /// 64-bit x86 (AMD64).
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Arm64 => "arm64",
            Arch::X86_64 => "x86_64",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A program that must be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its file name, looked up in `PATH`.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Arguments that make it print its version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub version_args: Vec<String>,
    /// Where to get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Only some abilities need it; a run works without.
    #[serde(default)]
    pub optional: bool,
}

/// One way to be let in: every variable set and every file there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialSource {
    /// What this source is called.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Environment variables that must all be set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Files that must all exist; `~` is the home directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Command that exits with 0 when this source works; without it, the backend's `credential_check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub check: Option<Vec<String>>,
}

/// A setting of a provider instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// What it does, in one sentence.
    #[schemars(length(min = 1))]
    pub description: String,
    /// Value where the config gives none. A setting without default is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// May be left out though there is no default.
    #[serde(default)]
    pub optional: bool,
    /// Environment variable that this setting takes the place of: where it is given, a source of credentials
    /// does without the variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub instead_of_env: Option<String>,
    /// Cannot change while what was made with another value is there: a region, an account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
    /// Regular expression for a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The allowed values of a string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Setting {
    /// The config must give it.
    pub fn is_required(&self) -> bool {
        self.default.is_none() && !self.optional
    }
}

/// Type of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    StringList,
}

/// Where the facts about instance types come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceTypes {
    /// File in this folder: `{"instance_types": {NAME: {vcpu, memory_gib, arch, threads_per_core, …}}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// The catalog holds every instance type there is: another one is a mistake in the config.
    #[serde(default)]
    pub closed: bool,
    /// Architectures told from names; the first that matches counts. The catalog wins over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architecture_rules: Vec<ArchitectureRule>,
    /// Command that prints the facts about `{{instance_type}}`, with a query that takes them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_query: Option<HostCommand>,
}

/// Names that match `pattern` have this architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchitectureRule {
    /// Regular expression on the instance type's name.
    pub pattern: String,
    pub arch: Arch,
}

/// How a host is told what to do when it boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserData {
    /// Name of the template under `templates/`.
    #[schemars(length(min = 1))]
    pub template: String,
    /// Most bytes the cloud takes, after encoding.
    #[schemars(range(min = 1))]
    pub limit_bytes: u32,
    #[serde(default)]
    pub encoding: Encoding,
    /// What installs packages on the machine image.
    #[serde(default)]
    pub package_manager: PackageManager,
    /// Where a host learns its own id. Absent: it goes by its host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// How the cloud says that it will take a spot machine away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_watch: Option<SpotWatch>,
    /// Lines of shell that end the host's billing. None: powering off does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub power_off: Vec<String>,
}

/// What installs packages on a machine image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackageManager {
    /// Debian, Ubuntu.
    #[default]
    Apt,
    /// Fedora and its kin.
    Dnf,
}

/// The cloud's metadata service, as a host asks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Answers with the host's id, as plain text.
    pub instance_id_url: String,
    /// Header of every question, where there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Gives a session token for a PUT; the questions then carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Header of the PUT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_request_header: Option<String>,
    /// Name of the header that carries the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
}

/// A question to the metadata service, asked again and again until its answer matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpotWatch {
    pub url: String,
    /// Extended regular expression on the answer: the machine will be taken away.
    pub pattern: String,
    /// Seconds between two questions.
    #[schemars(range(min = 1, max = 60))]
    pub interval_seconds: u32,
    /// Asked once: a host whose answer does not match `only_if_pattern` needs no watching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if_pattern: Option<String>,
}

/// How user-data is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is.
    #[default]
    Plain,
    /// Base64.
    Base64,
    /// Compressed with gzip, then base64.
    GzipBase64,
}

/// What the cloud allows in tags (labels); keys and values are made to fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagRules {
    /// Most tags one resource can carry.
    #[schemars(range(min = 1))]
    pub max_count: u32,
    /// Longest key, characters.
    #[schemars(range(min = 1))]
    pub max_key_length: u32,
    /// Longest value, characters.
    #[schemars(range(min = 1))]
    pub max_value_length: u32,
    /// Only lower-case letters in keys and values.
    #[serde(default)]
    pub lower_case: bool,
}

/// Sorts the cloud's error codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorClass {
    /// Regular expression on the API's code in Terraform's diagnostics.
    #[schemars(length(min = 1))]
    pub code_regex: String,
    pub class: ErrorClassName,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Classes of failure, each with its own handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClassName {
    /// The account may not have that much.
    Quota,
    /// The cloud has no such machine left at this place.
    Capacity,
    /// Missing, wrong or expired credentials.
    Credentials,
    /// The credentials work, but do not allow this.
    Permission,
    /// Too many calls.
    Throttling,
    /// A value that the cloud does not know or take.
    Invalid,
    /// Passes by itself.
    Transient,
}

/// Commands for hosts; `{{name}}` stands for a setting or a fact of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostCommands {
    /// Lists hosts; its query gives objects with `id`, `state`, `public_ip`, `tags`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<HostCommand>,
    /// Stops a host that can be started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<HostCommand>,
    /// Starts a stopped host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<HostCommand>,
    /// Ends a host for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy: Option<HostCommand>,
    /// Saves a host's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<HostCommand>,
    /// What the cloud's words for states mean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, HostState>,
}

/// A command without a shell, and what to take from the JSON that it prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostCommand {
    /// Program and arguments.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// JMESPath query on its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// State of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Being made.
    Building,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// On its way down.
    Stopping,
    /// Down, can be started.
    Stopped,
    /// Did not come up.
    Failed,
    /// Gone.
    Destroyed,
}

/// The schema of `provider.json`, as it is checked in at `config/provider.schema.json`.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<Manifest>);
    &SCHEMA
}

//! `nuke.json`: the steps of a sweep, as data.

use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Schema;

/// How all that carries our tags is found and deleted in one cloud. In commands `{{name}}` stands for a
/// setting of the provider instance, for `owner`, or for what the place of the command says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Sweep manifest of bench")]
pub struct SweepManifest {
    /// The backend that it belongs to.
    #[schemars(length(min = 1, max = 32))]
    pub backend: String,
    /// Tells the account that the credentials lead to, one text. Absent: the backend has no accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Ask>,
    /// Lists every region the account may use, for `--all-regions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Regions>,
    /// Asks in one go whether a region holds anything of the owner; an empty list means that it does not.
    /// Only for regions that the ledger does not know: those that it knows are listed in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Ask>,
    /// Arguments added to every command where the setting of that name is given.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub arguments_when_set: IndexMap<String, Vec<String>>,
    /// Environment variables of every command.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    /// What a failed command's words on stderr mean; the first that matches counts. None matches: it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerPattern>,
    /// Kinds of resources, in the order in which they can be deleted.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// A command without a shell, and what to take from the JSON that it prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Program and arguments.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// JMESPath query on its output. Default: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Every region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Regions {
    /// The setting that names a region.
    #[schemars(length(min = 1))]
    pub setting: String,
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// JMESPath query that gives a list of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// One kind of resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is called in plans and reports.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// The cloud's service that answers for it; messages name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    pub list: Listing,
    /// Deletes what was listed; `{{id}}` and every other fact of the item can stand in its command.
    pub delete: Delete,
    /// States in which an item is gone though it is still listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_states: Vec<String>,
    /// States from which an item goes by itself: it needs no delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ending_states: Vec<String>,
    /// Later steps start only when all that was deleted here is found gone: it holds what they delete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
    /// What lies inside an item, looked at before the item is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Children>,
    /// What an item costs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// How items are listed. The query gives a list of objects with `id` (a text), `tags` (an object, or a list
/// of key-value objects) and, where known, `state`; `part_of` (id of what takes the item along when it goes);
/// `also` (list of other ids that Terraform knows it by); `instance_type`, `gib` and `billed` (true or false)
/// for its cost; and whatever the delete command needs. A filter on the cloud's side saves time only: tags are
/// always checked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// JMESPath query that gives null on the last page. Where `next_arguments` is given, the next page is
    /// asked for with it; else a page that is not the last makes the listing incomplete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Arguments added for the next page; `{{next}}` is what the query `next` gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_arguments: Vec<String>,
    /// Asks for the tags of each item, where the listing does not tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagsQuery>,
}

/// The tags of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagsQuery {
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Regular expression on stderr: the item has no tags, or is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_pattern: Option<String>,
}

/// A command that deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Program and arguments. An argument `{{ids}}` becomes one argument for each item, `{{objects}}` inside
    /// an argument the JSON list of the items' `object`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Most items that one command takes; more than 1 needs `{{ids}}` or `{{objects}}`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub at_once: usize,
}

fn one() -> usize {
    1
}

/// What lies inside an item; `{{parent}}` is the item's id, and every fact of the item can stand in commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Children {
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    pub list: Listing,
    /// Deletes children that cannot carry tags, which belong to whoever owns the item around them. Without
    /// it, children are judged by their own tags, and one that is not ours keeps the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Delete>,
}

/// What an item costs. The price of an instance type comes from the plan or the backend's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// USD an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub usd_per_h: Option<f64>,
    /// USD for each GiB and month of 730 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000.0))]
    pub usd_per_gib_month: Option<f64>,
}

/// Sorts failed commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerPattern {
    /// Regular expression on stderr.
    #[schemars(length(min = 1))]
    pub pattern: String,
    pub means: AnswerClass,
}

/// What a failed command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerClass {
    /// What was to be deleted is not there any more.
    Gone,
    /// Something else still needs it: tried again.
    InUse,
    /// Too many calls, or a failure that passes: tried again.
    Transient,
}

/// The schema of sweep manifests, as it is checked in at `config/nuke.schema.json`.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<SweepManifest>);
    &SCHEMA
}

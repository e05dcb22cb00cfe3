//! The lines of the ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::RunId;
use crate::owner::OwnerId;

/// What one provider instance of a run is about to make. Written before the first call to its cloud; again
/// when a resumed run is about to make more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The run; `meta-<owner>` for the meta stack.
    pub run_id: RunId,
    pub owner: OwnerId,
    /// Name of the provider instance.
    pub provider: String,
    /// Name of its backend, whose sweep manifest finds what it made.
    pub backend: String,
    /// All settings of the provider instance, defaults included: region, profile, …. A sweep goes by these,
    /// whatever the config says by then.
    pub settings: Map<String, Value>,
    /// The account that the credentials led to; absent where the backend has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When everything ends itself, seconds since 1970; absent where it ends itself otherwise (when idle).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Prices that the plan knew, USD an hour by instance type: what a leak costs is told from them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices_usd_per_h: BTreeMap<String, f64>,
    /// Terraform's folder, absolute.
    pub workspace: PathBuf,
    /// Where Terraform's state is copied to, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_copy: Option<PathBuf>,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub run_id: RunId,
    /// Name of the provider instance.
    pub provider: String,
    #[serde(flatten)]
    pub kind: FactKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum FactKind {
    /// An apply came to its end, well.
    Applied { made: Vec<Made> },
    /// An apply did not; some of it may exist.
    Failed { error: String },
    /// It is left standing on purpose, until it ends itself.
    Kept,
    /// It ends itself at another time, seconds since 1970.
    Extended { expires_at: i64 },
    /// Terraform destroyed what its state knew. No proof: only a listing is.
    Destroyed,
    /// Two listings, at least ten seconds apart, found nothing that carries the run's tags.
    Gone,
}

/// One resource, as Terraform knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Made {
    /// Terraform's type.
    pub kind: String,
    pub id: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub at: jiff::Timestamp,
    #[serde(flatten)]
    pub entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(super) enum Entry {
    Intent(Intent),
    Fact(Fact),
}

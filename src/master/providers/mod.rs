//! Provider instances while a run lasts: one task each, whatever makes its hosts.
//!
//! ```text
//!  Fleet ──spawns──▶ local::serve      (task runners of this machine)
//!    ▲   ──spawns──▶ terraform::serve  (apply, serve, destroy)
//!    └──── News ◀────────┘     every task ends after it was told to leave, or by itself
//! ```

mod boot;
mod fleet;
mod render;
mod teardown;
mod terraform;
mod watch;

use std::sync::Arc;

use super::local::LocalAlias;
use super::record::{HostRecord, Leftover};
use crate::provider::Phase;

pub use fleet::Fleet;
pub use render::{HostFacts, TerraformTask};
pub use terraform::{TerraformProvider, serve as serve_terraform};

/// What one provider instance has to do.
#[derive(Debug, Clone)]
pub struct ProviderTask {
    pub name: String,
    pub phase: Phase,
    pub driven: Driven,
}

/// What makes its hosts.
#[derive(Debug, Clone)]
pub enum Driven {
    Local(Vec<LocalAlias>),
    Terraform(Arc<TerraformTask>),
}

/// What a provider instance has to tell.
#[derive(Debug, Clone)]
pub enum News {
    /// Its hosts are made.
    Up(Vec<HostRecord>),
    /// It could not be set up as planned. What came up meanwhile works all the same.
    Failed { error: String, hosts: Vec<HostRecord> },
    /// It works no more.
    Ended(End),
}

/// How a provider instance ended.
#[derive(Debug, Clone, Default)]
pub struct End {
    pub error: Option<String>,
    /// What it made and could not be removed.
    pub leftovers: Vec<Leftover>,
    /// Its hosts were left running because that was asked for.
    pub kept: bool,
}

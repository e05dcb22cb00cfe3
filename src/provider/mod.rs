//! Provider backends: folders with a manifest (`provider.json`), embedded in the binary or on disk. Nothing
//! here knows a cloud by name; what a backend needs stands in its folder.
//!
//! ```text
//!  infrastructure/<name>/provider.json ──▶ Manifest ─┐
//!                       instance-types.json ▶ Catalog ├─▶ Backend ──▶ Registry ──▶ config, plan
//!  --infrastructure DIR, BENCH_PROVIDER_PATH ─────────┘
//! ```

/// The name under which a config gives the orchestrator's stack its settings, and the backend that makes it
/// where the config names no other.
pub const META: &str = "meta";

mod catalog;
mod credentials;
mod folder;
mod machine;
mod manifest;
mod registry;
mod settings;

pub use catalog::{Catalog, InstanceFacts};
pub use folder::Folder;
pub use machine::MachineFacts;
pub use manifest::{
    Arch, ArchitectureRule, CredentialSource, Driver, Encoding, ErrorClass, ErrorClassName, HostCommand,
    HostCommands, HostState, InstanceTypes, Manifest, Metadata, OrchestratorKind, PackageManager, Phase,
    Role, Setting, SettingType, SpotWatch, TagRules, Tool, UserData, schema,
};
pub use registry::{Backend, Registry, RegistryError};

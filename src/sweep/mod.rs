//! Sweep manifests: how everything that carries our tags is found, deleted and found gone in one cloud, as
//! data of the backend. Nothing here starts a process: commands are rendered, answers are read.
//!
//! ```text
//!  nuke.json in the backend's folder, else nuke/<backend>.json ──▶ SweepManifest ──render──▶ argument lists
//!                                                  JSON answers ──query──▶ Item (id, tags, state, …)
//! ```

mod item;
mod load;
mod manifest;
mod query;
mod template;

pub use item::{Item, Tags, items};
pub use load::{OWN_FILE, SweepError, load};
pub use manifest::{
    AnswerClass, AnswerPattern, Ask, Children, Cost, Delete, Listing, Regions, Step, SweepManifest,
    TagsQuery, schema,
};
pub use query::{QueryError, query};
pub use template::{MissingValue, Values};

//! JSON files that people write: read within limits, checked against the schema of a Rust type, every
//! mistake with its place. Configs and provider manifests share it.
//!
//! ```text
//!  file ──read──▶ text ──tree──▶ Document (spans) ──structure──▶ mistakes
//!                                    │    ▲                          ▲
//!                                    │    └── Schema (from types)    │
//!                                    └──────── the caller's own checks
//! ```

mod expected;
mod lines;
mod mistake;
mod nearest;
mod path;
mod read;
mod schema;
mod structure;
mod tree;

pub use mistake::{InvalidDocument, MAX_MISTAKES, Mistake, Mistakes, Place};
pub use nearest::nearest;
pub use path::{Path, Step};
pub use read::{MAX_BYTES, MAX_DEPTH};
pub use schema::Schema;
pub use tree::{Document, Kind, Member, Node, is_comment};

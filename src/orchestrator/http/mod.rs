//! The HTTP API and the dashboard: one file a family of routes.
//!
//! ```text
//!  guard (id, key, rate, metrics, errors) ─▶ routes ─▶ store, storage
//! ```

mod answer;
mod app;
mod claim;
mod dashboard;
mod documents;
mod events;
mod extract;
mod guard;
mod hosts;
mod operations;
mod programs;
mod progress;
mod results;
mod router;
mod runs;
mod tasks;
mod upload;

pub use app::{App, RequestIds};
pub use documents::openapi;
pub use router::router;

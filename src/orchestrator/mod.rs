//! The orchestrator: hands tasks out under leases, keeps what came back, shows it.
//!
//! ```text
//!  master, runners ──HTTP(S)──▶ http ──▶ store (SQLite | PostgreSQL)
//!  browser         ───────────▶  │  └──▶ storage (folder | S3)
//!                                └─SSE── events, after they were committed
//! ```

pub mod archive;
pub mod auth;
mod config;
mod http;
mod listener;
mod metrics;
mod patience;
mod peers;
mod programs;
mod server;
pub mod storage;
pub mod store;
pub mod tls;

pub use config::{Limits, ServerConfig, TlsMode};
pub use http::openapi;
pub use server::{Running, StartError, start, start_with};

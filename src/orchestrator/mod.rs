//! The orchestrator: hands tasks out under leases, keeps what came back, shows it.
//!
//! ```text
//!  master, runners ──HTTP(S)──▶ http ──▶ store (SQLite | PostgreSQL)
//!  browser         ───────────▶  │  └──▶ storage (folder | S3)
//!                                └─SSE── events, after they were committed
//! ```

pub mod store;

//! The HTTP client of the orchestrator, shared by the master and the task runners.
//!
//! ```text
//!  Endpoint {url, key, pin} ──▶ Client ──▶ calls (JSON) · events (SSE) · results (files)
//! ```
//!
//! With a [`Pin`] the server's key is checked inside the TLS handshake: nothing, the bearer key included, is
//! sent to a machine that does not hold the pinned key. Plain HTTP is spoken to this machine only.

mod calls;
mod endpoint;
mod error;
mod events;
mod pin;
mod results;
mod secret;
mod transport;

pub use endpoint::{Endpoint, is_own_loopback, is_own_loopback_name};
pub use error::ClientError;
pub use events::Events;
pub use pin::{InvalidPin, Pin};
pub use secret::Secret;
pub use transport::{Client, install_crypto_provider};

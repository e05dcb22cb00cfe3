//! Who may do what: the admin key, run keys derived from it, dashboard sessions, and limits on how often.
//!
//! ```text
//!  Authorization: Bearer ──▶ Keyring ──▶ Caller ──▶ Access of the route ──▶ handler
//!  Cookie ─────────────────▶ Sessions ──▶ │
//! ```

mod access;
mod buckets;
mod keyring;
mod run_key;
mod session;

pub use access::{Access, Caller};
pub use buckets::Buckets;
pub(super) use keyring::write_private;
pub use keyring::{KeyError, KeyInfo, Keyring, KeyringFile, Shown, make_admin_key};
pub use run_key::{BadKey, RunClaims, run_key, run_key_expiry};
pub use session::{Role, Session, Sessions};

//! Result archives (gzip'd tar). Those of runners come from strangers and are taken for hostile.
//!
//! A task's archive holds regular files only: `metadata.json`, `output.json`, `output.txt` and
//! `files/NAME`. A run's archive, made here, holds `ALIAS-NUMBER/` and `ALIAS-NUMBER/attempt-N/` folders of
//! those; where a stored archive cannot be read, `unreadable.txt` says why in its place. A `NAME` is 1 to 64 characters from `[A-Za-z0-9._-]` and does not start with a dot. Everything
//! else is refused while streaming: links, devices, `..`, absolute paths, names told by extension headers,
//! duplicates, too many entries, too much expansion.

mod check;
mod log_tail;
mod read;
mod results;
mod unpack;

pub use check::{BadArchive, Digested, verify};
pub use log_tail::log_tail;
pub use read::{Layout, Limits};
pub use results::{Part, UNREADABLE, parts, write_results};
pub use unpack::unpack_into;

//! What every command is given beside its own arguments.

use std::path::PathBuf;

use super::Output;

#[derive(Debug, Clone)]
pub struct Context {
    pub output: Output,
    /// Runs, state and keys; made when first needed, with mode 0700.
    pub home: PathBuf,
    pub verbose: u8,
}

//! Rows of PostgreSQL, which travel as JSON, to rows of the rules and back.

mod attempt;
mod host;
mod run;
mod task;

pub use attempt::{Attempt, NamedAttempt};
pub use host::{Host, Runner};
pub use run::{Group, GroupChange, Run};
pub use task::{ListedTask, Task};

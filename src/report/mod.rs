//! From recorded samples to figures: statistics, warnings, the table, `results.json`, `results.csv` and
//! `report.html`. Pure but for [`files`], which writes and reads them; the master and `bench results` call it.
//!
//! ```text
//!  RunFacts ────┐                 ┌─▶ table (people)
//!  TaskResult ──┴─▶ Report::new ──┼─▶ results.json ──▶ files::load (the same Report again)
//!   raw samples      summary      ├─▶ results.csv
//!                    comparisons  └─▶ report.html
//!                    warnings
//! ```
//!
//! One task counts once: its samples share a machine, a boot and a moment, so they are not independent of each
//! other. Each task is reduced to the median of its samples (which one interrupted iteration does not move),
//! and every statistic between tasks is over those. The raw samples go into every file as they came.

pub mod comparison;
pub mod csv;
pub mod facts;
pub mod files;
pub mod html;
pub mod limits;
mod plot;
#[cfg(test)]
mod sample;
pub mod stats;
pub mod summary;
pub mod table;
pub mod units;
pub mod warnings;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, Verdict};
pub use facts::{PlanFact, RunFacts, TaskResult};
pub use files::{ReportError, load, write_all};
pub use stats::Interval;
pub use summary::{Summary, TaskValue};
pub use table::table;
pub use warnings::{Warning, WarningKind};

/// Version of the layout of `results.json`. Raised when a reader of the old one would misunderstand the new.
pub const SCHEMA_VERSION: u32 = 1;

/// All of a run's results; `results.json` is exactly this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    pub run: RunFacts,
    /// By benchmark, then alias; both in the order of the plan and of the outputs.
    pub summary: Vec<Summary>,
    pub comparisons: Vec<Comparison>,
    pub warnings: Vec<Warning>,
    /// Every task with its raw samples, executions and metadata.
    pub tasks: Vec<TaskResult>,
}

impl Report {
    pub fn new(run: RunFacts, tasks: Vec<TaskResult>) -> Report {
        let mut summary = summary::summarise(&run, &tasks);
        let warnings = warnings::find(&tasks, &summary);
        warnings::attach(&warnings, &mut summary);
        let comparisons = comparison::compare(&summary);
        Report { schema: SCHEMA_VERSION, run, summary, comparisons, warnings, tasks }
    }
}

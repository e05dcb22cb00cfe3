//! PURE. From a checked config, what the backends know and what the machine is, to a plan: how many hosts of
//! what size, how many tasks, at what price. No clock, no files, no network.
//!
//! ```text
//!  RunConfig + Registry + MachineFacts ──facts──▶ vCPU, architecture, price ──maths──▶ Plan
//! ```

mod cost;
mod document;
mod error;
mod facts;
mod maths;
mod planner;
mod types;

pub use cost::Cost;
pub use document::plan_document;
pub use error::{PlanError, Problem};
pub use maths::{effective_vcpu, instances_needed};
pub use planner::plan;
pub use types::{Plan, PlannedProvider, PlannedType, Totals};

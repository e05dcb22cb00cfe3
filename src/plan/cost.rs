//! What a plan costs at worst.

use serde::Serialize;

use super::{Plan, PlanError, PlannedProvider, Problem, Totals};
use crate::config::Limits;

/// Most names that one message lists.
const SHOWN: usize = 20;

/// Most tasks and groups of tasks that the orchestrator takes in one run.
const MOST_TASKS: u64 = 1_000_000;
const MOST_TYPES: u64 = 10_000;

/// Cost of a plan's hosts, as far as prices are known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    /// All hosts with a known price, USD an hour.
    pub hourly_usd: f64,
    /// The same until every host's time to live ends, USD: what the run costs at worst.
    pub worst_case_usd: f64,
    /// Aliases whose price nobody knows, not part of the sums.
    pub unpriced: Vec<String>,
}

pub(super) fn cost(providers: &[PlannedProvider], ttl_minutes: u32) -> Cost {
    let rows = || providers.iter().flat_map(|p| &p.instance_types);
    let hourly_usd: f64 = rows().filter_map(|row| row.hourly_cost_usd).sum();
    let unpriced =
        rows().filter(|row| row.hourly_cost_usd.is_none()).map(|row| row.alias.to_string()).collect();
    Cost { hourly_usd, worst_case_usd: hourly_usd * f64::from(ttl_minutes) / 60.0, unpriced }
}

impl Plan {
    /// What `bench run` refuses before it makes anything: more than the cost limit allows or than the
    /// orchestrator takes. `bench plan` shows such a plan.
    pub fn check_limits(&self, limits: &Limits) -> Result<(), PlanError> {
        let mut problems = Vec::new();
        let Totals { tasks, instance_types, .. } = self.totals;
        if tasks > MOST_TASKS {
            problems.push(Problem::TooManyTasks { tasks, most: MOST_TASKS });
        }
        if instance_types > MOST_TYPES {
            problems.push(Problem::TooManyTypes { instance_types, most: MOST_TYPES });
        }
        if let Some(limit_usd) = limits.max_cost_usd {
            problems.extend(self.over_cost(limit_usd));
        }
        if problems.is_empty() { Ok(()) } else { Err(PlanError { problems }) }
    }

    fn over_cost(&self, limit_usd: f64) -> Option<Problem> {
        let Cost { hourly_usd, worst_case_usd, ref unpriced } = self.cost;
        if worst_case_usd > limit_usd {
            let ttl_minutes = self.ttl_minutes;
            return Some(Problem::OverLimit { cost_usd: worst_case_usd, hourly_usd, ttl_minutes, limit_usd });
        }
        let aliases: Vec<String> = unpriced.iter().take(SHOWN).cloned().collect();
        (!aliases.is_empty()).then_some(Problem::UnknownPrice { aliases })
    }
}

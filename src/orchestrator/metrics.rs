//! Figures of the orchestrator in the Prometheus text format.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::MatchedPath;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::TaskCounts;

/// Claim latencies from 0.25 ms to 65 s: the longest is a long poll of a minute.
const LATENCY_BUCKETS: (f64, f64, u16) = (0.000_25, 2.0, 19);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: Route,
    method: &'static str,
    code: u16,
}

/// Template of a path, not the path: ids would make a series each. `None` is no route.
#[derive(Debug, Clone)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    refused: Family<Reason, Counter>,
    claims: Histogram,
    connections: Gauge,
    tasks: Family<State, Gauge>,
    runners: Family<State, Gauge>,
    storage_bytes: Counter,
    storage_errors: Counter,
    leases_lost: Counter,
    store_batches: Counter,
    store_commits: Counter,
}

/// Counts as an open connection until it is dropped.
pub struct OpenConnection {
    metrics: Arc<Metrics>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let (start, factor, length) = LATENCY_BUCKETS;
        let mut metrics = Metrics {
            registry: Registry::with_prefix("bench"),
            requests: Family::default(),
            refused: Family::default(),
            claims: Histogram::new(exponential_buckets(start, factor, length)),
            connections: Gauge::default(),
            tasks: Family::default(),
            runners: Family::default(),
            storage_bytes: Counter::default(),
            storage_errors: Counter::default(),
            leases_lost: Counter::default(),
            store_batches: Counter::default(),
            store_commits: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register("http_refused", "Requests and connections refused", self.refused.clone());
        let claims = self.claims.clone();
        registry.register_with_unit("claim_latency", "Claims that got a task", Unit::Seconds, claims);
        registry.register("connections", "Connections open now", self.connections.clone());
        registry.register("tasks", "Tasks of all runs", self.tasks.clone());
        registry.register("runners", "Task runners of running runs", self.runners.clone());
        let bytes = self.storage_bytes.clone();
        registry.register_with_unit("storage_stored", "Result archives accepted", Unit::Bytes, bytes);
        registry.register("storage_errors", "Failures of the result storage", self.storage_errors.clone());
        registry.register("leases_lost", "Leases that ran out", self.leases_lost.clone());
        registry.register("store_batches", "Batches of the store's writer", self.store_batches.clone());
        registry.register("store_commits", "Commits of the store, each synced", self.store_commits.clone());
    }

    pub fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        self.connections.inc();
        OpenConnection { metrics: self.clone() }
    }

    pub fn answered(&self, route: Option<MatchedPath>, method: &'static str, code: u16) {
        self.requests.get_or_create(&Request { route: Route(route), method, code }).inc();
    }

    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub fn claimed(&self, after: Duration) {
        self.claims.observe(after.as_secs_f64());
    }

    pub fn stored(&self, bytes: u64) {
        self.storage_bytes.inc_by(bytes);
    }

    pub fn storage_failed(&self) {
        self.storage_errors.inc();
    }

    pub fn leases_lost(&self, leases: u64) {
        self.leases_lost.inc_by(leases);
    }

    pub fn set_tasks(&self, counts: &TaskCounts) {
        let states = [
            ("pending", counts.pending),
            ("claimed", counts.claimed),
            ("running", counts.running),
            ("completed", counts.completed),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
        ];
        for (state, count) in states {
            self.tasks.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many runners are in each state.
    pub fn set_runners(&self, counts: [(&'static str, i64); 4]) {
        for (state, count) in counts {
            self.runners.get_or_create(&State { state }).set(count);
        }
    }

    /// Sets what the store has counted by itself.
    pub fn set_store(&self, batches: u64, commits: u64) {
        self.store_batches.inner().store(batches, std::sync::atomic::Ordering::Relaxed);
        self.store_commits.inner().store(commits, std::sync::atomic::Ordering::Relaxed);
    }

    /// All figures as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string succeeds");
        text
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

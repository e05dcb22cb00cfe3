//! For those who operate the orchestrator: is it up, is it ready, what does it count.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;
use super::app::App;
use crate::api::{ErrorCode, RunnerState};

/// Runs whose runners are counted for one look at the metrics, at most.
const RUNS_COUNTED: usize = 20;

/// Whether the process answers.
#[utoipa::path(get, path = "/up", tag = "operations", responses(
    (status = 200, description = "It does", body = String, content_type = "text/plain"),
))]
pub async fn up() -> &'static str {
    "up\n"
}

/// A storage that does not answer within this time is taken for unreachable.
const STORAGE_PATIENCE: Duration = Duration::from_secs(5);

/// Whether requests can be carried out: store and result storage answer, and nobody is stopping it.
#[utoipa::path(get, path = "/ready", tag = "operations", responses(
    (status = 200, description = "They can", body = String, content_type = "text/plain"),
))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Refusal> {
    if app.stop.is_cancelled() {
        return Err(Refusal::new(ErrorCode::Unavailable, "the orchestrator is stopping"));
    }
    if let Err(error) = app.store.ping().await {
        return Err(not_ready("the store does not answer", &error));
    }
    match tokio::time::timeout(STORAGE_PATIENCE, app.storage.ping()).await {
        // Masters learn the version from it.
        Ok(Ok(())) => Ok(([(header::SERVER, concat!("bench/", env!("CARGO_PKG_VERSION")))], "ready\n")),
        Ok(Err(error)) => Err(not_ready("results cannot be kept", &error)),
        Err(late) => Err(not_ready("the result storage does not answer", &late)),
    }
}

fn not_ready(message: &'static str, why: &dyn std::error::Error) -> Refusal {
    tracing::warn!(error = crate::cause_chain(why), "not ready: {message}");
    Refusal::new(ErrorCode::Unavailable, format!("{message}; the orchestrator's log says why"))
}

/// Figures in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text"),
))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    app.metrics.set_tasks(&app.store.totals().await?);
    app.metrics.set_runners(count_runners(&app).await?);
    let stats = app.store.stats();
    app.metrics.set_store(stats.batches.load(Ordering::Relaxed), stats.commits.load(Ordering::Relaxed));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response())
}

async fn count_runners(app: &App) -> Result<[(&'static str, i64); 4], Refusal> {
    let mut counts = [("idle", 0), ("busy", 0), ("gone", 0), ("silent", 0)];
    let runs = app.store.runs().await?;
    for run in runs.iter().filter(|run| !run.status.is_final()).take(RUNS_COUNTED) {
        for runner in app.store.hosts(&run.run_id).await?.iter().flat_map(|host| &host.runners) {
            let index = match runner.state {
                RunnerState::Idle => 0,
                RunnerState::Busy => 1,
                RunnerState::Gone => 2,
                RunnerState::Silent => 3,
            };
            counts[index].1 += 1;
        }
    }
    Ok(counts)
}

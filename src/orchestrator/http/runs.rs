//! Runs: create, list, show, stop.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, LongBody, RunAndName, RunPath};
use crate::api::{CreateRun, RunView, Settled};

/// Creates a run, or answers with the one that the same specification created before.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = CreateRun, responses(
    (status = 201, description = "The run was created", body = RunView),
    (status = 200, description = "The same specification created it before", body = RunView),
))]
pub async fn create_run(
    State(app): State<Arc<App>>,
    LongBody(run): LongBody<CreateRun>,
) -> Result<(StatusCode, Json<RunView>), Refusal> {
    let (view, new) = app.store.create_run(run).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(view)))
}

/// All runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", responses(
    (status = 200, description = "The runs", body = Vec<RunView>),
))]
pub async fn list_runs(State(app): State<Arc<App>>) -> Result<Json<Vec<RunView>>, Refusal> {
    Ok(Json(app.store.runs().await?))
}

/// One run with the counts of its tasks.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path)), responses(
    (status = 200, description = "The run", body = RunView),
))]
pub async fn show_run(State(app): State<Arc<App>>, RunPath(run): RunPath) -> Result<Json<RunView>, Refusal> {
    Ok(Json(app.store.run(&run).await?))
}

/// No host of this provider instance is being made any more: its runners may be told `done`, and the pending
/// tasks of aliases without hosts fail. Can be said again.
#[utoipa::path(post, path = "/api/v1/runs/{id}/providers/{provider}/settled", tag = "runs",
    params(("id" = String, Path), ("provider" = String, Path)), request_body = Settled, responses(
    (status = 200, description = "The run as it is now", body = RunView),
))]
pub async fn settle_provider(
    State(app): State<Arc<App>>,
    RunAndName(run, provider): RunAndName,
    JsonBody(settled): JsonBody<Settled>,
) -> Result<Json<RunView>, Refusal> {
    Ok(Json(app.store.settle(&run, &provider, settled).await?))
}

/// Cancels every task of the run that has not ended; runners learn it at their next call.
#[utoipa::path(post, path = "/api/v1/runs/{id}/stop", tag = "runs", params(("id" = String, Path)), responses(
    (status = 200, description = "The run as it is now", body = RunView),
))]
pub async fn stop_run(State(app): State<Arc<App>>, RunPath(run): RunPath) -> Result<Json<RunView>, Refusal> {
    Ok(Json(app.store.stop_run(&run).await?))
}

//! Hosts and the runners on them: what they report, and how they stand.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, RunAndName, RunPath};
use crate::api::{Deadline, HostEvent, HostView};

/// Boot progress and failures, from user-data on. The host is the cloud's instance id, else its name.
#[utoipa::path(post, path = "/api/v1/runs/{id}/hosts/{host}/events", tag = "runner",
    params(("id" = String, Path), ("host" = String, Path)), request_body = HostEvent,
    responses((status = 204, description = "Recorded")))]
pub async fn report_host(
    State(app): State<Arc<App>>,
    RunAndName(run, host): RunAndName,
    JsonBody(event): JsonBody<HostEvent>,
) -> Result<StatusCode, Refusal> {
    app.store.host_event(&run, &host, event).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A runner's goodbye: it will not ask for tasks any more.
#[utoipa::path(post, path = "/api/v1/runs/{id}/runners/{runner}/gone", tag = "runner",
    params(("id" = String, Path), ("runner" = String, Path)),
    responses((status = 204, description = "Recorded")))]
pub async fn runner_gone(
    State(app): State<Arc<App>>,
    RunAndName(run, runner): RunAndName,
) -> Result<StatusCode, Refusal> {
    app.store.runner_gone(&run, &runner).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The deadline of the run's hosts, where it was moved.
#[utoipa::path(get, path = "/api/v1/runs/{id}/hosts/{host}/deadline", tag = "runner",
    params(("id" = String, Path), ("host" = String, Path)),
    responses((status = 200, description = "The newest that was said", body = Deadline)))]
pub async fn show_deadline(
    State(app): State<Arc<App>>,
    RunAndName(run, _host): RunAndName,
) -> Result<Json<Deadline>, Refusal> {
    Ok(Json(app.store.deadline(&run, Deadline::default()).await?))
}

/// Moves the deadline of the run's hosts; a host learns it when its own has come. Without `expires_at` nothing
/// is moved.
#[utoipa::path(post, path = "/api/v1/runs/{id}/deadline", tag = "runs", params(("id" = String, Path)),
    request_body = Deadline, responses((status = 200, description = "The deadline as it is now", body = Deadline)))]
pub async fn move_deadline(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
    JsonBody(deadline): JsonBody<Deadline>,
) -> Result<Json<Deadline>, Refusal> {
    Ok(Json(app.store.deadline(&run, deadline).await?))
}

/// The run's hosts with their runners.
#[utoipa::path(get, path = "/api/v1/runs/{id}/hosts", tag = "runs", params(("id" = String, Path)), responses(
    (status = 200, description = "The hosts", body = Vec<HostView>),
))]
pub async fn list_hosts(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
) -> Result<Json<Vec<HostView>>, Refusal> {
    app.store.run(&run).await?;
    Ok(Json(app.store.hosts(&run).await?))
}

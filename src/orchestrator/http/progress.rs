//! What the holder of a lease reports: still there, completed, failed, given back.

use std::sync::Arc;

use axum::extract::State;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, TaskPath};
use super::upload::ensure_verified;
use crate::api::{
    CompleteRequest, FailRequest, HeartbeatRequest, HeartbeatResponse, ReleaseRequest, TaskView,
};

/// Renews the lease. A stale fence gets 409: the runner must end its workload.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/heartbeat", tag = "runner",
    params(("id" = i64, Path)), request_body = HeartbeatRequest, responses(
    (status = 200, description = "The lease was renewed", body = HeartbeatResponse),
))]
pub async fn heartbeat(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    JsonBody(beat): JsonBody<HeartbeatRequest>,
) -> Result<Json<HeartbeatResponse>, Refusal> {
    Ok(Json(app.store.heartbeat(caller.scope(), task, beat).await?))
}

/// Ends the task with its uploaded result. The same fence and digest again answers as the first time.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/complete", tag = "runner",
    params(("id" = i64, Path)), request_body = CompleteRequest, responses(
    (status = 200, description = "The task is completed", body = TaskView),
))]
pub async fn complete_task(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    JsonBody(request): JsonBody<CompleteRequest>,
) -> Result<Json<TaskView>, Refusal> {
    if let Some(sha256) = &request.sha256 {
        ensure_verified(&app, caller.scope(), task, request.fence, sha256).await?;
    }
    Ok(Json(app.store.complete(caller.scope(), task, request).await?))
}

/// Ends the attempt without a result that counts; what was uploaded is kept with it.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/fail", tag = "runner",
    params(("id" = i64, Path)), request_body = FailRequest, responses(
    (status = 200, description = "The task as it is now: failed, or waiting for another try", body = TaskView),
))]
pub async fn fail_task(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    JsonBody(request): JsonBody<FailRequest>,
) -> Result<Json<TaskView>, Refusal> {
    if let Some(sha256) = &request.sha256 {
        ensure_verified(&app, caller.scope(), task, request.fence, sha256).await?;
    }
    Ok(Json(app.store.fail(caller.scope(), task, request).await?))
}

/// Gives the task back unspent: it uses up no attempt.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/release", tag = "runner",
    params(("id" = i64, Path)), request_body = ReleaseRequest, responses(
    (status = 200, description = "The task as it is now", body = TaskView),
))]
pub async fn release_task(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    JsonBody(request): JsonBody<ReleaseRequest>,
) -> Result<Json<TaskView>, Refusal> {
    Ok(Json(app.store.release(caller.scope(), task, request).await?))
}

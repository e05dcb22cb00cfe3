//! Tasks as the master and people look at them.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{Params, RunPath, TaskPath};
use crate::api::{Alias, AttemptView, TaskId, TaskState, TaskView};
use crate::orchestrator::store::TaskPage;

/// Tasks on one page, at most.
const MAX_PAGE: u32 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// Tasks with a greater id only.
    #[serde(default)]
    after: Option<TaskId>,
    /// 1 to 1,000, which is also the default.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    state: Option<TaskState>,
    #[serde(default)]
    #[param(value_type = Option<String>)]
    alias: Option<Alias>,
}

/// A page of the run's tasks by id; ask again with `after` while pages are full.
#[utoipa::path(get, path = "/api/v1/runs/{id}/tasks", tag = "tasks",
    params(("id" = String, Path), TaskQuery), responses(
    (status = 200, description = "The tasks", body = Vec<TaskView>),
))]
pub async fn list_tasks(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
    Params(query): Params<TaskQuery>,
) -> Result<Json<Vec<TaskView>>, Refusal> {
    let limit = query.limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::bad_request(format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let page = TaskPage {
        after: query.after.unwrap_or(0),
        limit,
        state: query.state,
        alias: query.alias.map(String::from),
    };
    // An unknown run is an error, not an empty list.
    app.store.run(&run).await?;
    Ok(Json(app.store.tasks(&run, page).await?))
}

#[utoipa::path(get, path = "/api/v1/tasks/{id}", tag = "tasks", params(("id" = i64, Path)), responses(
    (status = 200, description = "The task", body = TaskView),
))]
pub async fn show_task(
    State(app): State<Arc<App>>,
    TaskPath(task, _): TaskPath,
) -> Result<Json<TaskView>, Refusal> {
    Ok(Json(app.store.task(task).await?))
}

/// Every time the task was handed out, oldest first.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/attempts", tag = "tasks", params(("id" = i64, Path)), responses(
    (status = 200, description = "The attempts", body = Vec<AttemptView>),
))]
pub async fn list_attempts(
    State(app): State<Arc<App>>,
    TaskPath(task, _): TaskPath,
) -> Result<Json<Vec<AttemptView>>, Refusal> {
    app.store.task(task).await?;
    Ok(Json(app.store.attempts(task).await?))
}

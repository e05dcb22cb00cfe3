//! All routes, with their description generated from the handlers.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Refusal;
use super::app::App;
use super::documents::{Description, complete, serve_document};
use super::{
    claim, dashboard, events, guard, hosts, operations, programs, progress, results, runs, tasks, upload,
};
use crate::api::ErrorCode;

/// The routes of the API, described.
pub(super) fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(runs::list_runs, runs::create_run))
        .routes(routes!(runs::show_run))
        .routes(routes!(runs::stop_run))
        .routes(routes!(runs::settle_provider))
        .routes(routes!(tasks::list_tasks))
        .routes(routes!(tasks::show_task))
        .routes(routes!(tasks::list_attempts))
        .routes(routes!(hosts::list_hosts))
        .routes(routes!(hosts::move_deadline))
        .routes(routes!(events::follow_events))
        .routes(routes!(results::download_results))
        .routes(routes!(results::show_log))
        .routes(routes!(claim::claim_task))
        .routes(routes!(progress::heartbeat))
        .routes(routes!(progress::complete_task))
        .routes(routes!(progress::fail_task))
        .routes(routes!(progress::release_task))
        .routes(routes!(upload::announce_upload))
        .routes(routes!(upload::receive_result))
        .routes(routes!(hosts::report_host))
        .routes(routes!(hosts::show_deadline))
        .routes(routes!(hosts::runner_gone))
        .routes(routes!(programs::fetch_program, programs::keep_program))
        .routes(routes!(operations::up))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
}

/// Everything the orchestrator answers.
pub fn router(app: Arc<App>) -> Router {
    let (routes, document) = described().split_for_parts();
    let document =
        serde_json::to_string_pretty(&complete(document)).expect("the description has a JSON form");
    let document: Arc<str> = document.into();
    routes
        .merge(dashboard::routes())
        .route("/api/v1/openapi.json", get(move || serve_document(document.clone())))
        .fallback(|| async { Refusal::new(ErrorCode::NotFound, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(ErrorCode::MethodNotAllowed, "this path does not take this method")
        })
        .layer(guard::Guard(app.clone()))
        .with_state(app)
}

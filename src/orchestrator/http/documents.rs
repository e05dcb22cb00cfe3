//! The OpenAPI 3.1 document, generated from the handlers and completed with what all of them may answer.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, OpenApi};

use super::router::described;
use crate::api::{
    ClaimResponse, CreateRun, ErrorBody, Event, EventKind, HostEvent, HostView, RunView, TaskView,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "bench orchestrator", description = "Hands benchmark tasks out under leases and keeps their results."),
    components(schemas(
        ErrorBody, Event, EventKind, CreateRun, RunView, TaskView, ClaimResponse, HostEvent, HostView
    )),
    modifiers(&Keys),
)]
pub struct Description;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The admin key, or for runners' calls a run key"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme.build()));
    }
}

/// The whole document.
pub fn openapi() -> Document {
    complete(described().into_openapi())
}

/// Adds the refusals that every call, or every call with a body, may answer.
pub(super) fn complete(mut document: Document) -> Document {
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("key", [])]);
    for (path, item) in &mut document.paths.paths {
        let about_task = path.starts_with("/api/v1/tasks/");
        for operation in operations(item) {
            complete_operation(operation, about_task);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put].into_iter().filter_map(Option::as_mut)
}

fn complete_operation(operation: &mut Operation, about_task: bool) {
    let mut refusals = vec![
        ("400", "The request cannot be understood"),
        ("401", "No key, or one that does not verify"),
        ("403", "A key that may not do this"),
        ("404", "No such run, task or page"),
        ("408", "The request did not arrive in time"),
        ("409", "A stale fence, or in conflict with what is there"),
        ("429", "Too many requests; see Retry-After"),
        ("500", "A fault of the orchestrator"),
        ("503", "The store cannot be reached or the orchestrator is stopping"),
        ("507", "There is no room left where runs and results are kept"),
    ];
    if operation.request_body.is_some() {
        refusals.push(("413", "The body is too large"));
        refusals.push(("415", "The body is not of the kind that is due"));
    }
    if about_task && operation.request_body.is_some() {
        refusals.push(("411", "An upload without a length"));
        refusals.push(("422", "The result is missing or not acceptable"));
    }
    for (status, description) in refusals {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let response = ResponseBuilder::new().description(description).content("application/json", content);
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response.build()));
    }
}

pub(super) async fn serve_document(text: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}

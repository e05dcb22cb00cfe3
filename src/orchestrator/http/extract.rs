//! What handlers take from a request, refused in the API's own words where it does not fit.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{Extensions, Request, header};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryFutureExt as _};
use serde::de::DeserializeOwned;

use super::answer::Refusal;
use super::app::App;
use crate::api::{ErrorCode, RunId, TaskId};
use crate::orchestrator::Limits;
use crate::orchestrator::auth::Caller;
use crate::orchestrator::listener::Peer;
use crate::orchestrator::patience::Patience;
use crate::orchestrator::programs::ProgramDigest;

/// The run in the path; a run key of another run is refused.
pub struct RunPath(pub RunId);

/// The task in the path, and who speaks about it.
pub struct TaskPath(pub TaskId, pub Caller);

/// Further path parameters after the run.
pub struct RunAndName(pub RunId, pub String);

/// The digest of a program in the path.
pub struct ProgramPath(pub ProgramDigest);

/// Refuses run keys where the route's other methods take them.
pub struct MasterOnly;

/// A JSON body of the ordinary size.
pub struct JsonBody<T>(pub T);

/// A JSON body that may be long: a run with its groups of tasks.
pub struct LongBody<T>(pub T);

/// The query.
pub struct Params<T>(pub T);

/// A file, byte by byte.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only described, never made")]
pub struct RawBytes(Vec<u8>);

fn caller(parts: &Parts) -> Caller {
    parts.extensions.get::<Caller>().cloned().unwrap_or(Caller::Nobody)
}

fn own_run(parts: &Parts, run: String) -> Result<RunId, Refusal> {
    let run = RunId::try_from(run).map_err(|invalid| Refusal::bad_request(invalid.to_string()))?;
    match caller(parts) {
        Caller::Admin | Caller::Viewer => Ok(run),
        Caller::Run(of_key) if of_key == run => Ok(run),
        Caller::Run(_) => Err(foreign_run()),
        Caller::Nobody => Err(Refusal::new(ErrorCode::Unauthorized, "a key is needed")),
    }
}

fn foreign_run() -> Refusal {
    Refusal::new(ErrorCode::Forbidden, "this run key belongs to another run").because("foreign_run")
}

impl FromRequestParts<Arc<App>> for RunPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path(run) = Path::<String>::from_request_parts(parts, app).await.map_err(bad_path)?;
        own_run(parts, run).map(RunPath)
    }
}

impl FromRequestParts<Arc<App>> for RunAndName {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path((run, name)) =
            Path::<(String, String)>::from_request_parts(parts, app).await.map_err(bad_path)?;
        let run = own_run(parts, run)?;
        check_name(&name)?;
        Ok(RunAndName(run, name))
    }
}

impl FromRequestParts<Arc<App>> for TaskPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path(task) = Path::<TaskId>::from_request_parts(parts, app).await.map_err(bad_path)?;
        match caller(parts) {
            Caller::Nobody => Err(Refusal::new(ErrorCode::Unauthorized, "a key is needed")),
            caller => Ok(TaskPath(task, caller)),
        }
    }
}

impl FromRequestParts<Arc<App>> for ProgramPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, app).await.map_err(bad_path)?;
        let digest = ProgramDigest::parse(text);
        digest.map(ProgramPath).ok_or_else(|| {
            Refusal::bad_request("a program is named by its SHA-256: 64 lower-case hexadecimal digits")
        })
    }
}

impl FromRequestParts<Arc<App>> for MasterOnly {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        match caller(parts) {
            Caller::Admin => Ok(MasterOnly),
            _ => {
                Err(Refusal::new(ErrorCode::Forbidden, "this call needs the admin key")
                    .because("run_key_scope"))
            }
        }
    }
}

/// A host's or runner's name: it stands in paths, logs and on terminals.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if !(1..=128).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Refusal::bad_request(
            "a host or runner has a name of 1 to 128 characters without control characters",
        ));
    }
    Ok(())
}

fn bad_path(rejection: axum::extract::rejection::PathRejection) -> Refusal {
    Refusal::bad_request(format!("the path cannot be understood: {}", rejection.body_text()))
}

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Query(query) = Query::<T>::from_request_parts(parts, app)
            .await
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
        Ok(Params(query))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Refusal;
    fn from_request(
        request: Request<Body>,
        app: &Arc<App>,
    ) -> impl Future<Output = Result<Self, Refusal>> + Send {
        json(request, app, app.limits.json_bytes).map_ok(JsonBody)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for LongBody<T> {
    type Rejection = Refusal;
    fn from_request(
        request: Request<Body>,
        app: &Arc<App>,
    ) -> impl Future<Output = Result<Self, Refusal>> + Send {
        json(request, app, app.limits.json_bytes * Limits::CREATE_FACTOR).map_ok(LongBody)
    }
}

/// Keeps nothing of the request but its body while that is read: thousands of them are.
fn json<T: DeserializeOwned>(
    request: Request<Body>,
    app: &App,
    limit: usize,
) -> impl Future<Output = Result<T, Refusal>> + Send {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(is_json);
    let patience = patience(request.extensions()).clone();
    let body = request.into_body();
    async move {
        if !is_json {
            let message = "the body must be JSON, sent as `Content-Type: application/json`";
            return Err(Refusal::new(ErrorCode::UnsupportedMediaType, message));
        }
        let bytes = collect(body, app, &patience, limit).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::bad_request(format!("the body is not what this call takes: {error}")))
    }
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn patience(extensions: &Extensions) -> &Patience {
    &extensions.get::<Peer>().expect("the listener adds the peer to every request").patience
}

/// Reads a body within its limits of size and time.
pub async fn collect(body: Body, app: &App, patience: &Patience, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(ErrorCode::TooLarge, format!("the body is longer than {limit} bytes"));
    let announced = axum::body::HttpBody::size_hint(&body).lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    let reading = async {
        let mut stream = body.into_data_stream();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk =
                chunk.map_err(|error| Refusal::bad_request(format!("the body broke off: {error}")))?;
            if first.len() + rest.len() + chunk.len() > limit {
                return Err(too_large());
            }
            // Nearly every body comes in one piece, which needs no copy.
            if first.is_empty() && rest.is_empty() {
                first = chunk;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&chunk);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    match patience.within(app.limits.body_timeout, reading).await {
        Some(read) => read,
        None => Err(Refusal::new(ErrorCode::Timeout, "the body did not arrive in time")),
    }
}

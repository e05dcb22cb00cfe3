//! Answers in JSON, and refusals: a handler says the code and a sentence; the guard adds the request's id and sends
//! them as JSON, too.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::{ErrorBody, ErrorCode};
use crate::orchestrator::storage::StorageError;
use crate::orchestrator::store::{StoreError, is_full};

/// An answer in JSON. Its text is written in one piece of memory, where axum's own begins with 128 bytes and copies
/// as it grows.
pub struct Json<T>(pub T);

/// A task with its lease, or as a list shows it, has about 400 bytes.
const USUAL_BYTES: usize = 512;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        if let Err(error) = serde_json::to_writer(&mut text, &self.0) {
            return Refusal::internal(error).into_response();
        }
        let mut answer = Response::new(Body::from(text));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

/// A request that is not carried out.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Finer than the code, for metrics.
    pub reason: Option<&'static str>,
    /// Why, for the log alone.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), retry_after: None, reason: None, cause: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::BadRequest, message)
    }

    /// A fault of the orchestrator: the cause goes to the log, the caller learns where to look.
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Refusal {
        let message = "the orchestrator failed at this request; its log says why under the request's id";
        Refusal { cause: Some(Arc::new(cause)), ..Refusal::new(ErrorCode::Internal, message) }
    }

    pub fn because(mut self, reason: &'static str) -> Refusal {
        self.reason = Some(reason);
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Refusal {
        self.retry_after = Some(wait);
        self
    }

    /// The answer as it is sent.
    pub fn answer(&self, request_id: &str) -> Response {
        let body = ErrorBody {
            code: self.code,
            message: self.message.clone(),
            request_id: Some(request_id.to_owned()),
        };
        let mut answer = (status(self.code), Json(body)).into_response();
        let headers = answer.headers_mut();
        if self.code == ErrorCode::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.code, ErrorCode::TooLarge | ErrorCode::Timeout | ErrorCode::LengthRequired) {
            // What is left of the body is not read, so nothing can follow it.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let wait =
            self.retry_after.or((self.code == ErrorCode::Unavailable).then_some(Duration::from_secs(1)));
        if let Some(wait) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64));
        }
        answer
    }
}

/// The refusal travels as an extension of the answer, for the guard to send.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = status(self.code).into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            StoreError::Refused { code, message } => Refusal::new(code, message),
            StoreError::Closed => Refusal::new(ErrorCode::Unavailable, "the orchestrator is stopping"),
            full @ StoreError::Failed(_) if is_full(&full) => {
                let message =
                    "there is no room left where the orchestrator keeps its database; nothing was changed";
                Refusal { cause: Some(Arc::new(full)), ..Refusal::new(ErrorCode::StorageFull, message) }
            }
            failed @ StoreError::Failed(_) => Refusal::internal(failed),
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Refusal {
        match error {
            StorageError::Missing(_) => Refusal::new(
                ErrorCode::ResultMissing,
                "the announced result was not uploaded; ask for an upload and send it first",
            ),
            StorageError::Folder(error) if is_full(&error) => {
                let message = format!("there is no room left where the orchestrator keeps results: {error}");
                Refusal { cause: Some(Arc::new(error)), ..Refusal::new(ErrorCode::StorageFull, message) }
            }
            failed => Refusal::internal(failed),
        }
    }
}

pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Timeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::StaleFence | ErrorCode::DigestConflict | ErrorCode::RunConflict | ErrorCode::RunEnded => {
            StatusCode::CONFLICT
        }
        ErrorCode::LengthRequired => StatusCode::LENGTH_REQUIRED,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::ResultMissing | ErrorCode::BadResult => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// The code's name on the wire, for metrics.
pub fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadRequest => "bad_request",
        ErrorCode::Unauthorized => "unauthorized",
        ErrorCode::Forbidden => "forbidden",
        ErrorCode::NotFound => "not_found",
        ErrorCode::MethodNotAllowed => "method_not_allowed",
        ErrorCode::Timeout => "timeout",
        ErrorCode::StaleFence => "stale_fence",
        ErrorCode::DigestConflict => "digest_conflict",
        ErrorCode::RunConflict => "run_conflict",
        ErrorCode::RunEnded => "run_ended",
        ErrorCode::LengthRequired => "length_required",
        ErrorCode::TooLarge => "too_large",
        ErrorCode::UnsupportedMediaType => "unsupported_media_type",
        ErrorCode::ResultMissing => "result_missing",
        ErrorCode::BadResult => "bad_result",
        ErrorCode::RateLimited => "rate_limited",
        ErrorCode::Internal => "internal",
        ErrorCode::Unavailable => "unavailable",
        ErrorCode::StorageFull => "storage_full",
    }
}

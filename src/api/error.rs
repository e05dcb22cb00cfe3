//! What the orchestrator answers when it refuses a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of every answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub code: ErrorCode,
    /// A sentence for people: what failed, why, what to do next.
    pub message: String,
    /// Found again in the orchestrator's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Machine-readable reason; also the `reason` label of the refused-requests metric, which tells some of them closer: keys
/// as `no_key`, `wrong_key` and `expired_key`, what a key may not do as `run_key_scope`, `foreign_run` and `viewer`, and
/// `rate_limited_peer`. Connections that end without an answer count there, too: `header_timeout` and `idle_timeout` (before
/// and after a first request), `bad_http`, `peer_connections`, `tls_handshake` and `tls_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the body or a parameter cannot be understood.
    BadRequest,
    /// 401: no key, or one that does not verify.
    Unauthorized,
    /// 403: a valid key that may not do this (another run's, a run key on a master's call).
    Forbidden,
    /// 404: no such run, task or page.
    NotFound,
    /// 405: the path exists, but not with this method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    Timeout,
    /// 409: the lease's fence is not the task's newest any more; whoever holds it must stop working.
    StaleFence,
    /// 409: completed before with another digest.
    DigestConflict,
    /// 409: the run exists with another specification.
    RunConflict,
    /// 409: the run was stopped; whoever holds a task of it must stop working.
    RunEnded,
    /// 411: an upload without a length.
    LengthRequired,
    /// 413: a body over its limit.
    TooLarge,
    /// 415: not JSON where JSON is due.
    UnsupportedMediaType,
    /// 422: the task's result was not uploaded yet.
    ResultMissing,
    /// 422: what was uploaded does not match its digest or size, or its archive is not acceptable.
    BadResult,
    /// 429: too many requests with this key.
    RateLimited,
    /// 500: a fault of the orchestrator, which its log explains.
    Internal,
    /// 507: there is no room left where results are kept; they are taken again once there is.
    StorageFull,
    /// 503: the store cannot be reached or the server is stopping.
    Unavailable,
}

//! The dashboard's pages, and the sessions that browsers get for the key.
//!
//! The pages are files of this program and hold no data; their script reads the API with the session's
//! cookie. Nothing else may be loaded or run: the content security policy names this server alone.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;

use super::answer::Refusal;
use super::app::App;
use super::extract::JsonBody;
use super::guard::{is_local, refuse_key};
use crate::api::ErrorCode;
use crate::orchestrator::auth::{BadKey, Caller, Role, Session};
use crate::orchestrator::listener::Peer;

const INDEX: &str = include_str!("../dashboard/index.html");
const LOGIN: &str = include_str!("../dashboard/login.html");
const CSS: &str = include_str!("../dashboard/dashboard.css");
const SCRIPT: &str = include_str!("../dashboard/dashboard.js");
const LOGIN_SCRIPT: &str = include_str!("../dashboard/login.js");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Sessions last as long on the server, 12 hours.
const COOKIE_SECONDS: u32 = 12 * 3600;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(index))
        .route("/login", get(|| async { file("text/html; charset=utf-8", LOGIN) }).post(log_in))
        .route("/logout", post(log_out))
        .route("/dashboard.css", get(|| async { file("text/css; charset=utf-8", CSS) }))
        .route("/dashboard.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/login.js", get(|| async { file("text/javascript; charset=utf-8", LOGIN_SCRIPT) }))
}

/// The page itself. On this machine everybody may look; elsewhere a session is needed first.
async fn index(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    session: Option<Extension<Session>>,
    target: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if let Some(Extension(session)) = session {
        return Ok(page(&session));
    }
    let role = match caller {
        Caller::Admin => Role::Admin,
        Caller::Nobody if is_local(&app, &peer, &target, &headers) => Role::Viewer,
        Caller::Nobody => return Ok(Redirect::to("/login").into_response()),
        Caller::Run(_) | Caller::Viewer => {
            return Err(Refusal::new(ErrorCode::Forbidden, "a run key does not open the dashboard"));
        }
    };
    let session = app.sessions.start(role, Instant::now());
    let mut answer = page(&session);
    set_cookie(&app, &mut answer, &session.token, COOKIE_SECONDS);
    Ok(answer)
}

fn page(session: &Session) -> Response {
    let role = match session.role {
        Role::Admin => "admin",
        Role::Viewer => "viewer",
    };
    // Both values are of this program's own alphabet.
    let text = INDEX.replace("{{csrf}}", &session.csrf).replace("{{role}}", role);
    file("text/html; charset=utf-8", text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    key: String,
}

/// Takes the admin key once. JSON, which no other site's form can send.
async fn log_in(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    JsonBody(login): JsonBody<Login>,
) -> Result<Response, Refusal> {
    if !app.keyring.is_admin(&login.key) {
        return Err(refuse_key(&app, &peer, BadKey::Wrong));
    }
    let session = app.sessions.start(Role::Admin, Instant::now());
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(&app, &mut answer, &session.token, COOKIE_SECONDS);
    Ok(answer)
}

async fn log_out(State(app): State<Arc<App>>, session: Option<Extension<Session>>) -> Response {
    if let Some(Extension(session)) = session {
        app.sessions.end(&session.token);
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(&app, &mut answer, "", 0);
    answer
}

fn set_cookie(app: &App, answer: &mut Response, token: &str, seconds: u32) {
    let secure = if app.secure { "; Secure" } else { "" };
    let name = &app.session_cookie;
    let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let value = HeaderValue::try_from(cookie).expect("tokens are hexadecimal digits");
    answer.headers_mut().insert(header::SET_COOKIE, value);
}

fn file(kind: &'static str, text: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

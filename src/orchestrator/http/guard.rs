//! Stands before every route: gives the request its id, finds out who calls, limits how often, counts and
//! logs the answer, and sends refusals in one form.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::{CatchUnwind, Either};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::answer::{Refusal, reason};
use super::app::App;
use crate::api::ErrorCode;
use crate::client::{is_own_loopback, is_own_loopback_name};
use crate::orchestrator::auth::{Access, BadKey, Caller, Role, Session, Shown};
use crate::orchestrator::listener::Peer;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// Puts the guard before routes.
#[derive(Clone)]
pub struct Guard(pub Arc<App>);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, routes: S) -> Guarded<S> {
        Guarded { app: self.0.clone(), routes }
    }
}

#[derive(Clone)]
pub struct Guarded<S> {
    app: Arc<App>,
    routes: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answering<S::Future> {
        let started = Instant::now();
        let exchange = Exchange {
            app: self.app.clone(),
            started,
            id: request_id(request.headers()).unwrap_or_else(|| self.app.request_ids.next()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: request.method().clone(),
        };
        let answer = match admit(&exchange, &mut request) {
            Ok(()) => Either::Left(AssertUnwindSafe(self.routes.call(request)).catch_unwind()),
            Err(refusal) => Either::Right(ready(Ok(Ok(refusal.into_response())))),
        };
        Answering { exchange: Some(exchange), answer }
    }
}

type Caught = Result<Result<Response, Infallible>, Box<dyn Any + Send>>;

pin_project! {
    /// The answer on its way through the guard.
    pub struct Answering<F> {
        exchange: Option<Exchange>,
        #[pin]
        answer: Either<CatchUnwind<AssertUnwindSafe<F>>, Ready<Caught>>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Answering<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match task::ready!(this.answer.poll(context)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            // The panic hook has logged where.
            Err(_) => Refusal::internal(std::io::Error::other("a handler panicked")).into_response(),
        };
        let exchange = this.exchange.take().expect("a future is not polled after its end");
        Poll::Ready(Ok(exchange.end(answer)))
    }
}

/// A request that is being answered.
struct Exchange {
    app: Arc<App>,
    started: Instant,
    id: HeaderValue,
    route: Option<MatchedPath>,
    method: Method,
}

impl Exchange {
    /// Sends refusals in one form, adds the request's id, counts and logs.
    fn end(self, mut answer: Response) -> Response {
        let refusal = answer.extensions_mut().remove::<Refusal>();
        if let Some(refusal) = &refusal {
            self.app.metrics.refused(refusal.reason.unwrap_or_else(|| reason(refusal.code)));
            let mut sent = refusal.answer(self.id());
            if let Some(allow) = answer.headers_mut().remove(header::ALLOW) {
                sent.headers_mut().insert(header::ALLOW, allow);
            }
            answer = sent;
        }
        answer.headers_mut().insert(REQUEST_ID, self.id.clone());
        self.log(&answer, refusal.as_ref());
        self.app.metrics.answered(self.route, method_name(&self.method), answer.status().as_u16());
        answer
    }

    fn id(&self) -> &str {
        self.id.to_str().expect("ids are made of, or checked for, harmless ASCII")
    }

    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }

    fn log(&self, answer: &Response, refusal: Option<&Refusal>) {
        let took = || self.started.elapsed().as_micros() as u64;
        let (method, route, status) =
            (&self.method, self.route().unwrap_or("none"), answer.status().as_u16());
        match refusal {
            Some(Refusal { cause: Some(cause), .. }) => {
                let cause = crate::cause_chain(cause.as_ref());
                tracing::error!(
                    request.id = self.id(), %method, route, status, duration_us = took(), cause, "a request failed"
                );
            }
            Some(refusal) => tracing::info!(
                request.id = self.id(), %method, route, status, duration_us = took(),
                reason = reason(refusal.code), "refused a request"
            ),
            None => tracing::debug!(
                request.id = self.id(), %method, route, status, duration_us = took(), "answered a request"
            ),
        }
    }
}

/// Decides whether the request may go on, and as whose.
fn admit(exchange: &Exchange, request: &mut Request<Body>) -> Result<(), Refusal> {
    let (app, route) = (&*exchange.app, exchange.route());
    let peer = request.extensions().get::<Peer>().expect("the listener adds the peer to every request");
    let access = Access::of(route);
    let identity = match identify(app, request, &peer.shown) {
        Ok(identity) => identity,
        // A stale cookie must not keep a browser from the login page.
        Err(_) if access == Access::Public => NOBODY,
        Err(BadKey::Missing)
            if access.is_open_on_loopback() && is_local(app, peer, request.uri(), request.headers()) =>
        {
            NOBODY
        }
        // Browsers are sent to the login page by the dashboard itself.
        Err(BadKey::Missing) if route == Some("/") => NOBODY,
        Err(bad) => return Err(refuse_key(app, peer, bad)),
    };
    if identity.caller == Caller::Viewer && access != Access::Public && !reads(request) {
        let message = "log in with the admin key to change something";
        return Err(Refusal::new(ErrorCode::Forbidden, message).because("viewer"));
    }
    if matches!(identity.caller, Caller::Run(_)) && !access.takes_run_keys() {
        let message = "a run key may only claim and report for its run; this call needs the admin key";
        return Err(Refusal::new(ErrorCode::Forbidden, message).because("run_key_scope"));
    }
    if let Some(tag) = identity.run_key_tag
        && let Err(wait) = app.run_key_limit.take(tag, exchange.started)
    {
        let message = "too many requests with this run key";
        return Err(Refusal::new(ErrorCode::RateLimited, message).retry_after(wait));
    }
    if let Some(session) = identity.session {
        request.extensions_mut().insert(session);
    }
    request.extensions_mut().insert(identity.caller);
    Ok(())
}

/// Who calls, by what they showed.
struct Identity {
    caller: Caller,
    /// Tells run keys apart without keeping them.
    run_key_tag: Option<[u8; 8]>,
    session: Option<Session>,
}

const NOBODY: Identity = Identity { caller: Caller::Nobody, run_key_tag: None, session: None };

fn identify(app: &App, request: &Request<Body>, shown: &Shown) -> Result<Identity, BadKey> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let key = value.to_str().ok().and_then(bearer).ok_or(BadKey::Wrong)?;
        if key.starts_with("rk.") {
            let claims = app.keyring.run_claims(key, shown, jiff::Timestamp::now().as_second())?;
            let caller = Caller::Run(claims.run_id);
            return Ok(Identity { caller, run_key_tag: Some(tag(key)), session: None });
        }
        let admin = Identity { caller: Caller::Admin, ..NOBODY };
        return if app.keyring.is_admin(key) { Ok(admin) } else { Err(BadKey::Wrong) };
    }
    let token = session_token(request.headers(), &app.session_cookie).ok_or(BadKey::Missing)?;
    let session = app.sessions.find(token, Instant::now()).ok_or(BadKey::Missing)?;
    let shown = request.headers().get(CSRF_TOKEN).and_then(|value| value.to_str().ok());
    if !reads(request) && shown != Some(session.csrf.as_str()) {
        return Err(BadKey::Wrong);
    }
    let caller = match session.role {
        Role::Admin => Caller::Admin,
        Role::Viewer => Caller::Viewer,
    };
    Ok(Identity { caller, run_key_tag: None, session: Some(session) })
}

fn reads(request: &Request<Body>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The end of a run key's code.
fn tag(key: &str) -> [u8; 8] {
    let bytes = key.as_bytes();
    bytes[bytes.len() - 8..].try_into().expect("a verified key is longer than its code")
}

pub fn refuse_key(app: &App, peer: &Peer, bad: BadKey) -> Refusal {
    if let Err(wait) = app.refused_limit.take(peer.address.ip(), Instant::now()) {
        let message = "too many requests without a valid key from this address";
        return Refusal::new(ErrorCode::RateLimited, message).because("rate_limited_peer").retry_after(wait);
    }
    Refusal::new(ErrorCode::Unauthorized, bad.to_string()).because(bad.reason())
}

/// Loopback means: bound to it, called from it, by its name, and not on behalf of somebody else. A target may name the
/// host as well, and then that name counts (RFC 9112, 3.2.2); a local caller means the same with both.
pub fn is_local(app: &App, peer: &Peer, target: &Uri, headers: &HeaderMap) -> bool {
    const FORWARDING: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let is_own = |host: &str| is_own_loopback_name(without_port(host));
    app.on_loopback
        && is_own_loopback(peer.address.ip())
        && host.to_str().is_ok_and(is_own)
        && target.authority().is_none_or(|host| is_own(host.as_str()))
        && !FORWARDING.iter().any(|name| headers.contains_key(*name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn session_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// The client's id for the request, where it is harmless in logs.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(harmless)).then(|| id.clone())
}

/// Methods as labels: a client cannot make new series by inventing some.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_taken() {
        let mut headers = HeaderMap::new();
        for (id, taken) in
            [("abc-1.2_3", true), ("", false), ("a b", false), ("a\u{7f}", false), ("<x>", false)]
        {
            let Ok(value) = HeaderValue::from_str(id) else { continue };
            headers.insert(REQUEST_ID, value);
            assert_eq!(request_id(&headers).is_some(), taken, "{id:?}");
        }
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; bench_session=token; c=d"));
        assert_eq!(session_token(&headers, "bench_session"), Some("token"));
    }

    #[test]
    fn ports_are_no_part_of_a_host_name() {
        assert_eq!(without_port("localhost:80"), "localhost");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("localhost"), "localhost");
    }
}

//! One request and its answer: addresses, keys, time limits, and what an answer's status means.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use rustls::crypto::CryptoProvider;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoint::{base_url, is_own_loopback_name};
use super::pin::PinVerifier;
use super::{ClientError, Endpoint, Pin, Secret};
use crate::api::ErrorBody;

/// A machine that does not answer a SYN for this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The orchestrator closes a silent connection after 30 s; one that is about to be closed is not used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence within a stream; the orchestrator sends a keep-alive comment every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// For a JSON call, from connecting to the last byte.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers of JSON calls are cut here; the largest page of tasks is well below.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection pool to one orchestrator. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base: Url,
    key: Secret,
    orchestrator: reqwest::Client,
    /// For object storage, which has certificates of public authorities: made when first needed, because
    /// loading those takes longer than all the rest.
    storage: OnceLock<reqwest::Client>,
}

impl Client {
    /// Checks the address and prepares the TLS side; connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientError::BadEndpoint`] for an address that cannot be used safely, [`ClientError::BadKey`] for a key
    /// that cannot be sent.
    pub fn new(endpoint: Endpoint) -> Result<Client, ClientError> {
        let base = base_url(&endpoint.url)?;
        if HeaderValue::from_str(endpoint.key.expose()).is_err() {
            return Err(ClientError::BadKey { url: base.to_string() });
        }
        let local = base.host_str().is_some_and(is_own_loopback_name);
        let builder = builder(endpoint.pin, local);
        let orchestrator = builder
            .build()
            .map_err(|source| ClientError::BadEndpoint { url: base.to_string(), why: source.to_string() })?;
        let inner = Inner { base, key: endpoint.key, orchestrator, storage: OnceLock::new() };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// The orchestrator's address, ending in `/`.
    pub fn url(&self) -> &str {
        self.inner.base.as_str()
    }

    /// The address of a path below the API's root; each segment is escaped.
    pub(super) fn api(&self, segments: &[&str]) -> Url {
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// The address of a page outside the API.
    pub(super) fn page(&self, name: &str) -> Url {
        let mut url = self.inner.base.clone();
        url.set_path(name);
        url
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.orchestrator.request(method, url).bearer_auth(self.inner.key.expose())
    }

    /// A request to wherever `url` points. The key goes along only to the orchestrator itself.
    pub(super) fn request_anywhere(&self, method: Method, url: Url) -> Result<RequestBuilder, ClientError> {
        if url.origin() == self.inner.base.origin() {
            return Ok(self.request(method, url));
        }
        let storage = match self.inner.storage.get() {
            Some(client) => client.clone(),
            None => {
                let local = url.host_str().is_some_and(is_own_loopback_name);
                let made = builder(None, local).build().map_err(|source| ClientError::Unreachable {
                    what: "prepare a connection to the object storage",
                    url: shown(&url),
                    source: Box::new(source),
                })?;
                self.inner.storage.get_or_init(|| made).clone()
            }
        };
        Ok(storage.request(method, url))
    }

    /// Resolves the address on a ticket: absolute, or a path on this orchestrator.
    pub(super) fn resolve(&self, address: &str) -> Result<Url, ClientError> {
        self.inner.base.join(address).map_err(|source| ClientError::BadAnswer {
            what: "read an upload ticket",
            url: self.url().to_owned(),
            status: 200,
            detail: format!("its address is no URL: {source}"),
        })
    }

    /// GET of a JSON document.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: Url,
    ) -> Result<T, ClientError> {
        json(what, self.request(Method::GET, url).timeout(CALL_TIMEOUT)).await
    }

    /// POST of a JSON document for a JSON document.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: Url,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ClientError> {
        json(what, self.request(Method::POST, url).json(body).timeout(timeout)).await
    }

    /// POST whose answer has no body.
    pub(super) async fn post_empty(
        &self,
        what: &'static str,
        url: Url,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::POST, url).timeout(CALL_TIMEOUT);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        send(what, request).await.map(drop)
    }
}

fn builder(pin: Option<Pin>, local: bool) -> reqwest::ClientBuilder {
    let provider = install_crypto_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("bench/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_only();
    if local {
        builder = builder.no_proxy();
    }
    if let Some(pin) = pin {
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the ring provider supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier::new(pin, provider)))
            .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(config);
    }
    builder
}

/// Makes ring the process's provider of cryptography, unless there is one already: rustls asks for one where
/// more than one could be linked in, and panics without.
pub fn install_crypto_provider() -> Arc<CryptoProvider> {
    if CryptoProvider::get_default().is_none() {
        // Losing a race against another thread that installs one is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// An address without its query, which may hold a signature.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// Waits for the next piece of a stream, but not for ever.
pub(super) async fn unless_silent<T>(
    what: &'static str,
    url: &str,
    piece: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(SILENCE_TIMEOUT, piece).await {
        Ok(piece) => piece.map_err(|source| ClientError::of_exchange(what, url, source)),
        Err(source) => Err(ClientError::Unreachable { what, url: url.to_owned(), source: Box::new(source) }),
    }
}

/// Sends a request; an answer of 400 or more, or a redirection, becomes an error.
pub(super) async fn send(what: &'static str, request: RequestBuilder) -> Result<Response, ClientError> {
    let (client, request) = request.build_split();
    let request = request.map_err(|source| ClientError::Unreachable {
        what,
        url: String::new(),
        source: Box::new(source),
    })?;
    let url = shown(request.url());
    let answer =
        client.execute(request).await.map_err(|source| ClientError::of_exchange(what, &url, source))?;
    if answer.status().is_success() { Ok(answer) } else { Err(refusal(what, url, answer).await) }
}

pub(super) async fn json<T: DeserializeOwned>(
    what: &'static str,
    request: RequestBuilder,
) -> Result<T, ClientError> {
    let answer = send(what, request).await?;
    let (status, url) = (answer.status().as_u16(), shown(answer.url()));
    let bytes = body(what, &url, answer, MAX_ANSWER_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|source| ClientError::BadAnswer {
        what,
        url,
        status,
        detail: source.to_string(),
    })
}

async fn refusal(what: &'static str, url: String, answer: Response) -> ClientError {
    const MAX_REFUSAL_BYTES: usize = 64 << 10;
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers());
    let bytes = match body(what, &url, answer, MAX_REFUSAL_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => ClientError::Refused { what, status, body, retry_after },
        Err(_) => {
            let detail = String::from_utf8_lossy(&bytes).chars().take(300).collect();
            ClientError::BadAnswer { what, url, status, detail }
        }
    }
}

/// Collects a body up to a limit.
async fn body(
    what: &'static str,
    url: &str,
    mut answer: Response,
    limit: usize,
) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|source| ClientError::of_exchange(what, url, source))?
    {
        if bytes.len() + chunk.len() > limit {
            let (status, url) = (answer.status().as_u16(), url.to_owned());
            return Err(ClientError::BadAnswer {
                what,
                url,
                status,
                detail: "it is far too long".to_owned(),
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

//! What can go wrong between a client and its orchestrator, told apart by what the caller should do.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use super::Pin;
use super::pin::WrongKey;
use crate::api::{ErrorBody, ErrorCode};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The orchestrator understood and said no.
    #[error("could not {what}: the request was refused (status {status}): {}", .body.message)]
    Refused { what: &'static str, status: u16, body: ErrorBody, retry_after: Option<Duration> },
    /// No answer: unknown whether the request was carried out. Never proof that a run or task is done.
    #[error("could not {what}: no answer from {url}")]
    Unreachable {
        what: &'static str,
        url: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another machine, or the orchestrator with another key. Nothing was sent to it.
    #[error(
        "{url} is not the expected orchestrator: its key is {found}, expected {expected}; nothing was sent to it"
    )]
    PinMismatch { url: String, expected: Pin, found: Pin },
    /// An answer that an orchestrator does not give.
    #[error(
        "could not {what}: {url} gave an answer that is not an orchestrator's (status {status}): {detail}"
    )]
    BadAnswer { what: &'static str, url: String, status: u16, detail: String },
    #[error("cannot use `{url}` as an orchestrator's address: {why}")]
    BadEndpoint { url: String, why: String },
    /// Not repeated: it is a secret all the same.
    #[error("cannot use the key for {url}: it holds a line break or another control character")]
    BadKey { url: String },
    /// A file on this side of the connection.
    #[error("could not {what}: {}", .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Refused { status, .. } | ClientError::BadAnswer { status, .. } => {
                matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 507)
            }
            ClientError::Unreachable { .. } => true,
            ClientError::PinMismatch { .. }
            | ClientError::BadEndpoint { .. }
            | ClientError::BadKey { .. }
            | ClientError::File { .. } => false,
        }
    }

    /// The orchestrator answers and something is wrong with itself: its disk is full, its store broken. It may
    /// pass, but not by asking again and again.
    pub fn is_fault(&self) -> bool {
        matches!(self, ClientError::Refused { status: 500 | 507, .. })
    }

    /// What was given for the orchestrator's address or key is wrong: nothing about the orchestrator is.
    pub fn is_misuse(&self) -> bool {
        match self {
            ClientError::BadEndpoint { .. } | ClientError::BadKey { .. } => true,
            _ => self.is_refused_key(),
        }
    }

    /// The key does not verify, or is one that may not do this.
    pub fn is_refused_key(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::Unauthorized | ErrorCode::Forbidden))
    }

    /// A machine answers, and no certificate authority of this machine vouches for its certificate.
    pub fn is_untrusted(&self) -> bool {
        match self {
            ClientError::Unreachable { source, .. } => {
                matches!(tls_error(source.as_ref()), Some(rustls::Error::InvalidCertificate(_)))
            }
            _ => false,
        }
    }

    /// The orchestrator's reason, where it gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { body, .. } => Some(body.code),
            _ => None,
        }
    }

    /// How long the orchestrator asked to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ClientError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Turns a failed exchange into what it means.
    pub(super) fn of_exchange(what: &'static str, url: &str, source: reqwest::Error) -> ClientError {
        match wrong_key(&source) {
            Some(WrongKey { expected, found }) => {
                ClientError::PinMismatch { url: url.to_owned(), expected, found }
            }
            // The URL of an object store may carry a signature, which is as good as a key.
            None => {
                let source = Box::new(source.without_url());
                ClientError::Unreachable { what, url: url.to_owned(), source }
            }
        }
    }
}

/// The verifier's verdict, where it was that the server's key is not the pinned one.
fn wrong_key(error: &(dyn Error + 'static)) -> Option<WrongKey> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<WrongKey>().cloned()
        }
        _ => None,
    }
}

/// Digs what TLS found wrong out of the chain. An `io::Error` hides what it wraps from `source()`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    match inner {
        Some(inner) => tls_error(inner),
        None => tls_error(error.source()?),
    }
}

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
            ClientError::PinMismatch { .. } | ClientError::BadEndpoint { .. } | ClientError::File { .. } => {
                false
            }
        }
    }

    /// The orchestrator answers and something is wrong with itself: its disk is full, its store broken. It may
    /// pass, but not by asking again and again.
    pub fn is_fault(&self) -> bool {
        matches!(self, ClientError::Refused { status: 500 | 507, .. })
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

/// Digs the verifier's verdict out of the chain. An `io::Error` hides what it wraps from `source()`.
fn wrong_key(error: &(dyn Error + 'static)) -> Option<WrongKey> {
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) =
        error.downcast_ref::<rustls::Error>()
    {
        return other.0.downcast_ref::<WrongKey>().cloned();
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    match inner {
        Some(inner) => wrong_key(inner),
        None => wrong_key(error.source()?),
    }
}

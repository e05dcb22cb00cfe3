//! What all handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::orchestrator::Limits;
use crate::orchestrator::auth::{Buckets, Keyring, Sessions};
use crate::orchestrator::metrics::Metrics;
use crate::orchestrator::programs::Programs;
use crate::orchestrator::storage::Storage;
use crate::orchestrator::store::Store;

pub struct App {
    pub store: Arc<dyn Store>,
    pub storage: Arc<Storage>,
    pub programs: Arc<Programs>,
    pub keyring: Arc<Keyring>,
    pub sessions: Sessions,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    /// Cancelled when the orchestrator stops: long polls and event streams end.
    pub stop: CancellationToken,
    /// Whether it listens on loopback only.
    pub on_loopback: bool,
    /// Whether it speaks TLS: then its cookies travel over TLS only.
    pub secure: bool,
    /// Browsers keep cookies by host without the port: the name tells orchestrators of one host apart.
    pub session_cookie: String,
    pub run_key_limit: Buckets<[u8; 8]>,
    pub refused_limit: Buckets<IpAddr>,
    pub request_ids: RequestIds,
}

/// Makes ids for requests whose client sent none: a random start for each process, then counting.
pub struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl RequestIds {
    pub fn new() -> RequestIds {
        RequestIds { process: format!("{:08x}", rand::random::<u32>()), next: AtomicU64::new(1) }
    }

    pub fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(32);
        id.push_str(&self.process);
        id.push('-');
        id.push_str(itoa::Buffer::new().format(number));
        HeaderValue::try_from(id).expect("digits may stand in headers")
    }
}

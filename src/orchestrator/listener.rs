//! Takes connections and serves HTTP/1.1 on them, so that slow and silent clients cost next to nothing.
//!
//! ```text
//!  accept (bounded in all and by address) ─▶ TLS handshake (timeout) ─▶ headers (timeout) ─▶ router
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::FutureExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::Limits;
use super::auth::Shown;
use super::metrics::{Metrics, OpenConnection};
use super::patience::Patience;
use super::peers::{PeerSlot, Peers};

/// The connection that a request came on, added to every request.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub patience: Patience,
    pub shown: Arc<Shown>,
}

/// Headers of a request in all; requests of this API have a few hundred bytes of them.
const HEADER_BUFFER_BYTES: usize = 32 << 10;
/// After `accept` fails (no file descriptors left), the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Listener {
    pub socket: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub router: Router,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
}

impl Listener {
    /// Serves until told to stop, then lets open requests end within the deadline.
    pub async fn run(self, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let peers = Peers::new(self.limits.connections_per_peer);
        let graceful = GracefulShutdown::new();
        let mut http = http1::Builder::new();
        // No `pipeline_flush`: it holds back the refusal of a request that is not HTTP.
        // Head and body of an answer go out as one piece: most have a few hundred bytes, which are copied sooner than the
        // kernel gathers them.
        http.max_buf_size(HEADER_BUFFER_BYTES).half_close(false).writev(false);
        loop {
            let next = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, self.socket.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            let slot = slot.expect("the semaphore is never closed");
            match accepted {
                Ok((stream, peer)) => {
                    let Some(peer_slot) = peers.enter(peer.ip()) else {
                        self.metrics.refused("peer_connections");
                        continue;
                    };
                    let patience = Patience::new();
                    let mut http = http.clone();
                    http.timer(patience.clone()).header_read_timeout(self.limits.header_timeout);
                    let connection = Connection {
                        guards: (slot, peer_slot, self.metrics.connection_opened()),
                        http,
                        tls: self.tls.clone(),
                        router: self.router.clone(),
                        peer: Peer { address: peer, patience, shown: Arc::default() },
                        handshake_timeout: self.limits.handshake_timeout,
                        watcher: graceful.watcher(),
                        metrics: self.metrics.clone(),
                    };
                    tokio::spawn(connection.serve(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        if tokio::time::timeout(self.limits.shutdown_timeout, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time and are cut off");
        }
    }
}

struct Connection {
    /// Counted until the connection ends.
    guards: (OwnedSemaphorePermit, PeerSlot, OpenConnection),
    http: http1::Builder,
    tls: Option<TlsAcceptor>,
    router: Router,
    peer: Peer,
    handshake_timeout: Duration,
    watcher: Watcher,
    metrics: Arc<Metrics>,
}

impl Connection {
    /// There are thousands of these: one without TLS takes no more memory than it needs.
    fn serve(self, stream: TcpStream) -> impl Future<Output = ()> + Send {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        match self.tls.clone() {
            None => self.speak(TokioIo::new(stream)).left_future(),
            Some(tls) => self.serve_encrypted(tls, stream).boxed().right_future(),
        }
    }

    async fn serve_encrypted(self, tls: TlsAcceptor, stream: TcpStream) {
        match tokio::time::timeout(self.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(TokioIo::new(stream)).await,
            Ok(Err(error)) => self.refuse("tls_handshake", &error),
            Err(_) => self.refuse("tls_timeout", &io::ErrorKind::TimedOut.into()),
        }
    }

    fn speak(self, io: impl Read + Write + Unpin + Send + 'static) -> impl Future<Output = ()> + Send {
        let Connection { guards, http, router, peer, watcher, metrics, .. } = self;
        let Peer { address, patience, .. } = peer.clone();
        let asked = Arc::<AtomicBool>::default();
        let was_asked = asked.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request.map(Body::new))
        });
        patience.keep(watcher.watch(http.serve_connection(io, service))).map(move |end| {
            if let Err(error) = end {
                if error.is_timeout() {
                    // One that was asked something before is most likely idle: clients keep connections for later.
                    let idle = was_asked.load(Ordering::Relaxed);
                    metrics.refused(if idle { "idle_timeout" } else { "header_timeout" });
                } else if error.is_parse() {
                    metrics.refused("bad_http");
                }
                tracing::debug!(peer = %address, %error, "a connection broke off");
            }
            drop(guards);
        })
    }

    fn refuse(&self, reason: &'static str, error: &io::Error) {
        self.metrics.refused(reason);
        tracing::debug!(peer = %self.peer.address, %error, "a TLS handshake failed");
    }
}

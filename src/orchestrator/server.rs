//! Starts an orchestrator and stops it again: in this process for local runs, or as a process of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::auth::{Buckets, KeyError, Keyring, Sessions, run_key};
use super::http::{App, RequestIds, router};
use super::listener::Listener;
use super::metrics::Metrics;
use super::programs::Programs;
use super::storage::{Storage, StorageError};
use super::store::{self, OpenError, Store};
use super::tls::{self, TlsError};
use super::{ServerConfig, TlsMode};
use crate::api::RunId;
use crate::client::{Endpoint, Pin, Secret, install_crypto_provider, is_own_loopback};

/// How often leases and the key file are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the address {0} is taken by another process; stop that one, or listen elsewhere (port 0 takes a free one)"
    )]
    AddressTaken(SocketAddr),
    #[error("could not listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "plain HTTP on {0} would show keys and results to the network; it is spoken on 127.0.0.1 and ::1 only, use TLS elsewhere"
    )]
    PlainHttp(SocketAddr),
    #[error("could not prepare the orchestrator's home {}", .path.display())]
    Home {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not prepare the orchestrator's keys")]
    Keys(#[from] KeyError),
    #[error("could not prepare TLS")]
    Tls(#[from] TlsError),
    #[error("could not open the store")]
    Store(#[from] OpenError),
    #[error("could not open the result storage")]
    Storage(#[from] StorageError),
}

/// An orchestrator that serves until it is shut down (or dropped, which cuts open requests off).
pub struct Running {
    address: SocketAddr,
    pin: Option<Pin>,
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    listener: JoinHandle<()>,
    sweeper: JoinHandle<()>,
}

/// Opens store and storage and starts to serve.
///
/// # Errors
/// Nothing serves when this fails; what was made in the home (keys, certificate, database) stays.
pub async fn start(config: ServerConfig) -> Result<Running, StartError> {
    prepare_home(&config.home)?;
    let socket = listen(&config).await?;
    let options = store::Options { durability: config.durability, ..store::Options::default() };
    let store = store::open(&config.database, options).await?;
    serve(config, socket, store).await
}

/// Starts over a store that somebody else has opened.
pub async fn start_with(config: ServerConfig, store: Arc<dyn Store>) -> Result<Running, StartError> {
    prepare_home(&config.home)?;
    let socket = listen(&config).await?;
    serve(config, socket, store).await
}

async fn serve(
    config: ServerConfig,
    socket: TcpListener,
    store: Arc<dyn Store>,
) -> Result<Running, StartError> {
    install_crypto_provider();
    let listen_error = |source| StartError::Listen { address: config.listen, source };
    let address = socket.local_addr().map_err(listen_error)?;
    let keyring = Arc::new(match config.admin_key {
        Some(key) => Keyring::fixed(key)?,
        None => Keyring::open(&config.home, jiff::Timestamp::now())?,
    });
    let tls = tls::prepare(&config.tls, &config.home)?;
    let limits = config.limits.clone();
    let stop = CancellationToken::new();
    let app = Arc::new(App {
        store: store.clone(),
        storage: Arc::new(Storage::open(&config.storage, config.durability).await?),
        programs: Arc::new(Programs::new(&config.home)),
        keyring: keyring.clone(),
        sessions: Sessions::default(),
        metrics: Arc::new(Metrics::new()),
        stop: stop.clone(),
        on_loopback: is_own_loopback(address.ip()),
        secure: tls.is_some(),
        session_cookie: format!("bench_session_{}", address.port()),
        run_key_limit: Buckets::new(limits.run_key_per_second, 2.0 * limits.run_key_per_second),
        refused_limit: Buckets::new(limits.refused_per_second, 10.0 * limits.refused_per_second),
        request_ids: RequestIds::new(),
        limits: limits.clone(),
    });
    if let Err(error) = make_room_for_files(&socket, limits.connections) {
        tracing::warn!(
            %error,
            connections = limits.connections,
            "could not make room for all connections: allow more open files (`ulimit -n`, `LimitNOFILE=`)"
        );
    }
    let sweeper = tokio::spawn(sweep(app.clone()));
    let listener = Listener {
        socket,
        tls: tls.as_ref().map(|tls| tls.acceptor.clone()),
        metrics: app.metrics.clone(),
        router: router(app),
        limits,
    };
    let listener = tokio::spawn(listener.run(stop.clone()));
    Ok(Running { address, pin: tls.map(|tls| tls.pin), keyring, store, stop, listener, sweeper })
}

impl Running {
    /// Where it can be reached; the address as it was bound, so `0.0.0.0` stays that.
    pub fn url(&self) -> String {
        let scheme = if self.pin.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients must trust; `None` on plain HTTP.
    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    pub fn admin_key(&self) -> Secret {
        self.keyring.active()
    }

    /// A key that may claim and report for `run` until `expires`.
    pub fn run_key(&self, run: &RunId, expires: jiff::Timestamp) -> Secret {
        run_key(&self.keyring.active(), run, expires.as_second())
    }

    /// What a client of this process connects to.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { url: self.url(), key: self.admin_key(), pin: self.pin }
    }

    /// Stops accepting, ends long polls and event streams, lets open requests end within the deadline, then
    /// closes the store.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.listener).await {
            tracing::error!(%error, "the listener ended badly");
        }
        if let Err(error) = (&mut self.sweeper).await {
            tracing::error!(%error, "the sweeper ended badly");
        }
        self.store.close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.listener.abort();
        self.sweeper.abort();
    }
}

async fn listen(config: &ServerConfig) -> Result<TcpListener, StartError> {
    let address = config.listen;
    if config.tls == TlsMode::Off && !is_own_loopback(address.ip()) {
        return Err(StartError::PlainHttp(address));
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressTaken(address),
        _ => StartError::Listen { address, source },
    })
}

/// Makes the home with mode 0700, or takes others' rights to an existing one away.
fn prepare_home(home: &Path) -> Result<(), StartError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    let private = made.and_then(|()| {
        let mut permissions = fs_err::metadata(home)?.permissions();
        permissions.set_mode(permissions.mode() & 0o700);
        fs_err::set_permissions(home, permissions)
    });
    private.map_err(|source| StartError::Home { path: home.to_owned(), source })
}

/// Each connection is an open file; the usual soft limit of 1,024 is for programs that use `select`.
///
/// The kernel's table of a process's files doubles when it is full. Where threads share it, whoever opens the file too
/// many waits until every CPU has been through the scheduler (`expand_fdtable` in Linux's `fs/file.c`): 5 to 15 ms, in
/// which that thread answers nobody. A high number, given to a file that is open and taken back, makes the table
/// large now.
fn make_room_for_files(open: impl AsFd, connections: usize) -> nix::Result<()> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let highest = i32::try_from(limit.saturating_sub(1)).unwrap_or(i32::MAX);
    let number = i32::try_from(connections).unwrap_or(i32::MAX).min(highest);
    nix::unistd::close(fcntl(open, FcntlArg::F_DUPFD_CLOEXEC(number))?)
}

/// Takes lost leases back and notices new keys, until told to stop.
async fn sweep(app: Arc<App>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.stop.cancelled() => return,
        }
        match app.store.sweep().await {
            Ok(swept) => app.metrics.leases_lost(swept.leases_lost),
            Err(error) => {
                tracing::error!(error = crate::cause_chain(&error), "could not look for lost leases")
            }
        }
        match app.keyring.refresh(jiff::Timestamp::now()) {
            Ok(true) => {
                app.sessions.end_all();
                tracing::info!("the admin key has changed");
            }
            Ok(false) => {}
            Err(error) => {
                let error = crate::cause_chain(&error);
                tracing::error!(error, "could not read the changed key file; the old keys stay");
            }
        }
    }
}

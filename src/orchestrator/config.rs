//! How an orchestrator is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::storage::StorageTarget;
use super::store::{Durability, StoreTarget};
use crate::client::Secret;

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Port 0 takes any free one; [`super::Running::url`] tells which.
    pub listen: SocketAddr,
    /// Keys and the certificate live here; made with mode 0700.
    pub home: PathBuf,
    pub database: StoreTarget,
    /// What an answered change survives; [`Durability::Synced`] for an orchestrator of its own.
    pub durability: Durability,
    pub storage: StorageTarget,
    pub tls: TlsMode,
    /// Absent: kept in the home, made when there is none.
    pub admin_key: Option<Secret>,
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain HTTP, on loopback only.
    Off,
    /// A key and certificate made here and kept in the home; clients trust it by its pin.
    SelfMade,
    /// PEM files: a certificate chain, and its key.
    Files { certificate: PathBuf, key: PathBuf },
}

/// What a client may take of the orchestrator's time and memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Open at once from one address; more are closed at once. Runners of a site may share an address.
    pub connections_per_peer: usize,
    /// Requests a second with one run key, which all runners of a run share; twice as many in a burst.
    pub run_key_per_second: f64,
    /// Requests a second with a wrong key or none, from one address.
    pub refused_per_second: f64,
    /// Body of a JSON call, bytes. Creating a run may take [`Limits::CREATE_FACTOR`] times as much.
    pub json_bytes: usize,
    /// A result archive, bytes.
    pub upload_bytes: u64,
    /// From the first byte of a request (or the end of the one before) to the end of its headers.
    pub header_timeout: Duration,
    /// Longest silence within a body, and longest time for the body of a JSON call.
    pub body_timeout: Duration,
    pub handshake_timeout: Duration,
    /// Open requests get this long to end when the orchestrator stops.
    pub shutdown_timeout: Duration,
}

impl Limits {
    /// 10,000 groups of tasks with their names make about 2 MiB.
    pub const CREATE_FACTOR: usize = 64;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 16_384,
            connections_per_peer: 8_192,
            run_key_per_second: 20_000.0,
            refused_per_second: 10.0,
            json_bytes: 64 << 10,
            upload_bytes: 8 << 30,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

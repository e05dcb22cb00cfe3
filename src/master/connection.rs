//! The run's orchestrator: one inside this process, or one that answers elsewhere.

use std::net::{Ipv4Addr, SocketAddr};

use super::home::{HomeError, RunFolder, write_private};
use super::prepare::Prepared;
use super::record::OrchestratorRecord;
use crate::client::{Client, ClientError, Endpoint, Secret};
use crate::orchestrator::auth::run_key;
use crate::orchestrator::storage::StorageTarget;
use crate::orchestrator::store::{Durability, StoreTarget};
use crate::orchestrator::{self, Limits, Running, ServerConfig, StartError, TlsMode};

/// A key outlives the run's own deadline by this much, so that late results still arrive, seconds.
const KEY_MARGIN_SECONDS: u64 = 3600;

pub struct Connection {
    pub client: Client,
    pub record: OrchestratorRecord,
    inside: Option<Running>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("could not keep the run's keys")]
    Keys(#[source] std::io::Error),
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl Connection {
    /// Starts the orchestrator of this run over the store in the run's folder, or reaches the given one.
    /// Leaves the keys for runners and for other `bench` commands in 0600 files.
    pub async fn open(folder: &RunFolder, prepared: &Prepared) -> Result<Connection, ConnectionError> {
        let (inside, endpoint) = match &prepared.orchestrator {
            Some(endpoint) => (None, endpoint.clone()),
            None => {
                let running = orchestrator::start(server_config(folder)).await?;
                let endpoint = running.endpoint();
                (Some(running), endpoint)
            }
        };
        let client = Client::new(endpoint.clone())?;
        client.up().await?;
        write_keys(folder, &endpoint, prepared.ttl_seconds).map_err(ConnectionError::Keys)?;
        let record = OrchestratorRecord {
            url: endpoint.url,
            pin: endpoint.pin.map(|pin| pin.to_string()),
            inside_master: inside.is_some(),
        };
        Ok(Connection { client, record, inside })
    }

    /// Ends the orchestrator inside this process; one elsewhere stays.
    pub async fn close(self) {
        if let Some(running) = self.inside {
            running.shutdown().await;
        }
    }
}

/// For `bench status` and `bench stop`: how to reach the orchestrator of a run whose master lives.
pub fn client_of(folder: &RunFolder, record: &OrchestratorRecord) -> Result<Client, ConnectionError> {
    let key = fs_err::read_to_string(folder.admin_key()).map_err(ConnectionError::Keys)?;
    let pin = record.pin.as_deref().and_then(|pin| pin.parse().ok());
    Ok(Client::new(Endpoint { url: record.url.clone(), key: Secret::new(key.trim()), pin })?)
}

/// On loopback, on any free port, over files in the run's folder. What it answers survives the end of the
/// process, not that of the machine: with the machine, the run is gone anyway.
fn server_config(folder: &RunFolder) -> ServerConfig {
    ServerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        home: folder.orchestrator_home(),
        database: StoreTarget::Sqlite(folder.database()),
        durability: Durability::OsBuffered,
        storage: StorageTarget::Folder(folder.uploads()),
        tls: TlsMode::Off,
        admin_key: None,
        limits: Limits::default(),
    }
}

fn write_keys(folder: &RunFolder, endpoint: &Endpoint, ttl_seconds: u64) -> std::io::Result<()> {
    let life = i64::try_from(ttl_seconds + KEY_MARGIN_SECONDS).unwrap_or(i64::MAX / 4);
    let expires = jiff::Timestamp::now().as_second() + life;
    let key = run_key(&endpoint.key, &folder.run_id, expires);
    write_private(&folder.run_key(), key.expose().as_bytes())?;
    write_private(&folder.admin_key(), endpoint.key.expose().as_bytes())
}

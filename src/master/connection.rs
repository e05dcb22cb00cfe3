//! The run's orchestrator: one inside this process, one that answers elsewhere, or the owner's meta stack.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::home::{HomeError, RunFolder, write_private};
use super::interrupt::Interrupts;
use super::meta::{MetaError, Opened, Stack};
use super::prepare::Prepared;
use super::progress::Progress;
use super::record::{MetaFacts, OrchestratorRecord};
use super::source::OrchestratorSource;
use crate::api::RunId;
use crate::client::{Client, ClientError, Endpoint, Secret};
use crate::orchestrator::auth::{run_key, run_key_expiry};
use crate::orchestrator::storage::StorageTarget;
use crate::orchestrator::store::{Durability, StoreTarget};
use crate::orchestrator::{self, Limits, Running, ServerConfig, StartError, TlsMode};
use crate::terraform::{MetaOutputs, StateError};

/// A key outlives the run's own deadline by this much, seconds: late results still arrive, and the deadline of
/// hosts, which have their key for life, can be moved. It claims and reports for its run alone.
const KEY_MARGIN_SECONDS: u64 = 24 * 3600;

/// A run's orchestrator, from the moment at which its address and keys are known.
pub struct Connection {
    pub client: Client,
    pub record: OrchestratorRecord,
    /// The key that hosts and task runners are given.
    pub run_key: Secret,
    inside: Option<Running>,
    meta: Option<Opened>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Client(#[from] ClientError),
    // Boxed: it says a lot.
    #[error(transparent)]
    Meta(Box<MetaError>),
    #[error("could not keep the run's keys")]
    Keys(#[source] std::io::Error),
    #[error("could not tell the modules where the orchestrator is")]
    State(#[from] StateError),
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl From<MetaError> for ConnectionError {
    fn from(error: MetaError) -> ConnectionError {
        ConnectionError::Meta(Box::new(error))
    }
}

impl Connection {
    /// Finds out where the orchestrator is; it need not answer yet. Leaves the keys for runners and for other
    /// `bench` commands in 0600 files, and the state from which modules learn its address. `before` is where
    /// an earlier master of the run had it.
    pub async fn locate(
        folder: &RunFolder,
        prepared: &Prepared,
        before: Option<&OrchestratorRecord>,
        progress: &Arc<dyn Progress>,
        interrupts: &Interrupts,
    ) -> Result<Connection, ConnectionError> {
        let (mut inside, mut meta) = (None, None);
        let endpoint = match &prepared.orchestrator {
            OrchestratorSource::Answering(endpoint) => endpoint.clone(),
            OrchestratorSource::Inside => inside.insert(start_inside(folder, before).await?).endpoint(),
            OrchestratorSource::Meta(setup) => {
                let stack = Stack::new(setup.as_ref().clone(), progress.clone(), interrupts.clone());
                meta.insert(stack.open().await?).endpoint.clone()
            }
        };
        let client = Client::new(endpoint.clone())?;
        let run_key = keep_keys(folder, &endpoint, prepared.ttl_seconds).map_err(ConnectionError::Keys)?;
        let record = OrchestratorRecord {
            url: endpoint.url,
            pin: endpoint.pin.map(|pin| pin.to_string()),
            inside_master: inside.is_some(),
            meta: meta.as_ref().map(|opened| MetaFacts::of(&opened.record)),
        };
        let outputs = MetaOutputs {
            orchestrator_url: record.url.clone(),
            orchestrator_pin: record.pin.clone().unwrap_or_default(),
            // What a module reads of another state stands in its own: never the admin key.
            api_key: run_key.clone(),
        };
        outputs.write(&folder.meta_state())?;
        Ok(Connection { client, record, run_key, inside, meta })
    }

    /// Returns once the orchestrator answers.
    pub async fn ready(&self) -> Result<(), ConnectionError> {
        if let Some(opened) = &self.meta {
            opened.ready().await?;
        }
        Ok(self.client.up().await?)
    }

    /// Ends the orchestrator inside this process; one elsewhere stays.
    pub async fn close(self) {
        if let Some(running) = self.inside {
            running.shutdown().await;
        }
    }
}

/// Hosts of an earlier master know the address it had; where that is taken, any other will do.
async fn start_inside(
    folder: &RunFolder,
    before: Option<&OrchestratorRecord>,
) -> Result<Running, ConnectionError> {
    let port = before.filter(|record| record.inside_master).and_then(|record| {
        let url = reqwest::Url::parse(&record.url).ok()?;
        url.port()
    });
    if let Some(port) = port
        && let Ok(running) = orchestrator::start(server_config(folder, port)).await
    {
        return Ok(running);
    }
    Ok(orchestrator::start(server_config(folder, 0)).await?)
}

/// For `bench status` and `bench stop`: how to reach the orchestrator of a run whose master lives.
pub fn client_of(folder: &RunFolder, record: &OrchestratorRecord) -> Result<Client, ConnectionError> {
    Ok(Client::new(endpoint_of(folder, record)?)?)
}

/// Where a run's orchestrator was, with the key that is kept with the run.
pub fn endpoint_of(folder: &RunFolder, record: &OrchestratorRecord) -> Result<Endpoint, ConnectionError> {
    let key = fs_err::read_to_string(folder.admin_key()).map_err(ConnectionError::Keys)?;
    let pin = record.pin.as_deref().and_then(|pin| pin.parse().ok());
    Ok(Endpoint { url: record.url.clone(), key: Secret::new(key.trim()), pin })
}

/// On loopback (on any free port for port 0), over files in the run's folder. What it answers survives the end of the
/// process, not that of the machine: with the machine, the run is gone anyway.
fn server_config(folder: &RunFolder, port: u16) -> ServerConfig {
    ServerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        home: folder.orchestrator_home(),
        database: StoreTarget::Sqlite(folder.database()),
        durability: Durability::OsBuffered,
        storage: StorageTarget::Folder(folder.uploads()),
        tls: TlsMode::Off,
        admin_key: None,
        limits: Limits::default(),
    }
}

/// Writes the keys. The run's key of an earlier master stays while it lasts: hosts were made with it.
fn keep_keys(folder: &RunFolder, endpoint: &Endpoint, ttl_seconds: u64) -> std::io::Result<Secret> {
    write_private(&folder.admin_key(), endpoint.key.expose().as_bytes())?;
    let now = jiff::Timestamp::now().as_second();
    let kept = fs_err::read_to_string(folder.run_key()).ok().map(Secret::new);
    if let Some(kept) = kept.filter(|key| is_good_until(endpoint, key, &folder.run_id, now)) {
        return Ok(kept);
    }
    let life = i64::try_from(ttl_seconds + KEY_MARGIN_SECONDS).unwrap_or(i64::MAX / 4);
    let key = run_key(&endpoint.key, &folder.run_id, now + life);
    write_private(&folder.run_key(), key.expose().as_bytes())?;
    Ok(key)
}

fn is_good_until(endpoint: &Endpoint, key: &Secret, run_id: &RunId, time: i64) -> bool {
    let expires = run_key_expiry(key);
    expires.is_some_and(|expires| {
        expires > time && run_key(&endpoint.key, run_id, expires).expose() == key.expose()
    })
}

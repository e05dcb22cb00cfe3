//! An orchestrator for one test, clients for it, and what tests send again and again.

use std::io::Write as _;
use std::path::PathBuf;

use bench::api::{
    AssignedTask, ClaimRequest, ClaimResponse, CompleteRequest, CreateRun, Lease, RunId, TaskGroup, TaskId,
    TaskView, UploadRequest, Workload, WorkloadKind,
};
use bench::client::{Client, Endpoint, Secret};
use bench::orchestrator::storage::StorageTarget;
use bench::orchestrator::store::{Durability, StoreTarget};
use bench::orchestrator::{Limits, Running, ServerConfig, TlsMode, start};
use sha2::{Digest, Sha256};

pub struct Server {
    pub running: Running,
    pub home: tempfile::TempDir,
}

pub fn config(home: &std::path::Path) -> ServerConfig {
    ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        home: home.to_owned(),
        database: StoreTarget::Sqlite(home.join("orchestrator.db")),
        durability: Durability::OsBuffered,
        storage: StorageTarget::Folder(home.join("storage")),
        tls: TlsMode::Off,
        admin_key: None,
        limits: Limits::default(),
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Server {
        let home = tempfile::tempdir().unwrap();
        let mut config = config(home.path());
        change(&mut config);
        Server { running: start(config).await.unwrap(), home }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url())
    }

    /// The figures, as anybody on this machine may read them.
    pub async fn metrics(&self) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap()
    }

    pub fn admin(&self) -> Client {
        Client::new(self.running.endpoint()).unwrap()
    }

    pub fn run_key(&self, run: &str) -> Secret {
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        self.running.run_key(&run_id(run), expires)
    }

    /// A client that holds the run's key only, as a runner does.
    pub fn runner(&self, run: &str) -> Client {
        let endpoint = Endpoint { key: self.run_key(run), ..self.running.endpoint() };
        Client::new(endpoint).unwrap()
    }
}

pub fn run_id(text: &str) -> RunId {
    text.parse().unwrap()
}

pub fn create(run: &str, count: u32) -> CreateRun {
    CreateRun {
        run_id: run_id(run),
        workload: Workload { name: "test".into(), timeout_seconds: 60, kind: WorkloadKind::Mock },
        tasks: vec![TaskGroup {
            provider: "local".into(),
            instance_type: "process".into(),
            alias: "here".parse().unwrap(),
            count,
            unsettled: false,
        }],
        lease_seconds: 60,
        max_attempts: 4,
        max_failure_retries: 0,
        pending_timeout_seconds: 3600,
        seed: 1,
        results: bench::api::ResultsPolicy::Required,
    }
}

pub fn claim(runner: &str, wait_seconds: u32) -> ClaimRequest {
    ClaimRequest {
        provider: "local".into(),
        instance_type: "process".into(),
        alias: None,
        runner_id: runner.into(),
        host: Some("host".into()),
        request_id: None,
        wait_seconds,
    }
}

pub async fn claimed(client: &Client, run: &str, runner: &str) -> (AssignedTask, Lease) {
    match client.claim(&run_id(run), &claim(runner, 0)).await.unwrap() {
        ClaimResponse::Assigned { task, lease, .. } => (task, lease),
        other => panic!("no task: {other:?}"),
    }
}

/// A gzip'd tar with these files.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Announces and sends an archive; gives back its digest.
pub async fn upload(
    client: &Client,
    task: TaskId,
    fence: i64,
    bytes: &[u8],
) -> Result<String, bench::client::ClientError> {
    let (_folder, path) = file(bytes);
    let request = UploadRequest { fence, sha256: sha256(bytes), size: bytes.len() as u64 };
    let ticket = client.upload(task, &request).await?;
    client.send_result(&ticket, &path).await?;
    Ok(request.sha256)
}

pub fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.tar.gz");
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    (folder, path)
}

/// Claims, uploads and completes one task.
pub async fn finish_one(client: &Client, run: &str, text: &str) -> TaskView {
    let (task, lease) = claimed(client, run, "runner").await;
    let sha256 = upload(client, task.id, lease.fence, &archive(&[("output.txt", text)])).await.unwrap();
    let request = CompleteRequest { fence: lease.fence, sha256: Some(sha256) };
    client.complete(task.id, &request).await.unwrap()
}

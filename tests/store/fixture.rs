//! A store of its own for each test, with a clock the test moves.

use std::sync::Arc;
use std::time::Duration;

use bench::api::{
    AssignedTask, ClaimRequest, CompleteRequest, CreateRun, ErrorCode, FailKind, FailRequest,
    HeartbeatRequest, Lease, ReleaseRequest, RunId, TaskId, TaskView,
};
use bench::orchestrator::store::{
    Claimed, Durability, ManualClock, Options, Scope, Store, StoreError, StoreTarget, Upload, open,
};

/// 2026-11-20T10:15:00Z
const START_MS: i64 = 1_795_169_700_000;

pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    pub target: StoreTarget,
    /// Held for as long as the store may write to it.
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    pub async fn sqlite() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let target = StoreTarget::Sqlite(folder.path().join("orchestrator.db"));
        Fixture::over(target, Some(folder)).await
    }

    /// A database of its own on the tests' server; `None` where there is no PostgreSQL to start.
    pub async fn postgres() -> Option<Fixture> {
        let target = StoreTarget::Postgres(crate::server::shared()?.new_database());
        Some(Fixture::over(target, None).await)
    }

    /// A second orchestrator on the same database.
    pub async fn another(&self) -> Arc<dyn Store> {
        open(&self.target, self.options()).await.unwrap()
    }

    pub async fn over(target: StoreTarget, folder: Option<tempfile::TempDir>) -> Fixture {
        let clock = Arc::new(ManualClock::at(START_MS));
        let store = open(&target, options(&clock)).await.unwrap();
        Fixture { store, clock, target, _folder: folder }
    }

    pub fn options(&self) -> Options {
        options(&self.clock)
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(&self.target, self.options()).await.unwrap();
    }

    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub async fn create(&self, run: &CreateRun) -> RunId {
        self.store.create_run(run.clone()).await.unwrap();
        run.run_id.clone()
    }

    pub async fn claim(&self, run: &RunId, claim: ClaimRequest) -> (AssignedTask, Lease) {
        match self.store.claim(run, claim).await.unwrap() {
            Claimed::Assigned(task, lease) => (task, lease),
            other => panic!("expected a task, got {other:?}"),
        }
    }

    pub async fn beat(&self, task: TaskId, fence: i64) -> Result<(), StoreError> {
        let beat = HeartbeatRequest { fence, status: "measure".into(), progress: Some(0.5), message: None };
        self.store.heartbeat(Scope::Admin, task, beat).await.map(|_| ())
    }

    /// Uploads and verifies a result, then completes.
    pub async fn complete(&self, task: TaskId, fence: i64) -> Result<TaskView, StoreError> {
        self.store.record_upload(Scope::Admin, task, fence, upload('a', true)).await?;
        let request = CompleteRequest { fence, sha256: Some(digest('a')) };
        self.store.complete(Scope::Admin, task, request).await
    }

    pub async fn fail(&self, task: TaskId, fence: i64, kind: FailKind) -> Result<TaskView, StoreError> {
        let request = FailRequest { fence, error_type: kind, error_message: "it broke".into(), sha256: None };
        self.store.fail(Scope::Admin, task, request).await
    }

    pub async fn release(&self, task: TaskId, fence: i64) -> Result<TaskView, StoreError> {
        let request = ReleaseRequest { fence, reason: "sigterm".into() };
        self.store.release(Scope::Admin, task, request).await
    }
}

fn options(clock: &Arc<ManualClock>) -> Options {
    Options { durability: Durability::OsBuffered, clock: Some(clock.clone()) }
}

/// A run with these groups, all of provider `p` and type `t`: leases of 60 s, four attempts.
pub fn run(id: &str, groups: &[(&str, u32)]) -> CreateRun {
    let tasks: Vec<_> = groups
        .iter()
        .map(|(alias, count)| {
            serde_json::json!({"provider": "p", "instance_type": "t", "alias": alias, "count": count})
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "run_id": id,
        "workload": {"name": "w", "timeout_seconds": 60, "kind": "mock"},
        "tasks": tasks,
        "pending_timeout_seconds": 3600,
        "seed": 7,
    }))
    .unwrap()
}

/// A claim by `runner` on `host` for tasks of `alias`, with a request id of its own.
pub fn claim(runner: &str, host: &str, alias: Option<&str>) -> ClaimRequest {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let request = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ClaimRequest {
        provider: "p".into(),
        instance_type: "t".into(),
        alias: alias.map(|alias| alias.parse().unwrap()),
        runner_id: runner.into(),
        host: Some(host.into()),
        request_id: Some(format!("request-{request}")),
        wait_seconds: 0,
    }
}

pub fn digest(of: char) -> String {
    of.to_string().repeat(64)
}

pub fn upload(of: char, verified: bool) -> Upload {
    Upload { sha256: digest(of), size: 10, key: format!("results/{of}.tar.gz"), verified }
}

/// The code of a refusal; anything else fails the test.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> ErrorCode {
    match answer {
        Err(StoreError::Refused { code, .. }) => code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

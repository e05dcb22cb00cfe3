//! A store that keeps nothing: the baseline of the load benchmark.
//!
//! It answers claims, beats and completions at once with made-up leases, so what a load generator measures
//! against it is the HTTP handlers alone. Never use it for a run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::ready;
use tokio::sync::watch;

use crate::api::{
    Alias, AssignedTask, AttemptView, ClaimRequest, CompleteRequest, CreateRun, Deadline, ErrorCode, Event,
    FailRequest, HeartbeatRequest, HeartbeatResponse, HostEvent, HostView, Lease, ReleaseRequest, RunId,
    RunStatus, RunView, Settled, TaskCounts, TaskId, TaskState, TaskView, Workload, WorkloadKind,
};

use super::contract::{
    Claimed, LeaseInfo, Scope, Store, StoreError, StoreFuture, StoredResult, Swept, TaskPage, Upload,
};
use super::stats::StoreStats;

/// Life of the leases that it makes up, seconds.
const LEASE_SECONDS: i64 = 60;

#[derive(Debug)]
pub struct NullStore {
    next_task: AtomicI64,
    workload: Arc<Workload>,
    alias: Alias,
    run: RunId,
    events: watch::Sender<i64>,
    queue: watch::Sender<u64>,
    stats: StoreStats,
}

impl NullStore {
    pub fn new() -> NullStore {
        NullStore {
            next_task: AtomicI64::new(1),
            workload: Arc::new(Workload {
                name: "nothing".to_owned(),
                timeout_seconds: 60,
                kind: WorkloadKind::Mock,
            }),
            alias: "nothing".parse().expect("is an alias"),
            run: "nothing".parse().expect("is a run id"),
            events: watch::Sender::new(0),
            queue: watch::Sender::new(0),
            stats: StoreStats::default(),
        }
    }

    fn run_view(&self, run_id: RunId) -> RunView {
        RunView {
            run_id,
            status: RunStatus::Running,
            workload: (*self.workload).clone(),
            tasks: TaskCounts::default(),
            seed: 0,
            created_at: jiff::Timestamp::now(),
            finished_at: None,
        }
    }

    fn task_view(&self, id: TaskId, state: TaskState) -> TaskView {
        TaskView {
            id,
            run_id: self.run.clone(),
            provider: "nothing".to_owned(),
            instance_type: "nothing".to_owned(),
            alias: self.alias.clone(),
            number: 1,
            position: 0,
            state,
            attempts: 1,
            reason: None,
            error_message: None,
            runner_id: None,
            host: None,
            status: None,
            progress: None,
            message: None,
            last_beat_at: None,
        }
    }
}

impl Default for NullStore {
    fn default() -> NullStore {
        NullStore::new()
    }
}

fn expiry() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(LEASE_SECONDS)
}

#[async_trait]
impl Store for NullStore {
    async fn create_run(&self, run: CreateRun) -> Result<(RunView, bool), StoreError> {
        Ok((self.run_view(run.run_id), true))
    }

    async fn stop_run(&self, run: &RunId) -> Result<RunView, StoreError> {
        Ok(self.run_view(run.clone()))
    }

    async fn deadline(&self, _run: &RunId, later: Deadline) -> Result<Deadline, StoreError> {
        Ok(later)
    }

    async fn settle(&self, run: &RunId, _provider: &str, _settled: Settled) -> Result<RunView, StoreError> {
        Ok(self.run_view(run.clone()))
    }

    fn claim<'a>(&'a self, _run: &'a RunId, _claim: ClaimRequest) -> StoreFuture<'a, Claimed> {
        let task = AssignedTask {
            id: self.next_task.fetch_add(1, Ordering::Relaxed),
            alias: self.alias.clone(),
            number: 1,
            workload: self.workload.clone(),
        };
        let lease = Lease { attempt: 1, fence: 1, expires_at: expiry(), heartbeat_seconds: 15.0 };
        ready(Ok(Claimed::Assigned(task, lease))).boxed()
    }

    fn heartbeat(
        &self,
        _scope: Scope,
        _task: TaskId,
        _beat: HeartbeatRequest,
    ) -> StoreFuture<'_, HeartbeatResponse> {
        ready(Ok(HeartbeatResponse { expires_at: expiry() })).boxed()
    }

    async fn lease(&self, _scope: Scope, task: TaskId, fence: i64) -> Result<LeaseInfo, StoreError> {
        Ok(LeaseInfo {
            run_id: self.run.clone(),
            task_id: task,
            alias: self.alias.to_string(),
            number: 1,
            attempt: 1,
            fence,
            upload: None,
        })
    }

    async fn record_upload(
        &self,
        _scope: Scope,
        _task: TaskId,
        _fence: i64,
        _upload: Upload,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn complete(&self, _scope: Scope, task: TaskId, _request: CompleteRequest) -> StoreFuture<'_, TaskView> {
        ready(Ok(self.task_view(task, TaskState::Completed))).boxed()
    }

    async fn deliver(
        &self,
        scope: Scope,
        task: TaskId,
        _upload: Upload,
        request: CompleteRequest,
    ) -> Result<TaskView, StoreError> {
        self.complete(scope, task, request).await
    }

    async fn fail(&self, _scope: Scope, task: TaskId, _request: FailRequest) -> Result<TaskView, StoreError> {
        Ok(self.task_view(task, TaskState::Failed))
    }

    async fn release(
        &self,
        _scope: Scope,
        task: TaskId,
        _request: ReleaseRequest,
    ) -> Result<TaskView, StoreError> {
        Ok(self.task_view(task, TaskState::Pending))
    }

    async fn host_event(&self, _run: &RunId, _host: &str, _event: HostEvent) -> Result<(), StoreError> {
        Ok(())
    }

    async fn runner_gone(&self, _run: &RunId, _runner_id: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn run(&self, run: &RunId) -> Result<RunView, StoreError> {
        Ok(self.run_view(run.clone()))
    }

    async fn runs(&self) -> Result<Vec<RunView>, StoreError> {
        Ok(Vec::new())
    }

    async fn task(&self, task: TaskId) -> Result<TaskView, StoreError> {
        Ok(self.task_view(task, TaskState::Running))
    }

    async fn tasks(&self, _run: &RunId, _page: TaskPage) -> Result<Vec<TaskView>, StoreError> {
        Ok(Vec::new())
    }

    async fn attempts(&self, _task: TaskId) -> Result<Vec<AttemptView>, StoreError> {
        Ok(Vec::new())
    }

    async fn hosts(&self, _run: &RunId) -> Result<Vec<HostView>, StoreError> {
        Ok(Vec::new())
    }

    async fn results(&self, _run: &RunId) -> Result<Vec<StoredResult>, StoreError> {
        Ok(Vec::new())
    }

    async fn newest_upload(&self, _task: TaskId) -> Result<Option<Upload>, StoreError> {
        Ok(None)
    }

    async fn events(&self, _run: Option<&RunId>, _after: i64, _limit: u32) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn before_latest(&self, _run: &RunId, _count: u32) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn totals(&self) -> Result<TaskCounts, StoreError> {
        Ok(TaskCounts::default())
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }

    fn newest_event(&self) -> watch::Receiver<i64> {
        self.events.subscribe()
    }

    fn queue_changes(&self) -> watch::Receiver<u64> {
        self.queue.subscribe()
    }

    fn stats(&self) -> &StoreStats {
        &self.stats
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::refused(ErrorCode::BadRequest, "this store keeps nothing that could be backed up"))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}

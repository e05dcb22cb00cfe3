//! An orchestrator of one run, scripted by the test: it hands out tasks, keeps what comes back, and answers
//! as badly as it is told to. The real one never does on demand what these tests need.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use bench::api::*;
use serde_json::{Value, json};

#[derive(Default)]
pub struct Inner {
    pub run_exists: bool,
    pub queue: VecDeque<AssignedTask>,
    pub heartbeat_seconds: f64,
    /// Fences that are current, by task.
    pub leases: BTreeMap<TaskId, i64>,
    pub fences: i64,
    pub claims: Vec<ClaimRequest>,
    /// Answers by request id, so that a repeated claim gets the same lease.
    answered: BTreeMap<String, Value>,
    pub beats: Vec<HeartbeatRequest>,
    pub archives: BTreeMap<TaskId, Vec<u8>>,
    pub completed: Vec<(TaskId, CompleteRequest)>,
    pub failed: Vec<(TaskId, FailRequest)>,
    pub released: Vec<(TaskId, ReleaseRequest)>,
    pub gone: Vec<String>,
    /// The next so many requests of a kind get a 503 after they were carried out.
    pub trouble: BTreeMap<&'static str, u32>,
    /// The answer to every archive that is sent, and how many were.
    pub refuse_results: Option<(StatusCode, ErrorCode)>,
    pub results_sent: u32,
    /// With an empty queue: `wait` rather than `done`.
    pub keep_waiting: bool,
    /// Tasks come back to the queue when released or lost.
    pub tasks: BTreeMap<TaskId, AssignedTask>,
}

#[derive(Clone, Default)]
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
    address: Option<SocketAddr>,
}

pub fn task(id: TaskId, kind: WorkloadKind, timeout_seconds: u64) -> AssignedTask {
    let workload = Workload { name: "test".into(), timeout_seconds, kind };
    AssignedTask { id, alias: "here".parse().unwrap(), number: id as u32, workload: Arc::new(workload) }
}

pub fn shell(script: &str) -> CommandWorkload {
    CommandWorkload {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        setup: None,
        env: BTreeMap::new(),
        working_directory: None,
        repetitions: 1,
        warmup: 0,
        output: None,
    }
}

pub fn shell_task(id: TaskId, script: &str) -> AssignedTask {
    task(id, WorkloadKind::Command(shell(script)), 120)
}

impl Fake {
    /// Serves on a free port for as long as the test process lives.
    pub fn start(tasks: impl IntoIterator<Item = AssignedTask>) -> Fake {
        let mut fake = Fake::default();
        {
            let mut inner = fake.lock();
            inner.run_exists = true;
            inner.heartbeat_seconds = 15.0;
            inner.queue = tasks.into_iter().collect();
            inner.tasks = inner.queue.iter().map(|task| (task.id, task.clone())).collect();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        fake.address = Some(listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/v1/runs/{run}/tasks/claim", post(claim))
            .route("/api/v1/runs/{run}/runners/{runner}/gone", post(gone))
            .route("/api/v1/tasks/{task}/heartbeat", post(heartbeat))
            .route("/api/v1/tasks/{task}/upload", post(upload))
            .route("/api/v1/tasks/{task}/result", put(result))
            .route("/api/v1/tasks/{task}/complete", post(complete))
            .route("/api/v1/tasks/{task}/fail", post(fail))
            .route("/api/v1/tasks/{task}/release", post(release))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(fake.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        fake
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Takes a task away from whoever holds it.
    pub fn take_away(&self, task: TaskId) {
        let mut inner = self.lock();
        inner.fences += 1;
        let fence = inner.fences;
        inner.leases.insert(task, fence);
    }

    /// A runner of the real binary, ended with the value.
    pub fn runner(&self, more: &[&str]) -> Runner {
        self.runner_with(more, &[])
    }

    pub fn runner_with(&self, more: &[&str], variables: &[(&str, &str)]) -> Runner {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(["runner", "--output", "json", "--orchestrator-url"]);
        command.arg(format!("http://{}", self.address.unwrap()));
        command.args(["--run-id", "test-run", "--provider", "local", "--instance-type", "process"]);
        command.args(["--alias", "here", "--runner-id", "runner-1", "--kill-grace-seconds", "0.5"]);
        command.args(more).env("BENCH_RUN_KEY", "secret-run-key").env("BENCH_LOG", "off");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Runner { child: command.spawn().unwrap() }
    }

    /// The files of a task's archive.
    pub fn files(&self, task: TaskId) -> BTreeMap<String, String> {
        let archive = self.lock().archives.get(&task).cloned().expect("the task left an archive");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), text)
        };
        tar.entries().unwrap().map(read).collect()
    }

    pub fn output(&self, task: TaskId) -> TaskOutput {
        serde_json::from_str(&self.files(task)["output.json"]).unwrap()
    }
}

pub struct Runner {
    pub child: Child,
}

impl Runner {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Its exit code and its summary.
    pub fn finish(&mut self) -> (Option<i32>, Value) {
        let status = wait_for("the runner's end", || self.child.try_wait().unwrap());
        let mut text = String::new();
        std::io::Read::read_to_string(self.child.stdout.as_mut().unwrap(), &mut text).unwrap();
        (status.code(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn refuse(status: StatusCode, code: ErrorCode) -> Response {
    let body = ErrorBody { code, message: "as the test wants it".into(), request_id: None };
    (status, Json(body)).into_response()
}

impl Inner {
    /// The answer, unless the script has trouble for this kind of request.
    fn answer(&mut self, kind: &'static str, answer: impl IntoResponse) -> Response {
        match self.trouble.get_mut(kind) {
            Some(left) if *left > 0 => {
                *left -= 1;
                refuse(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable)
            }
            _ => answer.into_response(),
        }
    }

    fn is_current(&self, task: TaskId, fence: i64) -> bool {
        self.leases.get(&task) == Some(&fence)
    }
}

fn stale() -> Response {
    refuse(StatusCode::CONFLICT, ErrorCode::StaleFence)
}

async fn claim(State(fake): State<Fake>, Json(request): Json<ClaimRequest>) -> Response {
    let mut inner = fake.lock();
    inner.claims.push(request.clone());
    if !inner.run_exists {
        return refuse(StatusCode::NOT_FOUND, ErrorCode::NotFound);
    }
    let id = request.request_id.unwrap();
    if let Some(known) = inner.answered.get(&id).cloned() {
        return inner.answer("claim", Json(known));
    }
    let answer = match inner.queue.pop_front() {
        Some(task) => {
            inner.fences += 1;
            let fence = inner.fences;
            inner.leases.insert(task.id, fence);
            let expires_at = jiff::Timestamp::now();
            let heartbeat_seconds = inner.heartbeat_seconds;
            let lease = Lease { attempt: 1, fence, expires_at, heartbeat_seconds };
            serde_json::to_value(ClaimResponse::Assigned { task, lease, deliver_bytes: None }).unwrap()
        }
        None if inner.keep_waiting => json!({"status": "wait", "retry_after_seconds": 0.05}),
        None => json!({"status": "done"}),
    };
    inner.answered.insert(id, answer.clone());
    inner.answer("claim", Json(answer))
}

async fn gone(State(fake): State<Fake>, Path((_, runner)): Path<(String, String)>) -> Response {
    fake.lock().gone.push(runner);
    StatusCode::NO_CONTENT.into_response()
}

async fn heartbeat(
    State(fake): State<Fake>,
    Path(task): Path<TaskId>,
    Json(request): Json<HeartbeatRequest>,
) -> Response {
    let mut inner = fake.lock();
    if !inner.is_current(task, request.fence) {
        return stale();
    }
    inner.beats.push(request);
    inner.answer("heartbeat", Json(HeartbeatResponse { expires_at: jiff::Timestamp::now() }))
}

async fn upload(
    State(fake): State<Fake>,
    Path(task): Path<TaskId>,
    Json(request): Json<UploadRequest>,
) -> Response {
    let mut inner = fake.lock();
    if !inner.is_current(task, request.fence) {
        return stale();
    }
    let url = format!("/api/v1/tasks/{task}/result");
    inner.answer("upload", Json(UploadTicket { method: "PUT".into(), url, headers: BTreeMap::new() }))
}

async fn result(State(fake): State<Fake>, Path(task): Path<TaskId>, body: Bytes) -> Response {
    let mut inner = fake.lock();
    inner.results_sent += 1;
    if let Some((status, code)) = inner.refuse_results {
        return refuse(status, code);
    }
    inner.archives.insert(task, body.to_vec());
    inner.answer("result", StatusCode::NO_CONTENT)
}

fn view(task: TaskId, state: TaskState) -> Json<Value> {
    Json(json!({
        "id": task, "run_id": "test-run", "provider": "local", "instance_type": "process",
        "alias": "here", "number": 1, "position": 0, "state": state, "attempts": 1,
    }))
}

async fn complete(
    State(fake): State<Fake>,
    Path(task): Path<TaskId>,
    Json(request): Json<CompleteRequest>,
) -> Response {
    let mut inner = fake.lock();
    if !inner.is_current(task, request.fence) {
        return stale();
    }
    if inner.completed.iter().all(|(known, _)| *known != task) {
        inner.completed.push((task, request));
    }
    inner.answer("complete", view(task, TaskState::Completed))
}

async fn fail(
    State(fake): State<Fake>,
    Path(task): Path<TaskId>,
    Json(request): Json<FailRequest>,
) -> Response {
    let mut inner = fake.lock();
    if !inner.is_current(task, request.fence) {
        return stale();
    }
    inner.failed.push((task, request));
    inner.answer("fail", view(task, TaskState::Failed))
}

async fn release(
    State(fake): State<Fake>,
    Path(task): Path<TaskId>,
    Json(request): Json<ReleaseRequest>,
) -> Response {
    let mut inner = fake.lock();
    if !inner.is_current(task, request.fence) {
        return stale();
    }
    inner.released.push((task, request));
    inner.leases.remove(&task);
    let task_again = inner.tasks[&task].clone();
    inner.queue.push_back(task_again);
    view(task, TaskState::Pending).into_response()
}

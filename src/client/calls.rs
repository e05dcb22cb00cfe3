//! The JSON calls of the API, one method each.

use std::time::Duration;

use reqwest::Method;

use super::transport::{CALL_TIMEOUT, send};
use super::{Client, ClientError};
use crate::api::{
    AttemptView, ClaimRequest, ClaimResponse, CompleteRequest, CreateRun, Deadline, FailRequest,
    HeartbeatRequest, HeartbeatResponse, HostEvent, HostView, ReleaseRequest, RunId, RunView, Settled,
    TaskId, TaskView, UploadRequest, UploadTicket,
};

/// Rows asked for at once; the orchestrator's own limit is the same.
const TASKS_PER_PAGE: usize = 1000;
/// Creating a run of a million tasks takes a while.
const CREATE_TIMEOUT: Duration = Duration::from_secs(300);
/// Checking a large stored archive happens inside `complete` and `fail`.
const FINISH_TIMEOUT: Duration = Duration::from_secs(600);

/// What the master asks.
impl Client {
    /// Whether the orchestrator answers (`GET /up`).
    pub async fn up(&self) -> Result<(), ClientError> {
        let request = self.request(Method::GET, self.page("up")).timeout(CALL_TIMEOUT);
        send("use the orchestrator", request).await.map(drop)
    }

    /// Whether the orchestrator can carry out requests (`GET /ready`). Gives its version, where it tells.
    pub async fn ready(&self) -> Result<Option<String>, ClientError> {
        let request = self.request(Method::GET, self.page("ready")).timeout(CALL_TIMEOUT);
        let answer = send("use the orchestrator", request).await?;
        let server = answer.headers().get(reqwest::header::SERVER).and_then(|value| value.to_str().ok());
        Ok(server.and_then(|text| text.strip_prefix("bench/")).map(str::to_owned))
    }

    /// Creates the run, or finds it where the same specification was sent before.
    pub async fn create_run(&self, run: &CreateRun) -> Result<RunView, ClientError> {
        self.post("create the run", self.api(&["runs"]), run, CREATE_TIMEOUT).await
    }

    pub async fn run(&self, run: &RunId) -> Result<RunView, ClientError> {
        self.get("read the run", self.api(&["runs", run.as_str()])).await
    }

    /// Newest first.
    pub async fn runs(&self) -> Result<Vec<RunView>, ClientError> {
        self.get("list the runs", self.api(&["runs"])).await
    }

    /// Cancels every task of the run that has not ended.
    pub async fn stop_run(&self, run: &RunId) -> Result<RunView, ClientError> {
        let url = self.api(&["runs", run.as_str(), "stop"]);
        self.post("stop the run", url, &serde_json::json!({}), CALL_TIMEOUT).await
    }

    /// Says that no host of the provider instance is being made any more.
    pub async fn settle(
        &self,
        run: &RunId,
        provider: &str,
        settled: &Settled,
    ) -> Result<RunView, ClientError> {
        let url = self.api(&["runs", run.as_str(), "providers", provider, "settled"]);
        self.post("say that a provider instance has settled", url, settled, CALL_TIMEOUT).await
    }

    /// All tasks of the run by id; asks page by page.
    pub async fn tasks(&self, run: &RunId) -> Result<Vec<TaskView>, ClientError> {
        let mut tasks: Vec<TaskView> = Vec::new();
        loop {
            let after = tasks.last().map_or(0, |task| task.id);
            let mut url = self.api(&["runs", run.as_str(), "tasks"]);
            url.query_pairs_mut()
                .append_pair("after", &after.to_string())
                .append_pair("limit", &TASKS_PER_PAGE.to_string());
            let page: Vec<TaskView> = self.get("list the tasks", url).await?;
            let last = page.len() < TASKS_PER_PAGE;
            tasks.extend(page);
            if last {
                return Ok(tasks);
            }
        }
    }

    pub async fn task(&self, task: TaskId) -> Result<TaskView, ClientError> {
        self.get("read the task", self.task_url(task, None)).await
    }

    /// Every time the task was handed out, oldest first.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, ClientError> {
        self.get("read the task's attempts", self.task_url(task, Some("attempts"))).await
    }

    pub async fn hosts(&self, run: &RunId) -> Result<Vec<HostView>, ClientError> {
        self.get("list the hosts", self.api(&["runs", run.as_str(), "hosts"])).await
    }

    /// Moves the deadline of the run's hosts, and answers with it.
    pub async fn move_deadline(&self, run: &RunId, later: Deadline) -> Result<Deadline, ClientError> {
        let url = self.api(&["runs", run.as_str(), "deadline"]);
        self.post("move the deadline of the run's hosts", url, &later, CALL_TIMEOUT).await
    }
}

/// What runners and hosts say.
impl Client {
    /// Asks for a task. Waits up to `wait_seconds` for one, and a margin for the answer to arrive. After an
    /// error that is transient, ask again with the same `request_id`: the answer is the same lease.
    pub async fn claim(&self, run: &RunId, claim: &ClaimRequest) -> Result<ClaimResponse, ClientError> {
        const MARGIN: Duration = Duration::from_secs(15);
        let url = self.api(&["runs", run.as_str(), "tasks", "claim"]);
        let timeout = Duration::from_secs(claim.wait_seconds.into()) + MARGIN;
        self.post("claim a task", url, claim, timeout).await
    }

    pub async fn heartbeat(
        &self,
        task: TaskId,
        beat: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, ClientError> {
        self.post("send a heartbeat", self.task_url(task, Some("heartbeat")), beat, CALL_TIMEOUT).await
    }

    /// Announces a result archive; [`Client::send_result`] then carries the ticket out.
    pub async fn upload(&self, task: TaskId, request: &UploadRequest) -> Result<UploadTicket, ClientError> {
        self.post("announce the result", self.task_url(task, Some("upload")), request, CALL_TIMEOUT).await
    }

    pub async fn complete(&self, task: TaskId, request: &CompleteRequest) -> Result<TaskView, ClientError> {
        self.post("complete the task", self.task_url(task, Some("complete")), request, FINISH_TIMEOUT).await
    }

    pub async fn fail(&self, task: TaskId, request: &FailRequest) -> Result<TaskView, ClientError> {
        self.post("report the failed task", self.task_url(task, Some("fail")), request, FINISH_TIMEOUT).await
    }

    /// Gives the task back unspent.
    pub async fn release(&self, task: TaskId, request: &ReleaseRequest) -> Result<TaskView, ClientError> {
        self.post("release the task", self.task_url(task, Some("release")), request, CALL_TIMEOUT).await
    }

    /// A runner's goodbye.
    pub async fn runner_gone(&self, run: &RunId, runner_id: &str) -> Result<(), ClientError> {
        let url = self.api(&["runs", run.as_str(), "runners", runner_id, "gone"]);
        self.post_empty("say goodbye", url, None::<&()>).await
    }

    pub async fn host_event(&self, run: &RunId, host: &str, event: &HostEvent) -> Result<(), ClientError> {
        let url = self.api(&["runs", run.as_str(), "hosts", host, "events"]);
        self.post_empty("report a host's progress", url, Some(event)).await
    }

    fn task_url(&self, task: TaskId, call: Option<&str>) -> reqwest::Url {
        let id = task.to_string();
        let mut segments = vec!["tasks", id.as_str()];
        segments.extend(call);
        self.api(&segments)
    }
}

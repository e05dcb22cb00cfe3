//! Result archives: sent by runners, fetched by the master, never held in memory.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Method};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::transport::{CALL_TIMEOUT, json, send, shown, unless_silent};
use super::{Client, ClientError};
use crate::api::{CompleteRequest, RunId, TaskId, TaskView, UploadTicket};

/// An upload slower than this is taken for stuck, bytes per second.
const SLOWEST_UPLOAD: u64 = 64 << 10;
const CHUNK_BYTES: usize = 256 << 10;

/// Whether it has a program, the orchestrator knows once it has read its own, which a small machine that is just
/// starting does slowly.
const LOOK_TIMEOUT: Duration = Duration::from_secs(120);

impl Client {
    /// Makes the request on the ticket with the file as its body. To object storage it goes word for word;
    /// to this orchestrator the key is added.
    pub async fn send_result(&self, ticket: &UploadTicket, file: &Path) -> Result<(), ClientError> {
        let failed = |source| ClientError::File { what: "read the result", path: file.to_owned(), source };
        let opened = tokio::fs::File::open(file).await.map_err(failed)?;
        let size = opened.metadata().await.map_err(failed)?.len();
        let stream = ReaderStream::with_capacity(opened, CHUNK_BYTES);
        self.send_body(ticket, Body::wrap_stream(stream), size).await
    }

    /// As [`Client::send_result`], of an archive that is held in memory.
    pub async fn send_held_result(&self, ticket: &UploadTicket, archive: Bytes) -> Result<(), ClientError> {
        let size = archive.len() as u64;
        self.send_body(ticket, archive.into(), size).await
    }

    async fn send_body(&self, ticket: &UploadTicket, body: Body, size: u64) -> Result<(), ClientError> {
        const WHAT: &str = "upload the result";
        let url = self.resolve(&ticket.url)?;
        let bad =
            |detail: String| ClientError::BadAnswer { what: WHAT, url: shown(&url), status: 200, detail };
        let method = Method::from_bytes(ticket.method.as_bytes())
            .map_err(|source| bad(format!("the ticket's method: {source}")))?;
        let mut request = self
            .request_anywhere(method, url.clone())?
            .timeout(Duration::from_secs(120 + size / SLOWEST_UPLOAD));
        for (name, value) in &ticket.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|source| bad(format!("the ticket's header `{name}`: {source}")))?;
            let value = HeaderValue::from_str(value)
                .map_err(|source| bad(format!("the ticket's header `{name}`: {source}")))?;
            if name != CONTENT_LENGTH {
                request = request.header(name, value);
            }
        }
        send(WHAT, request.header(CONTENT_LENGTH, size).body(body)).await.map(drop)
    }

    /// Sends a small result and completes its task in one call; `deliver_bytes` of the claim says how small. After
    /// an error that is transient, send it again: the answer is the same.
    pub async fn deliver(
        &self,
        task: TaskId,
        request: &CompleteRequest,
        archive: Bytes,
    ) -> Result<TaskView, ClientError> {
        let mut url = self.api(&["tasks", &task.to_string(), "result"]);
        url.query_pairs_mut()
            .append_pair("fence", &request.fence.to_string())
            .append_pair("complete", "true");
        if let Some(sha256) = &request.sha256 {
            url.query_pairs_mut().append_pair("sha256", sha256);
        }
        let request = self.request(Method::PUT, url).header(CONTENT_TYPE, "application/gzip").body(archive);
        json("deliver the result", request.timeout(CALL_TIMEOUT)).await
    }

    /// Makes sure that hosts can fetch the program with this SHA-256: asks, and sends the file where it is missing.
    pub async fn offer_program(&self, sha256: &str, file: &Path) -> Result<(), ClientError> {
        const WHAT: &str = "send the task runner's program";
        let url = self.api(&["binaries", sha256]);
        let there = send(WHAT, self.request(Method::HEAD, url.clone()).timeout(LOOK_TIMEOUT)).await;
        match there {
            Ok(_) => return Ok(()),
            // An answer to HEAD has no body to understand.
            Err(ClientError::BadAnswer { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        let failed = |source| ClientError::File { what: "read the program", path: file.to_owned(), source };
        let opened = tokio::fs::File::open(file).await.map_err(failed)?;
        let size = opened.metadata().await.map_err(failed)?.len();
        let request =
            self.request(Method::PUT, url).timeout(Duration::from_secs(120 + size / SLOWEST_UPLOAD));
        let stream = ReaderStream::with_capacity(opened, CHUNK_BYTES);
        send(WHAT, request.header(CONTENT_LENGTH, size).body(Body::wrap_stream(stream))).await.map(drop)
    }

    /// Streams `results.tar.gz` of the run into a file beside `to`, which takes its place when complete.
    pub async fn download_results(&self, run: &RunId, to: &Path) -> Result<(), ClientError> {
        const WHAT: &str = "download the results";
        let failed = |source| ClientError::File { what: "write the results", path: to.to_owned(), source };
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".results-")
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(failed)?;

        let url = self.api(&["runs", run.as_str(), "results.tar.gz"]);
        let answer = send(WHAT, self.request(Method::GET, url.clone())).await?;
        let mut file = tokio::fs::File::from_std(temporary.reopen().map_err(failed)?);
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = unless_silent(WHAT, url.as_str(), chunks.try_next()).await? {
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        temporary.persist(to).map_err(|refused| failed(refused.error))?;
        Ok(())
    }

    /// The end of `output.txt` of the task's newest upload, at most `bytes` of it.
    pub async fn task_log(&self, task: TaskId, bytes: u64) -> Result<String, ClientError> {
        const WHAT: &str = "read the task's log";
        let mut url = self.api(&["tasks", &task.to_string(), "log"]);
        url.query_pairs_mut().append_pair("bytes", &bytes.to_string());
        let shown = shown(&url);
        let answer = send(WHAT, self.request(Method::GET, url).timeout(CALL_TIMEOUT)).await?;
        answer.text().await.map_err(|source| ClientError::of_exchange(WHAT, &shown, source))
    }
}

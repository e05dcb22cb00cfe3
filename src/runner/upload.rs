//! Tells the orchestrator how a task ended: the archive first, then the word. What is not answered is tried
//! again; what is refused is kept.

use std::path::Path;
use std::time::Duration;

use super::archive::{Archive, Content};
use super::retry::Backoff;
use super::task::{TaskEnd, chain};
use super::text;
use crate::api::{CompleteRequest, ErrorCode, FailKind, FailRequest, TaskId, UploadRequest};
use crate::client::{Client, ClientError};

/// So often a ticket may be refused, or a stored archive be gone, before the task is given up as failed.
const MOST_REPAIRS: u32 = 3;
/// So often the orchestrator may fail at one request by its own fault (a full disk, say). With the pauses
/// between, that is about half a minute; an orchestrator that does not answer at all is waited for as long as the
/// lease lives.
const MOST_FAULTS: u32 = 8;

/// What the orchestrator made of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reported {
    Completed,
    Failed,
    /// It is not this runner's task any more.
    Lost,
}

/// One attempt's way of reporting.
pub(super) struct Report<'a> {
    pub client: &'a Client,
    pub task: TaskId,
    pub fence: i64,
    /// As the claim's answer said.
    pub deliver_bytes: Option<u64>,
    /// Folder for results that the orchestrator does not take.
    pub undelivered: Option<&'a Path>,
}

impl Report<'_> {
    /// Uploads and reports. Returns only with an answer; drop it when the lease is lost.
    pub(super) async fn send(&self, end: &TaskEnd) -> Reported {
        match end {
            TaskEnd::Halted => Reported::Lost,
            TaskEnd::Completed(archive) => self.completed(archive).await,
            TaskEnd::Failed { kind, message, archive } => {
                let stored = match archive {
                    Some(archive) => match self.upload(archive).await {
                        Ok(()) => Some(archive.sha256.clone()),
                        Err(error) if is_lost(&error) => return Reported::Lost,
                        Err(error) => {
                            let kept = self.keep(archive);
                            tracing::warn!(
                                error = chain(&error),
                                "a failed task's output was not stored{kept}"
                            );
                            None
                        }
                    },
                    None => None,
                };
                self.fail(*kind, message, stored).await
            }
        }
    }

    async fn completed(&self, archive: &Archive) -> Reported {
        let request = CompleteRequest { fence: self.fence, sha256: Some(archive.sha256.clone()) };
        let refused = match self.deliver(archive, &request).await {
            Some(Ok(())) => return Reported::Completed,
            Some(Err(error)) if is_lost(&error) || error.code() == Some(ErrorCode::BadResult) => error,
            _ => match self.upload_and_complete(archive, &request).await {
                Ok(()) => return Reported::Completed,
                Err(error) => error,
            },
        };
        if is_lost(&refused) {
            return Reported::Lost;
        }
        let message = format!("the results were not taken: {}{}", chain(&refused), self.keep(archive));
        tracing::warn!(task = self.task, "{message}");
        self.fail(FailKind::Output, &message, None).await
    }

    /// Sends and completes in one call, where the archive is small enough for that.
    async fn deliver(&self, archive: &Archive, request: &CompleteRequest) -> Option<Result<(), ClientError>> {
        let Content::Held(bytes) = &archive.content else { return None };
        if self.deliver_bytes.is_none_or(|most| archive.size > most) {
            return None;
        }
        Some(persist(|| self.client.deliver(self.task, request, bytes.clone())).await.map(drop))
    }

    async fn upload_and_complete(
        &self,
        archive: &Archive,
        request: &CompleteRequest,
    ) -> Result<(), ClientError> {
        let mut repairs = 0;
        loop {
            self.upload(archive).await?;
            match persist(|| self.client.complete(self.task, request)).await {
                Ok(_) => return Ok(()),
                // What was sent is not there any more: it is sent again.
                Err(error) if error.code() == Some(ErrorCode::ResultMissing) && repairs < MOST_REPAIRS => {
                    repairs += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies what the orchestrator does not take to where it outlives this runner, and says where.
    fn keep(&self, archive: &Archive) -> String {
        let Some(folder) = self.undelivered else { return String::new() };
        let place = folder.join(format!("task-{}-{}.tar.gz", self.task, self.fence));
        let kept = fs_err::create_dir_all(folder).and_then(|()| match &archive.content {
            Content::Held(bytes) => fs_err::write(&place, bytes),
            Content::File(path) => fs_err::copy(path, &place).map(drop),
        });
        match kept {
            Ok(()) => format!("; they are kept in {}", place.display()),
            Err(error) => format!("; they could not be kept either: {error}"),
        }
    }

    async fn fail(&self, error_type: FailKind, message: &str, sha256: Option<String>) -> Reported {
        let error_message = text::failure(message);
        let request = FailRequest { fence: self.fence, error_type, error_message, sha256 };
        match persist(|| self.client.fail(self.task, &request)).await {
            Ok(_) => Reported::Failed,
            Err(error) => {
                tracing::warn!(task = self.task, error = chain(&error), "the failure was refused");
                Reported::Lost
            }
        }
    }

    /// Announces and sends the archive; what goes wrong on the way is tried again with a new ticket.
    async fn upload(&self, archive: &Archive) -> Result<(), ClientError> {
        let request = UploadRequest { fence: self.fence, sha256: archive.sha256.clone(), size: archive.size };
        let mut backoff = backoff();
        let (mut refusals, mut faults) = (0, 0);
        loop {
            let ticket = persist(|| self.client.upload(self.task, &request)).await?;
            let sent = match &archive.content {
                Content::Held(bytes) => self.client.send_held_result(&ticket, bytes.clone()).await,
                Content::File(path) => self.client.send_result(&ticket, path).await,
            };
            let error = match sent {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // An expired ticket looks like a refusal, and a new one mends it. What was sent whole and found bad
            // stays bad.
            refusals += u32::from(!error.is_transient());
            faults += u32::from(error.is_fault());
            let is_bad = error.code() == Some(ErrorCode::BadResult);
            let gives_up = is_lost(&error) || is_bad || matches!(error, ClientError::File { .. });
            if gives_up || refusals > MOST_REPAIRS || faults > MOST_FAULTS {
                return Err(error);
            }
            tracing::warn!(
                task = self.task,
                error = chain(&error),
                "the upload failed; asking for a new ticket"
            );
            tokio::time::sleep(backoff.pause(error.retry_after())).await;
        }
    }
}

/// Repeats a call until there is an answer that a repetition would not change, or the orchestrator has had its
/// time to mend itself.
pub(super) async fn persist<T, F>(mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut backoff = backoff();
    let mut faults = 0;
    loop {
        match call().await {
            Err(error) if error.is_transient() && faults < MOST_FAULTS => {
                faults += u32::from(error.is_fault());
                tracing::warn!(error = chain(&error), "no answer yet; trying again");
                tokio::time::sleep(backoff.pause(error.retry_after())).await;
            }
            answer => return answer,
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
}

/// The task went to somebody else, or its run is over.
fn is_lost(error: &ClientError) -> bool {
    use ErrorCode::{Forbidden, NotFound, RunEnded, StaleFence, Unauthorized};
    matches!(error.code(), Some(StaleFence | RunEnded | NotFound | Forbidden | Unauthorized))
}

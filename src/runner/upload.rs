//! Tells the orchestrator how a task ended: the archive first, then the word. Tried until answered.

use std::time::Duration;

use super::archive::Archive;
use super::retry::Backoff;
use super::task::{TaskEnd, chain};
use crate::api::{CompleteRequest, ErrorCode, FailKind, FailRequest, TaskId, UploadRequest};
use crate::client::{Client, ClientError};

/// So often a stored archive may turn out damaged before the task is given up as failed.
const MOST_REPAIRS: u32 = 3;

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
                            tracing::warn!(error = chain(&error), "a failed task's output was not stored");
                            None
                        }
                    },
                    None => None,
                };
                self.fail(*kind, message.clone(), stored).await
            }
        }
    }

    async fn completed(&self, archive: &Archive) -> Reported {
        let request = CompleteRequest { fence: self.fence, sha256: Some(archive.sha256.clone()) };
        let mut last = String::new();
        for _ in 0..MOST_REPAIRS {
            if let Err(error) = self.upload(archive).await {
                if is_lost(&error) {
                    return Reported::Lost;
                }
                last = chain(&error);
                continue;
            }
            match persist(|| self.client.complete(self.task, &request)).await {
                Ok(_) => return Reported::Completed,
                Err(error)
                    if matches!(error.code(), Some(ErrorCode::BadResult | ErrorCode::ResultMissing)) =>
                {
                    last = chain(&error);
                }
                Err(error) => {
                    tracing::warn!(task = self.task, error = chain(&error), "the result was refused");
                    return Reported::Lost;
                }
            }
        }
        let message = format!("the result could not be stored: {last}");
        self.fail(FailKind::Runner, message, None).await
    }

    async fn fail(&self, error_type: FailKind, error_message: String, sha256: Option<String>) -> Reported {
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
        let mut refusals = 0;
        loop {
            let ticket = persist(|| self.client.upload(self.task, &request)).await?;
            let error = match self.client.send_result(&ticket, &archive.path).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // An expired ticket looks like a refusal, and a new one mends it.
            refusals += u32::from(!error.is_transient());
            if is_lost(&error) || matches!(error, ClientError::File { .. }) || refusals > MOST_REPAIRS {
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

/// Repeats a call until there is an answer that a repetition would not change.
pub(super) async fn persist<T, F>(mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut backoff = backoff();
    loop {
        match call().await {
            Err(error) if error.is_transient() => {
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

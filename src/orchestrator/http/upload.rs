//! Result archives on their way in: announced, sent, checked, recorded.

use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use utoipa::IntoParams;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, Params, RawBytes, TaskPath, collect};
use crate::api::{CompleteRequest, ErrorCode, TaskId, TaskView, UploadRequest, UploadTicket};
use crate::orchestrator::archive::{self, BadArchive};
use crate::orchestrator::listener::Peer;
use crate::orchestrator::patience::Patience;
use crate::orchestrator::storage::{
    Archive, FolderStorage, MOST_OBJECT_BYTES, Staged, Storage, StorageError, storage_key,
};
use crate::orchestrator::store::{Scope, Upload};

/// Announces an archive and gets the request to send it with, signed now where storage is elsewhere.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/upload", tag = "runner",
    params(("id" = i64, Path)), request_body = UploadRequest, responses(
    (status = 200, description = "The request to make, word for word", body = UploadTicket),
))]
pub async fn announce_upload(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    JsonBody(request): JsonBody<UploadRequest>,
) -> Result<Json<UploadTicket>, Refusal> {
    check_digest(&request.sha256)?;
    check_size(&app, request.size)?;
    let lease = app.store.lease(caller.scope(), task, request.fence).await?;
    let key = storage_key(&lease, &request.sha256);
    let known = lease.upload.is_some_and(|upload| upload.verified && upload.sha256 == request.sha256);
    if !known {
        let upload =
            Upload { sha256: request.sha256.clone(), size: request.size, key: key.clone(), verified: false };
        app.store.record_upload(caller.scope(), task, request.fence, upload).await?;
    }
    Ok(Json(match &*app.storage {
        Storage::Folder(_) => UploadTicket {
            method: "PUT".to_owned(),
            url: format!("/api/v1/tasks/{task}/result?fence={}", request.fence),
            headers: [("content-type".to_owned(), "application/gzip".to_owned())].into(),
        },
        Storage::S3(s3) => counted(&app, s3.ticket(&key, &request).await)?,
    }))
}

fn check_digest(sha256: &str) -> Result<(), Refusal> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if sha256.len() != 64 || !sha256.bytes().all(digits) {
        return Err(Refusal::bad_request("`sha256` is 64 lower-case hexadecimal digits"));
    }
    Ok(())
}

fn check_size(app: &App, size: u64) -> Result<(), Refusal> {
    if size == 0 {
        return Err(Refusal::bad_request("`size` is at least 1: an empty file is no archive"));
    }
    let most = match &*app.storage {
        Storage::Folder(_) => app.limits.upload_bytes,
        Storage::S3(_) => app.limits.upload_bytes.min(MOST_OBJECT_BYTES),
    };
    if size > most {
        let message = format!("a result has at most {most} bytes");
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

/// Up to here an archive is taken in memory: most results are a few kilobytes.
const SMALL_BYTES: u64 = 256 << 10;

/// How large a result may be that is sent without having been announced.
pub fn deliver_bytes(app: &App) -> Option<u64> {
    match &*app.storage {
        Storage::Folder(_) => Some(SMALL_BYTES.min(app.limits.upload_bytes)),
        Storage::S3(_) => None,
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ResultQuery {
    fence: i64,
    /// The archive's digest. With it, an archive of up to `deliver_bytes` (see the answer to a claim) needs no
    /// announcement.
    #[param(pattern = "^[0-9a-f]{64}$")]
    sha256: Option<String>,
    /// Completes the task with the archive; needs `sha256`.
    #[serde(default)]
    complete: bool,
}

/// Takes an archive, where results are kept in a folder. It is checked before it counts. It was announced, or
/// is small and comes with its `sha256`; then the same call may complete the task, and the same call again
/// answers as the first time.
#[utoipa::path(put, path = "/api/v1/tasks/{id}/result", tag = "runner",
    params(("id" = i64, Path), ResultQuery),
    request_body(content = RawBytes, content_type = "application/gzip", description = "gzip'd tar"),
    responses(
        (status = 200, description = "The archive was kept, and the task is completed", body = TaskView),
        (status = 204, description = "The archive was checked and kept"),
    ))]
pub async fn receive_result(
    State(app): State<Arc<App>>,
    TaskPath(task, caller): TaskPath,
    Params(query): Params<ResultQuery>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Storage::Folder(folder) = &*app.storage else {
        return Err(Refusal::bad_request("results go to the object storage, with the request on the ticket"));
    };
    let length = content_length(&headers)?;
    let holder = Holder { app: &app, scope: caller.scope(), task, fence: query.fence };
    match query.sha256 {
        Some(sha256) => {
            check_digest(&sha256)?;
            check_size(&app, length)?;
            if length > SMALL_BYTES {
                let message =
                    format!("an archive of more than {SMALL_BYTES} bytes is announced before it is sent");
                return Err(Refusal::new(ErrorCode::TooLarge, message));
            }
            let bytes = collect(body, &app, &peer.patience, length as usize).await?;
            holder.deliver(folder, sha256, bytes, query.complete).await
        }
        None if query.complete => Err(Refusal::bad_request("`complete` needs the archive's `sha256`")),
        None => {
            holder.take_announced(folder, body, length, &peer.patience).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

fn content_length(headers: &HeaderMap) -> Result<u64, Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.ok_or_else(|| Refusal::new(ErrorCode::LengthRequired, "an upload needs a `Content-Length`"))
}

/// Who sends a result.
struct Holder<'a> {
    app: &'a App,
    scope: Scope,
    task: TaskId,
    fence: i64,
}

impl Holder<'_> {
    async fn take_announced(
        &self,
        folder: &FolderStorage,
        body: Body,
        length: u64,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        let app = self.app;
        let lease = app.store.lease(self.scope.clone(), self.task, self.fence).await?;
        let Some(upload) = lease.upload else {
            return Err(Refusal::new(ErrorCode::ResultMissing, "announce the upload before sending it"));
        };
        if length != upload.size {
            return Err(bad_result(&BadArchive::Size { announced: upload.size, found: length }));
        }
        let staged = counted(app, folder.stage())?;
        let small = if upload.size <= SMALL_BYTES {
            Some(collect(body, app, patience, upload.size as usize).await?)
        } else {
            receive(app, &staged, body, upload.size).await?;
            None
        };
        let upload = keep_checked(app, staged, small, upload).await?;
        app.metrics.stored(upload.size);
        Ok(app.store.record_upload(self.scope.clone(), self.task, self.fence, upload).await?)
    }

    /// Takes an archive that is here already. It is written and checked while the store looks at the lease.
    async fn deliver(
        &self,
        folder: &FolderStorage,
        sha256: String,
        bytes: Bytes,
        completes: bool,
    ) -> Result<Response, Refusal> {
        let (app, store) = (self.app, &self.app.store);
        let completion = CompleteRequest { fence: self.fence, sha256: Some(sha256.clone()) };
        let size = bytes.len() as u64;
        let (place, placed) = oneshot::channel::<String>();
        let kept = tokio::task::spawn_blocking({
            let (root, sha256) = (folder.clone(), sha256.clone());
            move || write_checked(&root, &bytes, &sha256, placed)
        });
        let lease = match store.lease(self.scope.clone(), self.task, self.fence).await {
            Ok(lease) => lease,
            Err(error) => {
                drop(place);
                // What was written is gone when the answer is sent.
                kept.await.map_err(Refusal::internal)?.ok();
                // A repetition whose first answer was lost finds the task completed by itself.
                if completes {
                    let completed = store.complete(self.scope.clone(), self.task, completion).await?;
                    return Ok(Json(completed).into_response());
                }
                return Err(error.into());
            }
        };
        let key = storage_key(&lease, &sha256);
        // Refused only by a check that has failed, which is told next.
        place.send(key.clone()).ok();
        let kept = kept.await.map_err(Refusal::internal)?;
        counted(app, kept)?.map_err(|bad| bad_result(&bad))?;
        app.metrics.stored(size);
        let upload = Upload { sha256, size, key, verified: true };
        if completes {
            let completed = store.deliver(self.scope.clone(), self.task, upload, completion).await?;
            return Ok(Json(completed).into_response());
        }
        store.record_upload(self.scope.clone(), self.task, self.fence, upload).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// Writes an archive and checks it, then waits to be told its place; without one it is gone again. Blocks.
fn write_checked(
    folder: &FolderStorage,
    bytes: &[u8],
    sha256: &str,
    placed: oneshot::Receiver<String>,
) -> Result<Result<(), BadArchive>, StorageError> {
    // Memory does not fail to be read.
    if let Err(bad) = archive::verify(bytes, sha256, bytes.len() as u64, archive::Limits::TASK) {
        return Ok(Err(bad));
    }
    let staged = folder.stage()?;
    staged.reopen().and_then(|mut file| file.write_all(bytes)).map_err(StorageError::Folder)?;
    if let Ok(key) = placed.blocking_recv() {
        staged.keep(&key)?;
    }
    Ok(Ok(()))
}

/// Writes the body to the staged file as it arrives.
async fn receive(app: &App, staged: &Staged, body: Body, size: u64) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| counted::<()>(app, Err(error.into())).unwrap_err();
    let mut file = tokio::fs::File::from_std(staged.reopen().map_err(failed)?);
    let mut chunks = body.into_data_stream();
    let mut received = 0;
    loop {
        let next = tokio::time::timeout(app.limits.body_timeout, chunks.next()).await;
        let Ok(next) = next else {
            return Err(Refusal::new(ErrorCode::Timeout, "the upload stood still for too long"));
        };
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|error| Refusal::bad_request(format!("the upload broke off: {error}")))?;
        received += chunk.len() as u64;
        if received > size {
            return Err(bad_result(&BadArchive::Size { announced: size, found: received }));
        }
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}

/// Checks the staged archive and puts it into its place. One that is small arrives in memory and is written
/// here, so that it takes one visit to the threads that may block.
async fn keep_checked(
    app: &App,
    staged: Staged,
    small: Option<Bytes>,
    upload: Upload,
) -> Result<Upload, Refusal> {
    let work = move || {
        let mut file = staged.reopen().map_err(StorageError::Folder)?;
        if let Some(bytes) = small {
            file.write_all(&bytes).and_then(|()| file.rewind()).map_err(StorageError::Folder)?;
        }
        let archive = std::io::BufReader::new(file);
        match archive::verify(archive, &upload.sha256, upload.size, archive::Limits::TASK) {
            Ok(()) => {}
            Err(BadArchive::Unreadable(source)) => return Err(StorageError::Folder(source)),
            Err(bad) => return Ok(Err(bad)),
        }
        staged.keep(&upload.key)?;
        Ok(Ok(Upload { verified: true, ..upload }))
    };
    let kept = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
    counted(app, kept)?.map_err(|bad| bad_result(&bad))
}

/// Makes sure that an archive which went to object storage is what was announced. Where the lease or the
/// announcement is not as it should be, the store says so at the call that follows.
pub async fn ensure_verified(
    app: &App,
    scope: Scope,
    task: TaskId,
    fence: i64,
    sha256: &str,
) -> Result<(), Refusal> {
    let Storage::S3(_) = &*app.storage else { return Ok(()) };
    let Ok(lease) = app.store.lease(scope.clone(), task, fence).await else { return Ok(()) };
    let Some(upload) = lease.upload.filter(|upload| !upload.verified && upload.sha256 == sha256) else {
        return Ok(());
    };
    let archive = counted(app, app.storage.read(&upload.key).await)?;
    check(app, archive, &upload).await?;
    app.metrics.stored(upload.size);
    app.store.record_upload(scope, task, fence, Upload { verified: true, ..upload }).await?;
    Ok(())
}

async fn check(app: &App, archive: Archive, upload: &Upload) -> Result<(), Refusal> {
    let (sha256, size) = (upload.sha256.clone(), upload.size);
    let checked =
        tokio::task::spawn_blocking(move || archive::verify(archive, &sha256, size, archive::Limits::TASK));
    match checked.await.map_err(Refusal::internal)? {
        Ok(()) => Ok(()),
        // It may be whole all the same: the runner asks again.
        Err(BadArchive::Unreadable(source)) => {
            counted(app, Err(StorageError::S3 { what: "read an archive to its end", source: source.into() }))
        }
        Err(bad) => Err(bad_result(&bad)),
    }
}

fn bad_result(bad: &BadArchive) -> Refusal {
    Refusal::new(ErrorCode::BadResult, format!("the result was not accepted: {bad}"))
}

/// Counts failures of the storage on their way to the caller.
fn counted<T>(app: &App, outcome: Result<T, StorageError>) -> Result<T, Refusal> {
    outcome.map_err(|error| {
        app.metrics.storage_failed();
        error.into()
    })
}

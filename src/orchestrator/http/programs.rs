//! Programs of the task runner: sent by the master, fetched by hosts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::answer::Refusal;
use super::app::App;
use super::extract::{MasterOnly, ProgramPath, RawBytes};
use crate::api::ErrorCode;
use crate::orchestrator::programs::ProgramDigest;
use crate::orchestrator::storage::StorageError;

/// Longest program, bytes; this one has a tenth of it at most.
const MAX_BYTES: u64 = 1 << 30;
const CHUNK_BYTES: usize = 256 << 10;

/// A task runner's program, by its SHA-256. The orchestrator has its own, and what the master sent.
#[utoipa::path(get, path = "/api/v1/binaries/{sha256}", tag = "runner", params(("sha256" = String, Path)),
    responses((status = 200, description = "The program", body = RawBytes, content_type = "application/octet-stream")))]
pub async fn fetch_program(
    State(app): State<Arc<App>>,
    ProgramPath(digest): ProgramPath,
) -> Result<Response, Refusal> {
    let programs = app.programs.clone();
    let opened = tokio::task::spawn_blocking(move || programs.open(&digest)).await;
    let Some(file) = opened.map_err(Refusal::internal)?.map_err(Refusal::internal)? else {
        return Err(Refusal::new(ErrorCode::NotFound, "there is no program with this digest"));
    };
    let length = file.metadata().map_err(Refusal::internal)?.len();
    let file = tokio::fs::File::from_std(file.into_parts().0);
    let body = Body::from_stream(ReaderStream::with_capacity(file, CHUNK_BYTES));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, body).into_response())
}

/// Takes a program for hosts to fetch. It is kept only where it is what its address says.
#[utoipa::path(put, path = "/api/v1/binaries/{sha256}", tag = "runs", params(("sha256" = String, Path)),
    request_body(content = RawBytes, content_type = "application/octet-stream"),
    responses((status = 204, description = "Kept")))]
pub async fn keep_program(
    State(app): State<Arc<App>>,
    _: MasterOnly,
    ProgramPath(digest): ProgramPath,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let staged = app.programs.stage().map_err(not_kept)?;
    let file = staged.reopen().map_err(not_kept)?;
    let found = receive(&app, tokio::fs::File::from_std(file), body).await?;
    if found != digest {
        return Err(Refusal::new(ErrorCode::BadResult, "the program is not the one that its address names"));
    }
    let programs = app.programs.clone();
    let kept = tokio::task::spawn_blocking(move || programs.keep(staged, &digest)).await;
    kept.map_err(Refusal::internal)?.map_err(not_kept)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A full disk is told as such.
fn not_kept(error: std::io::Error) -> Refusal {
    StorageError::Folder(error).into()
}

/// Writes the body to the file as it arrives, and says what it was.
async fn receive(app: &App, mut file: tokio::fs::File, body: Body) -> Result<ProgramDigest, Refusal> {
    let mut hash = Sha256::new();
    let mut received = 0;
    let mut chunks = body.into_data_stream();
    loop {
        let next = tokio::time::timeout(app.limits.body_timeout, chunks.next()).await;
        let Ok(next) = next else {
            return Err(Refusal::new(ErrorCode::Timeout, "the program stood still for too long"));
        };
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|error| Refusal::bad_request(format!("the program broke off: {error}")))?;
        received += chunk.len() as u64;
        if received > MAX_BYTES {
            let message = format!("a program has at most {MAX_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(not_kept)?;
    }
    file.flush().await.map_err(not_kept)?;
    Ok(ProgramDigest::of(hash))
}

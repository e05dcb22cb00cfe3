//! Results on their way out: a run's archive, and the end of a task's log.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::answer::Refusal;
use super::app::App;
use super::extract::{Params, RawBytes, RunPath, TaskPath};
use crate::api::ErrorCode;
use crate::orchestrator::archive::{self, BadArchive, Part};
use crate::orchestrator::storage::{Storage, StorageError};

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks made ahead of a slow reader.
const CHUNKS_AHEAD: usize = 4;
const DEFAULT_LOG_BYTES: usize = 64 << 10;
const MAX_LOG_BYTES: usize = 1 << 20;

/// All results of the run as one gzip'd tar: `ALIAS-NUMBER/` of the accepted attempts (of the newest failed
/// one where none was accepted), earlier attempts in `ALIAS-NUMBER/attempt-N/`. Where a stored one cannot be
/// read, its folder has `unreadable.txt` with the reason. Packed while it is sent; an archive that breaks
/// off does not end as gzip does.
#[utoipa::path(get, path = "/api/v1/runs/{id}/results.tar.gz", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, description = "The archive", body = RawBytes, content_type = "application/gzip")))]
pub async fn download_results(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
) -> Result<Response, Refusal> {
    app.store.run(&run).await?;
    let parts = archive::parts(app.store.results(&run).await?);
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let storage = app.storage.clone();
    let metrics = app.metrics.clone();
    tokio::task::spawn_blocking(move || {
        match pack(&storage, &parts, &sender) {
            Ok(unreadable) => (0..unreadable).for_each(|_| metrics.storage_failed()),
            Err(error) if reader_is_gone(&error) => {
                tracing::debug!(run.id = %run, "whoever asked for the results of a run went away");
            }
            Err(error) => {
                metrics.storage_failed();
                let cause = crate::cause_chain(&error);
                tracing::warn!(run.id = %run, error = cause, "the results of a run could not be sent whole");
                // Breaks the answer off, so that nobody takes it for complete.
                drop(sender.blocking_send(Err(io::Error::other(error))));
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "application/gzip")], body).into_response())
}

fn pack(
    storage: &Storage,
    parts: &[Part],
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<usize, BadArchive> {
    let runtime = tokio::runtime::Handle::current();
    let open = |key: &str| {
        runtime.block_on(storage.read(key)).map_err(|error| match &error {
            StorageError::Missing(_) => io::Error::new(io::ErrorKind::NotFound, error),
            _ => io::Error::other(error),
        })
    };
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, ChannelWriter { sender });
    let unreadable = archive::write_results(parts, open, &mut out)?;
    out.flush()?;
    Ok(unreadable)
}

/// Whether it is the asker's own doing that not all was sent: it wanted the head alone, or hung up.
fn reader_is_gone(error: &BadArchive) -> bool {
    matches!(error, BadArchive::Broken(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

struct ChannelWriter<'a> {
    sender: &'a mpsc::Sender<io::Result<Bytes>>,
}

impl Write for ChannelWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away");
        self.sender.blocking_send(Ok(Bytes::copy_from_slice(buffer))).map_err(gone)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// At most this much of the end, 1 to 1,048,576; 65,536 by default.
    #[param(minimum = 1, maximum = 1_048_576)]
    #[serde(default)]
    bytes: Option<usize>,
}

/// The end of `output.txt` of the task's newest uploaded attempt, as plain text.
#[utoipa::path(get, path = "/api/v1/tasks/{id}/log", tag = "tasks", params(("id" = i64, Path), LogQuery),
    responses((status = 200, description = "The text", body = String, content_type = "text/plain")))]
pub async fn show_log(
    State(app): State<Arc<App>>,
    TaskPath(task, _): TaskPath,
    Params(query): Params<LogQuery>,
) -> Result<Response, Refusal> {
    let bytes = query.bytes.unwrap_or(DEFAULT_LOG_BYTES);
    if !(1..=MAX_LOG_BYTES).contains(&bytes) {
        return Err(Refusal::bad_request(format!("`bytes` is 1 to {MAX_LOG_BYTES}")));
    }
    let missing = || Refusal::new(ErrorCode::NotFound, "no attempt of this task has uploaded a log");
    // Tells a task that is not there.
    app.store.task(task).await?;
    let newest = app.store.newest_upload(task).await?.ok_or_else(missing)?;
    let archive = app.storage.read(&newest.key).await?;
    let tail = tokio::task::spawn_blocking(move || archive::log_tail(archive, bytes));
    let tail = tail.await.map_err(Refusal::internal)?.map_err(Refusal::internal)?.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        // A stranger's text: never to be taken for a page.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    Ok((headers, tail).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_hung_up_is_told_from_a_storage_that_failed() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let missing = |_: &str| Err::<&[u8], _>(io::Error::other("the disk is gone"));
        let gone = archive::write_results(&[], missing, ChannelWriter { sender: &sender }).unwrap_err();
        assert!(reader_is_gone(&gone), "{gone}");
        let part = Part { folder: "a-1".into(), key: "k".into(), sha256: String::new(), size: 1 };
        let failed = archive::write_results(&[part], missing, io::sink()).unwrap_err();
        assert!(!reader_is_gone(&failed), "{failed}");
    }
}

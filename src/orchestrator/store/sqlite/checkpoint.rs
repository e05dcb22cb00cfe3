//! Takes the write-ahead log into the database on a thread of its own, so that commits do not wait for it.
//!
//! The log starts from its beginning again only when all of it was taken in, and commits that go on meanwhile
//! make it longer. So the thread takes in what is there, and the writer the little that has come since. Neither
//! waits for readers: where one is in the way, the log grows until a later try.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

/// Pages of the log after which it is taken in, 8 MB at 4 KiB a page. Commits wait for the disk while it is synced:
/// 10 ms for these, in which others are answered still, and 50 ms for four times as many.
const PAGES: i32 = 2000;

/// Starts the thread. It ends when `writer` is closed.
pub fn start(path: &Path, writer: &mut Connection) -> rusqlite::Result<JoinHandle<()>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let (ask, asked) = sync_channel(1);
    let little_is_left = Arc::new(AtomicBool::new(false));
    let seen = little_is_left.clone();
    writer.wal_hook(Some(move |wal: &mut rusqlite::hooks::Wal, pages| {
        if seen.swap(false, Ordering::Relaxed) {
            wal.checkpoint_v2(CheckpointMode::PASSIVE).ok();
        } else if pages >= PAGES {
            // Fails where the thread is asked already.
            ask.try_send(()).ok();
        }
        Ok(())
    }))?;
    Ok(std::thread::spawn(move || {
        while asked.recv().is_ok() {
            match connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE) {
                Ok(_) => little_is_left.store(true, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "could not take the log into the database"),
            }
        }
    }))
}

//! Walks an archive and stops at the first thing that does not belong into one.

use std::collections::HashSet;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::BadArchive;
use super::results::UNREADABLE;
use crate::api::output::MOST_TEXT_BYTES;

/// What paths an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One attempt of one task, as a runner sends it.
    Task,
    /// All tasks of a run, as the orchestrator gives it out.
    Run,
}

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// Unpacked bytes in all.
    pub bytes: u64,
    /// Unpacked bytes that need no packed ones to show for them: an honest text may repeat itself as often as
    /// it likes.
    pub free: u64,
    /// Unpacked bytes for each packed one, above those.
    pub expansion: u64,
}

impl Limits {
    /// A runner cuts the text of a task, so that much may stand there packed to next to nothing; and 16 MiB more
    /// for samples that are all alike. Reading it through takes a fraction of a second and no memory.
    pub const TASK: Limits =
        Limits { entries: 10_000, bytes: 64 << 30, free: MOST_TEXT_BYTES + (16 << 20), expansion: 200 };
    /// A million tasks of a few files; made by the orchestrator, which packs as well as gzip can (1,032:1).
    pub const RUN: Limits = Limits { entries: 100_000_000, bytes: 4 << 40, free: 1 << 20, expansion: 1100 };
}

impl Layout {
    /// Whether a path is one of those documented.
    pub fn allows(self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        match self {
            Layout::Task => is_task_file(&parts),
            Layout::Run => match parts.as_slice() {
                [task, attempt, rest @ ..] if is_attempt(attempt) => is_plain(task) && is_part_file(rest),
                [task, rest @ ..] => is_plain(task) && is_part_file(rest),
                [] => false,
            },
        }
    }
}

fn is_task_file(parts: &[&str]) -> bool {
    match parts {
        ["metadata.json" | "output.json" | "output.txt"] => true,
        ["files", name] => is_plain(name),
        _ => false,
    }
}

/// A file of a run's archive: one of the task's, or the word that there is none.
fn is_part_file(parts: &[&str]) -> bool {
    is_task_file(parts) || parts == [UNREADABLE]
}

fn is_attempt(part: &str) -> bool {
    part.strip_prefix("attempt-").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Calls `each` with the path, size and content of every file. `each` need not read all of the content.
///
/// # Errors
/// The first thing that is not allowed, or an error of `each`.
pub(super) fn walk(
    packed: impl Read,
    layout: Layout,
    limits: Limits,
    mut each: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<()>,
) -> Result<(), BadArchive> {
    let packed = Counted { inner: packed, count: std::rc::Rc::default() };
    let taken = packed.count.clone();
    let unpacked = Bounded { inner: MultiGzDecoder::new(packed), count: 0, taken, limits };
    let mut archive = tar::Archive::new(unpacked);
    let mut seen = HashSet::new();
    let mut entries = 0;
    // Raw entries: an extension header shows as an entry of its own, and is refused as one.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        entries += 1;
        if entries > limits.entries {
            return Err(BadArchive::TooManyEntries(limits.entries));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(BadArchive::NotAFile(shown(&path)));
        }
        if !layout.allows(&path) {
            return Err(BadArchive::BadPath(shown(&path)));
        }
        let size = entry.size();
        each(&path, size, &mut entry)?;
        if !seen.insert(path) {
            return Err(BadArchive::Duplicate);
        }
    }
    // What follows the end marker counts too: it must be a whole gzip stream without a bomb in it.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// A stranger's path, made fit for an error message.
fn shown(path: &str) -> String {
    path.chars().take(100).flat_map(char::escape_default).collect()
}

type Count = std::rc::Rc<std::cell::Cell<u64>>;

struct Counted<R> {
    inner: R,
    count: Count,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Ends a stream that grows beyond its limits.
struct Bounded<R> {
    inner: R,
    count: u64,
    taken: Count,
    limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        let by_ratio = self.limits.free + self.taken.get().saturating_mul(self.limits.expansion);
        if self.count > self.limits.bytes.min(by_ratio) {
            return Err(io::Error::other("it expands to far more than it may"));
        }
        Ok(n)
    }
}

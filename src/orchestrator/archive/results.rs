//! `results.tar.gz` of a run: the stored archives of its tasks, taken apart and put together again while
//! they stream through.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::BadArchive;
use super::check::Digested;
use super::read::{Layout, Limits, walk};
use crate::orchestrator::store::StoredResult;

/// Stands in the folder of a stored archive that cannot be passed on, and says why.
pub const UNREADABLE: &str = "unreadable.txt";

/// One stored archive and the folder that its files go into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub folder: String,
    /// Where the storage keeps the archive.
    pub key: String,
    /// What it was when it was accepted: digest, and size in bytes.
    pub sha256: String,
    pub size: u64,
}

/// Which archives go where: the accepted attempt of each task, or else its newest, into `ALIAS-NUMBER`,
/// the others into `ALIAS-NUMBER/attempt-N`.
pub fn parts(results: Vec<StoredResult>) -> Vec<Part> {
    let mut tasks: BTreeMap<_, Vec<StoredResult>> = BTreeMap::new();
    for result in results.into_iter().filter(|result| result.upload.verified) {
        tasks.entry(result.task_id).or_default().push(result);
    }
    tasks.into_values().flat_map(parts_of_task).collect()
}

fn parts_of_task(mut attempts: Vec<StoredResult>) -> Vec<Part> {
    attempts.sort_by_key(|result| (!result.accepted, std::cmp::Reverse(result.attempt)));
    let part = |(index, result): (usize, StoredResult)| {
        let task = format!("{}-{}", result.alias, result.number);
        let folder = if index == 0 { task } else { format!("{task}/attempt-{}", result.attempt) };
        Part { folder, key: result.upload.key, sha256: result.upload.sha256, size: result.upload.size }
    };
    attempts.into_iter().enumerate().map(part).collect()
}

/// Writes the run's archive; blocks, and holds no more than a few buffers. A stored archive that is gone, or
/// is not the one that was accepted, does not keep the others back: [`UNREADABLE`] stands for it. Returns
/// how many there were.
///
/// # Errors
/// Of `out`, of a storage that cannot be read now ([`BadArchive::Unreadable`]), or of a stored archive that
/// changes while it is read. What was written before does not end as a gzip stream does.
pub fn write_results<R: Read>(
    parts: &[Part],
    mut open: impl FnMut(&str) -> io::Result<R>,
    out: impl Write,
) -> Result<usize, BadArchive> {
    let mut builder = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
    let mut unreadable = 0;
    for part in parts {
        // Storage is out of our hands. What has been sent cannot be taken back, so each is read once before.
        if let Err(why) = intact(part, &mut open) {
            if !is_lost(&why) {
                return Err(why);
            }
            let why = crate::cause_chain(&why);
            tracing::warn!(key = part.key, error = why, "a stored result cannot be passed on");
            unreadable += 1;
            let text = format!("this result cannot be passed on: {why}\n");
            append(&mut builder, part, UNREADABLE, text.len() as u64, text.as_bytes())?;
            continue;
        }
        let mut packed = part.digested(&mut open)?;
        let walked = walk(&mut packed, Layout::Task, Limits::TASK, |path, size, content| {
            append(&mut builder, part, path, size, content)
        });
        // What the storage failed at is no fault of the archive.
        packed.whole()?;
        walked?;
        packed.finish_as(&part.sha256, part.size)?;
    }
    builder.into_inner()?.finish()?.flush()?;
    Ok(unreadable)
}

impl Part {
    fn digested<R: Read>(
        &self,
        open: &mut impl FnMut(&str) -> io::Result<R>,
    ) -> Result<Digested<io::Take<R>>, BadArchive> {
        let stored = open(&self.key).map_err(BadArchive::Unreadable)?;
        // One byte more than announced is enough to know that there is more.
        Ok(Digested::new(stored.take(self.size + 1)))
    }
}

/// Whether the stored bytes are those that were accepted; their content was checked then.
fn intact<R: Read>(part: &Part, open: &mut impl FnMut(&str) -> io::Result<R>) -> Result<(), BadArchive> {
    part.digested(open)?.finish_as(&part.sha256, part.size)
}

/// Whether another try would find the same; what cannot be reached now may be there later.
fn is_lost(why: &BadArchive) -> bool {
    match why {
        BadArchive::Unreadable(error) => error.kind() == io::ErrorKind::NotFound,
        BadArchive::Broken(_) => false,
        _ => true,
    }
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    part: &Part,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    builder.append_data(&mut header, format!("{}/{path}", part.folder), content)
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{add, pack};
    use super::super::unpack_into;
    use super::*;
    use crate::orchestrator::store::Upload;

    fn result(task_id: i64, attempt: u32, accepted: bool) -> StoredResult {
        let key = format!("{task_id}/{attempt}");
        let upload = Upload { sha256: String::new(), size: 1, key, verified: true };
        StoredResult { task_id, alias: "a".into(), number: task_id as u32, attempt, accepted, upload }
    }

    #[test]
    fn the_accepted_attempt_stands_on_top_else_the_newest() {
        let parts =
            parts(vec![result(1, 1, true), result(1, 2, false), result(2, 1, false), result(2, 2, false)]);
        let shown: Vec<_> = parts.iter().map(|part| (part.folder.as_str(), part.key.as_str())).collect();
        assert_eq!(
            shown,
            [("a-1", "1/1"), ("a-1/attempt-2", "1/2"), ("a-2", "2/2"), ("a-2/attempt-1", "2/1")]
        );
    }

    #[test]
    fn a_run_archive_unpacks_into_task_folders() {
        let stored = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hello"));
        let of_stored = |attempt, accepted| {
            let mut result = result(1, attempt, accepted);
            (result.upload.sha256, result.upload.size) = digest_and_size(&stored);
            result
        };
        let parts = parts(vec![of_stored(1, true), of_stored(2, false)]);
        let mut packed = Vec::new();
        write_results(&parts, |_| Ok(&*stored), &mut packed).unwrap();
        let folder = tempfile::tempdir().unwrap();
        unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap();
        assert_eq!(fs_err::read(folder.path().join("a-1/output.txt")).unwrap(), b"hello");
        assert_eq!(fs_err::read(folder.path().join("a-1/attempt-2/output.txt")).unwrap(), b"hello");
    }

    fn digest_and_size(bytes: &[u8]) -> (String, u64) {
        let mut digested = Digested::new(bytes);
        io::copy(&mut digested, &mut io::sink()).unwrap();
        (digested.finish(), bytes.len() as u64)
    }

    #[test]
    fn an_archive_that_was_replaced_after_it_was_accepted_is_not_passed_on() {
        let stored = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hello"));
        let replaced = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hallo"));
        let mut accepted = result(1, 1, true);
        (accepted.upload.sha256, accepted.upload.size) = digest_and_size(&stored);
        let mut other = result(2, 1, true);
        (other.upload.sha256, other.upload.size) = digest_and_size(&stored);
        let parts = parts(vec![accepted, other]);
        let longer = [&stored[..], &stored[..]].concat();
        for wrong in [&replaced, &longer, &stored[..9].to_vec()] {
            let mut packed = Vec::new();
            let open = |key: &str| Ok(if key == "1/1" { &**wrong } else { &*stored });
            assert_eq!(write_results(&parts, open, &mut packed).unwrap(), 1);
            let folder = tempfile::tempdir().unwrap();
            unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap();
            let said = fs_err::read_to_string(folder.path().join("a-1/unreadable.txt")).unwrap();
            assert!(said.contains("cannot be passed on: it"), "{said}");
            assert!(!folder.path().join("a-1/output.txt").exists());
            assert_eq!(fs_err::read(folder.path().join("a-2/output.txt")).unwrap(), b"hello");
        }
        assert_eq!(write_results(&parts, |_| Ok(&*stored), Vec::new()).unwrap(), 0);
    }

    #[test]
    fn an_archive_that_changes_while_it_is_read_breaks_the_answer_off() {
        let stored = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hello"));
        let mut accepted = result(1, 1, true);
        (accepted.upload.sha256, accepted.upload.size) = digest_and_size(&stored);
        let replaced = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hallo"));
        let mut reads = 0;
        let open = |_: &str| {
            reads += 1;
            Ok(if reads == 1 { &*stored } else { &*replaced })
        };
        let refused = write_results(&parts(vec![accepted]), open, Vec::new()).unwrap_err();
        assert!(matches!(refused, BadArchive::Digest { .. } | BadArchive::Size { .. }), "{refused}");
    }

    #[test]
    fn a_storage_that_fails_is_told_with_its_own_words() {
        struct BreaksOff<'a>(&'a [u8], bool);
        impl Read for BreaksOff<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 if self.1 => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the bucket hung up")),
                    n => Ok(n),
                }
            }
        }
        let stored = pack(|builder| add(builder, "output.txt", tar::EntryType::Regular, b"hello"));
        let mut accepted = result(1, 1, true);
        (accepted.upload.sha256, accepted.upload.size) = digest_and_size(&stored);
        let parts = parts(vec![accepted]);
        // It cannot be opened, or breaks off, when it is looked at and when it is passed on.
        for (fails_at, opens) in [(1, false), (1, true), (2, false), (2, true)] {
            let mut reads = 0;
            let open = |_: &str| {
                reads += 1;
                let fails = reads == fails_at;
                if fails && !opens {
                    return Err(io::Error::other("the bucket hung up"));
                }
                Ok(BreaksOff(if fails { &stored[..20] } else { &stored }, fails))
            };
            let refused = write_results(&parts, open, Vec::new()).unwrap_err();
            assert!(matches!(refused, BadArchive::Unreadable(_)), "{fails_at} {opens}: {refused:?}");
            assert_eq!(
                crate::cause_chain(&refused),
                "it could not be read where it is stored: the bucket hung up"
            );
        }
        let gone = |_: &str| Err::<&[u8], _>(io::Error::new(io::ErrorKind::NotFound, "nothing is there"));
        let mut packed = Vec::new();
        assert_eq!(write_results(&parts, gone, &mut packed).unwrap(), 1);
        let folder = tempfile::tempdir().unwrap();
        unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap();
        assert_eq!(
            fs_err::read_to_string(folder.path().join("a-1/unreadable.txt")).unwrap(),
            "this result cannot be passed on: it could not be read where it is stored: nothing is there\n"
        );
    }
}

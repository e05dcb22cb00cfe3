//! The journal: every commit as one record, appended and synced, before the tables have it.
//!
//! Changing rows of tables costs more than writing down what changed, and callers wait only for the latter. Records
//! go to two files in turn; one is written over from its start again when the tables have all that stands in it, so
//! that a sync soon does not change a file's size any more. A record is
//!
//! ```text
//!  magic 4 B │ database 8 B │ number 8 B │ length 4 B │ CRC-32 4 B │ commit
//! ```
//!
//! Numbers follow each other without a gap, so what an earlier lap left behind a newer record is known by its number.
//! A record that was cut off by a crash was answered to nobody: the first one that is not whole ends the journal.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};

/// Number of the format of the records; see [`super::record`].
pub const FORMAT: u8 = 1;
const MAGIC: [u8; 4] = [b'b', b'j', 0, FORMAT];
const HEADER: usize = 28;
/// Size from which on a file is left for the other one, if that is free. It is filled ahead to this size: a sync of
/// a file that grows waits for the file system's own journal as well (0.3 ms rather than 0.17 ms on ext4).
const TURN: u64 = 4 << 20;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("{} is the journal of another database: move it away", .0.display())]
    Foreign(PathBuf),
    #[error("{} was written by another version of this program: start that one once, and end it", .0.display())]
    Format(PathBuf),
    #[error("{}: records {from} to {to} are missing", .path.display())]
    Gap { path: PathBuf, from: u64, to: u64 },
}

/// A record as it was read again.
#[derive(Debug)]
pub struct Record {
    pub number: u64,
    pub commit: Vec<u8>,
}

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    segments: [Segment; 2],
    /// Which of them is written to.
    turn: usize,
    offset: u64,
    database: i64,
    next: u64,
    synced: bool,
    buffer: Vec<u8>,
    /// Whether the last record could not be written, or not be synced.
    unsure: bool,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// Number of the newest record in it; 0 when it has none that matters.
    newest: u64,
}

/// The two files of a database.
pub fn paths(database: &Path) -> [PathBuf; 2] {
    [".journal-1", ".journal-2"].map(|suffix| {
        let mut name = OsString::from(database);
        name.push(suffix);
        name.into()
    })
}

/// The records that came after `applied`, in order. Changes nothing, and may be called while a journal is written:
/// then it gives at least those that were written when it was called.
pub fn read(database: &Path, id: i64, applied: u64) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    for path in paths(database) {
        match read_file(&path) {
            Ok(bytes) => records.extend(records_of(&path, &bytes, id)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    records.retain(|record| record.number > applied);
    records.sort_unstable_by_key(|record| record.number);
    let gap = (applied + 1..).zip(&records).find(|(expected, record)| record.number != *expected);
    if let Some((from, record)) = gap {
        let [path, _] = paths(database);
        return Err(JournalError::Gap { path, from, to: record.number - 1 });
    }
    Ok(records)
}

/// As long as the file is now; it may be written meanwhile.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes the files, once the tables have all that they hold.
pub fn remove(database: &Path) -> io::Result<()> {
    for path in paths(database) {
        match fs_err::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn records_of(path: &Path, bytes: &[u8], id: i64) -> Result<Vec<Record>, JournalError> {
    let mut records: Vec<Record> = Vec::new();
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_at_checked(HEADER) {
        let field = |from: usize| <[u8; 8]>::try_from(&header[from..from + 8]).expect("is eight bytes long");
        let length = u32::from_le_bytes(header[20..24].try_into().expect("is four bytes long")) as usize;
        let sum = u32::from_le_bytes(header[24..28].try_into().expect("is four bytes long"));
        let Some((commit, after)) = after.split_at_checked(length) else { break };
        if header[..3] != MAGIC[..3] || checksum(&header[..24], commit) != sum {
            break;
        }
        if header[3] != MAGIC[3] {
            return Err(JournalError::Format(path.to_owned()));
        }
        if i64::from_le_bytes(field(4)) != id {
            return Err(JournalError::Foreign(path.to_owned()));
        }
        let number = u64::from_le_bytes(field(12));
        if records.last().is_some_and(|earlier| number != earlier.number + 1) {
            break;
        }
        records.push(Record { number, commit: commit.to_owned() });
        rest = after;
    }
    Ok(records)
}

fn checksum(header: &[u8], commit: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(commit);
    sum.finalize()
}

impl Journal {
    /// For a database whose tables have everything up to the record `applied`. With `synced`, an appended record is
    /// on disk.
    pub fn open(database: &Path, id: i64, applied: u64, synced: bool) -> io::Result<Journal> {
        let open = |path: PathBuf| {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
            if synced {
                fill_ahead(&file)?;
            }
            Ok::<_, io::Error>(Segment { file, newest: 0 })
        };
        let [first, second] = paths(database);
        let segments = [open(first)?, open(second)?];
        if synced {
            let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Journal {
            segments,
            turn: 0,
            offset: 0,
            database: id,
            next: applied + 1,
            synced,
            buffer: Vec::new(),
            unsure: false,
        })
    }

    /// Appends one record and gives its number and its length in bytes. `kept` is the newest record that the tables
    /// have on disk. A record that could not be written counts for nothing; the next one takes its place.
    pub fn append(
        &mut self,
        kept: u64,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<(u64, usize)> {
        let number = self.next;
        self.buffer.clear();
        self.buffer.resize(HEADER, 0);
        write(&mut self.buffer)?;
        self.head(number)?;
        self.take_turns(kept)?;
        let segment = &mut self.segments[self.turn];
        self.unsure = true;
        segment.file.file().write_all_at(&self.buffer, self.offset)?;
        if self.synced {
            segment.file.sync_data()?;
        }
        self.unsure = false;
        segment.newest = number;
        self.offset += self.buffer.len() as u64;
        self.next += 1;
        Ok((number, self.buffer.len()))
    }

    fn head(&mut self, number: u64) -> io::Result<()> {
        let (header, commit) = self.buffer.split_at_mut(HEADER);
        let length = u32::try_from(commit.len()).map_err(io::Error::other)?;
        header[..4].copy_from_slice(&MAGIC);
        header[4..12].copy_from_slice(&self.database.to_le_bytes());
        header[12..20].copy_from_slice(&number.to_le_bytes());
        header[20..24].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&header[..24], commit);
        header[24..28].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    fn take_turns(&mut self, kept: u64) -> io::Result<()> {
        let other = 1 - self.turn;
        if self.offset >= TURN && self.segments[other].newest <= kept {
            self.wipe_unsure()?;
            (self.turn, self.offset) = (other, 0);
        }
        Ok(())
    }

    /// A record that could not be synced may be in the file whole. Its number is given to the next one; where that
    /// goes to the other file, both would be found.
    fn wipe_unsure(&mut self) -> io::Result<()> {
        let file = &self.segments[self.turn].file;
        if self.unsure && file.metadata()?.len() > self.offset {
            file.file().write_all_at(&[0; HEADER], self.offset)?;
            file.sync_data()?;
        }
        self.unsure = false;
        Ok(())
    }
}

/// Writes zeros behind what is there, up to [`TURN`]. On a disk without so much room the file grows as it must.
fn fill_ahead(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let zeros = vec![0; usize::try_from(TURN.saturating_sub(length)).unwrap_or(0)];
    if file.file().write_all_at(&zeros, length).is_err() {
        file.set_len(length)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: i64 = 7;

    fn append(journal: &mut Journal, kept: u64, text: &str) -> u64 {
        let write = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(text.as_bytes());
            Ok(())
        };
        journal.append(kept, write).unwrap().0
    }

    fn texts(database: &Path, applied: u64) -> Vec<String> {
        let records = read(database, ID, applied).unwrap();
        records.into_iter().map(|record| String::from_utf8(record.commit).unwrap()).collect()
    }

    #[test]
    fn what_was_appended_is_read_again_from_where_the_tables_are() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let mut journal = Journal::open(&database, ID, 4, true).unwrap();
        for text in ["five", "six", "seven"] {
            append(&mut journal, 4, text);
        }
        assert_eq!(texts(&database, 4), ["five", "six", "seven"]);
        assert_eq!(texts(&database, 6), ["seven"]);
        assert!(matches!(read(&database, ID, 2), Err(JournalError::Gap { from: 3, to: 4, .. })));
        assert!(matches!(read(&database, 8, 4), Err(JournalError::Foreign(_))));
        remove(&database).unwrap();
        assert!(texts(&database, 4).is_empty());
    }

    #[test]
    fn files_take_turns_once_the_tables_have_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let mut journal = Journal::open(&database, ID, 0, false).unwrap();
        let large = "x".repeat(usize::try_from(TURN).unwrap() / 2);
        for number in 1..=3 {
            append(&mut journal, 0, &format!("{number}{large}"));
        }
        // The third went to the other file; the first one is not free before the tables have its records.
        assert_eq!(journal.turn, 1);
        append(&mut journal, 1, &format!("4{large}"));
        append(&mut journal, 1, &format!("5{large}"));
        assert_eq!(journal.turn, 1);
        append(&mut journal, 2, "6");
        assert_eq!(journal.turn, 0);
        let starts: Vec<String> = texts(&database, 2).iter().map(|text| text[..1].to_owned()).collect();
        assert_eq!(starts, ["3", "4", "5", "6"], "what is left of the first lap is not taken for new");
    }

    #[test]
    fn a_record_that_could_not_be_synced_is_not_found_beside_the_one_that_took_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let mut journal = Journal::open(&database, ID, 0, false).unwrap();
        let large = "x".repeat(usize::try_from(TURN).unwrap() / 2);
        for number in 1..=5 {
            append(&mut journal, 0, &format!("{number}{large}"));
        }
        let (offset, next) = (journal.offset, journal.next);
        append(&mut journal, 0, "6 failed");
        // As after a sync that has failed: the record is there, and counts for nothing.
        (journal.offset, journal.next, journal.unsure) = (offset, next, true);
        append(&mut journal, 5, "6 again");
        assert_eq!(journal.turn, 0);
        append(&mut journal, 5, "7");
        assert_eq!(texts(&database, 5), ["6 again", "7"]);
    }

    #[test]
    fn a_record_that_was_cut_off_ends_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let mut journal = Journal::open(&database, ID, 0, false).unwrap();
        append(&mut journal, 0, "whole");
        let whole = fs_err::metadata(&paths(&database)[0]).unwrap().len();
        append(&mut journal, 0, "cut off");
        let bytes = fs_err::read(&paths(&database)[0]).unwrap();
        for length in usize::try_from(whole).unwrap()..bytes.len() {
            fs_err::write(&paths(&database)[0], &bytes[..length]).unwrap();
            assert_eq!(texts(&database, 0), ["whole"]);
        }
        for place in usize::try_from(whole).unwrap()..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            fs_err::write(&paths(&database)[0], &damaged).unwrap();
            assert_eq!(texts(&database, 0), ["whole"], "byte {place}");
        }
    }
}

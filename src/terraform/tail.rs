//! Follows a file that another process writes, line by line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line that is kept, bytes. A longer one is cut, which makes it no event, and reading goes on
/// behind it. An output of 1,000 hosts is well below.
const LINE_LIMIT: usize = 4 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    offset: u64,
    file: Option<File>,
    /// The line that is not complete yet.
    line: Vec<u8>,
}

impl Tail {
    /// Begins `offset` bytes into the file, which need not exist yet.
    pub fn new(path: &Path, offset: u64) -> Tail {
        Tail { path: path.to_owned(), offset, file: None, line: Vec::new() }
    }

    /// Calls `each` with every line that was completed since the last time.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(mut file) = self.open()? else { return Ok(()) };
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = file.read(&mut chunk)?;
            if length == 0 {
                self.file = Some(file);
                return Ok(());
            }
            self.take(&chunk[..length], &mut each);
        }
    }

    /// What stands behind the last line end: the writer is gone and will not complete it.
    pub fn finish(&mut self, each: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            each(&std::mem::take(&mut self.line));
        }
    }

    fn open(&mut self) -> io::Result<Option<File>> {
        if let Some(file) = self.file.take() {
            return Ok(Some(file));
        }
        match File::open(&self.path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(self.offset))?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            each(&self.line);
            self.line.clear();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_LIMIT - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(tail: &mut Tail) -> Vec<String> {
        let mut lines = Vec::new();
        tail.read(|line| lines.push(String::from_utf8_lossy(line).into_owned())).unwrap();
        lines
    }

    #[test]
    fn lines_come_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail::new(&path, 4);
        assert_eq!(lines(&mut tail), [""; 0]);
        let mut file = fs_err::File::create(&path).unwrap();
        file.write_all(b"old\none\ntw").unwrap();
        assert_eq!(lines(&mut tail), ["one"]);
        file.write_all(b"o\n\nthr").unwrap();
        assert_eq!(lines(&mut tail), ["two", ""]);
        let mut last = Vec::new();
        tail.finish(|line| last = line.to_vec());
        assert_eq!(last, b"thr");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_reading_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = fs_err::File::create(&path).unwrap();
        file.write_all(&vec![b'x'; LINE_LIMIT + CHUNK + 7]).unwrap();
        file.write_all(b"\nnext\n").unwrap();
        let lengths: Vec<usize> = lines(&mut Tail::new(&path, 0)).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_LIMIT, 4]);
    }
}

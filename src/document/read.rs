//! From a path to text, within limits that hold before anything is parsed.

use std::io::{self, Read};
use std::path::Path;

use fs_err::File;

use super::InvalidDocument;

/// Largest file that is read, bytes. A config of 10,000 instance types has about 1 MB.
pub const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Deepest nesting that is parsed. A config needs 5 levels; the limit keeps recursion within any stack.
pub const MAX_DEPTH: usize = 64;

const JSON_FILE: &str = "a JSON file in UTF-8 of at most 8 MiB";

/// Reads the text of `path`; `file` is its name in messages.
pub(super) fn read(path: &Path, file: &str) -> Result<String, InvalidDocument> {
    let bytes = read_bytes(path, file)?;
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(file, &error))?;
    // A byte order mark is allowed to be ignored (RFC 8259, 8.1).
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    check_text(&text, file)?;
    Ok(text)
}

/// Checks that hold for text from anywhere: not empty, not too deep.
pub(super) fn check_text(text: &str, file: &str) -> Result<(), InvalidDocument> {
    if text.trim().is_empty() {
        return Err(InvalidDocument::whole(file, "a JSON object", "the file is empty".to_owned()));
    }
    match first_too_deep(text) {
        None => Ok(()),
        Some(offset) => {
            let (line, column) = line_and_column(text, offset);
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            Err(InvalidDocument::whole(file, "less nesting", message).at(line, column))
        }
    }
}

fn read_bytes(path: &Path, file: &str) -> Result<Vec<u8>, InvalidDocument> {
    let opened = File::open(path).map_err(|error| unreadable(file, error))?;
    let metadata = opened.metadata().map_err(|error| unreadable(file, error))?;
    if metadata.is_dir() {
        let message = "this is a directory, expected a JSON file".to_owned();
        return Err(InvalidDocument::whole(file, JSON_FILE, message));
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large(file, &format!("has {:.1} MiB", metadata.len() as f64 / 1_048_576.0)));
    }
    // Pipes and devices tell no length, and files may grow: one byte over the limit is enough to know.
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(file, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(file, "is larger"));
    }
    Ok(bytes)
}

fn too_large(file: &str, size: &str) -> InvalidDocument {
    let message = format!("the file {size}, the limit is {} MiB", MAX_BYTES / 1_048_576);
    InvalidDocument::whole(file, JSON_FILE, message)
}

fn unreadable(file: &str, error: io::Error) -> InvalidDocument {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::PermissionDenied => "the file may not be read by this user",
        _ => "the file cannot be read",
    };
    let mut invalid = InvalidDocument::whole(file, JSON_FILE, message.to_owned());
    invalid.source = Some(error);
    invalid
}

fn not_utf8(file: &str, error: &std::string::FromUtf8Error) -> InvalidDocument {
    let offset = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    // Everything before the offset was found to be valid.
    let (line, column) = line_and_column(&String::from_utf8_lossy(&bytes[..offset]), offset);
    let message = format!("byte 0x{:02x} at offset {offset} is not UTF-8", bytes[offset]);
    InvalidDocument::whole(file, JSON_FILE, message).at(line, column)
}

/// Line and column (in characters), both from 1, of a byte offset.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}

/// Offset of the bracket that opens level `MAX_DEPTH + 1`. Knows strings, so that brackets in them do not count.
fn first_too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(offset);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(first_too_deep(&deep(MAX_DEPTH)), None);
        assert_eq!(first_too_deep(&deep(MAX_DEPTH + 1)), Some(MAX_DEPTH));
        assert_eq!(first_too_deep(&format!(r#"["\"{}"]"#, "[".repeat(100))), None);
    }

    #[test]
    fn a_byte_order_mark_is_ignored_and_a_bad_byte_has_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        fs_err::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(read(&path, "c.json").unwrap(), "{}");
        fs_err::write(&path, b"{\n \"a\": \"\xff\"}").unwrap();
        let invalid = read(&path, "c.json").unwrap_err();
        assert_eq!(invalid.to_string(), "c.json:2:8: byte 0xff at offset 9 is not UTF-8");
    }

    #[test]
    fn an_endless_file_is_read_no_further_than_the_limit() {
        let invalid = read(Path::new("/dev/zero"), "zero").unwrap_err();
        assert_eq!(invalid.to_string(), "zero: the file is larger, the limit is 8 MiB");
    }
}

//! The end of a task's `output.txt`, for people who want to know why it failed.

use std::io::{self, Read};

use super::BadArchive;
use super::read::{Layout, Limits, walk};

/// The last `bytes` of the archive's `output.txt`, cut at a character; blocks. `None` without such a file.
///
/// # Errors
/// Where the archive cannot be read.
pub fn log_tail(packed: impl Read, bytes: usize) -> Result<Option<String>, BadArchive> {
    let mut found = None;
    walk(packed, Layout::Task, Limits::TASK, |path, _, content| {
        if path == "output.txt" {
            found = Some(tail(content, bytes)?);
        }
        Ok(())
    })?;
    Ok(found)
}

fn tail(mut content: impl Read, bytes: usize) -> io::Result<String> {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = content.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..n]);
        if kept.len() > 2 * bytes {
            kept.drain(..kept.len() - bytes);
        }
    }
    let mut start = kept.len().saturating_sub(bytes);
    // Bytes of the form 10xxxxxx continue a character (RFC 3629).
    while start > 0 && kept.get(start).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {
        start += 1;
    }
    Ok(String::from_utf8_lossy(&kept[start..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_and_whole_characters() {
        assert_eq!(tail("hello".as_bytes(), 100).unwrap(), "hello");
        assert_eq!(tail("hello".as_bytes(), 2).unwrap(), "lo");
        assert_eq!(tail("aäb".as_bytes(), 2).unwrap(), "b");
        let long = "x".repeat(1_000_000) + "end";
        assert_eq!(tail(long.as_bytes(), 3).unwrap(), "end");
    }
}

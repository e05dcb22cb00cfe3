//! Bounded memory of a stream: its beginning and its end are kept, the cut between them is said.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::api::CapturedText;

/// Kept of the beginning and, separately, of the end of a stream, bytes.
pub const KEPT_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_limit: usize,
    tail_limit: usize,
    total: u64,
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new(KEPT_BYTES, KEPT_BYTES)
    }
}

impl Capture {
    /// Keeps the first `head_limit` and the last `tail_limit` bytes.
    pub fn new(head_limit: usize, tail_limit: usize) -> Capture {
        Capture { head: Vec::new(), tail: VecDeque::new(), head_limit, tail_limit, total: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.head_limit - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.tail_limit)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    pub fn figures(&self) -> CapturedText {
        CapturedText { total_bytes: self.total, kept_bytes: (self.head.len() + self.tail.len()) as u64 }
    }

    /// Everything that was written, if nothing of it was cut.
    pub fn whole(&self) -> Option<Vec<u8>> {
        let figures = self.figures();
        (figures.total_bytes == figures.kept_bytes)
            .then(|| self.head.iter().chain(&self.tail).copied().collect())
    }

    /// What was kept, with a line where something is missing.
    pub fn text(&self) -> String {
        let figures = self.figures();
        let mut text = readable(&self.head);
        if figures.total_bytes > figures.kept_bytes {
            let cut = figures.total_bytes - figures.kept_bytes;
            let _ = write!(text, "\n[bench: {cut} of {} bytes cut here]\n", figures.total_bytes);
        }
        let (first, second) = self.tail.as_slices();
        text.push_str(&readable(&[first, second].concat()));
        text
    }

    /// The last `limit` bytes or a little less, for a message.
    pub fn ending(&self, limit: usize) -> String {
        let all: Vec<u8> = self.head.iter().chain(&self.tail).copied().collect();
        readable(&all[all.len().saturating_sub(limit)..]).trim().to_owned()
    }
}

/// Bytes as text: what is not UTF-8 becomes U+FFFD, control characters other than line ends and tabs become
/// their pictures (U+2400 and up), so that no terminal obeys them.
fn readable(bytes: &[u8]) -> String {
    let picture = |c: char| match c {
        '\n' | '\r' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(c),
        '\x7f' => '\u{2421}',
        _ => c,
    };
    String::from_utf8_lossy(bytes).chars().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_is_cut_and_said() {
        let mut capture = Capture::new(4, 4);
        capture.push(b"0123456789");
        assert_eq!(capture.text(), "0123\n[bench: 2 of 10 bytes cut here]\n6789");
        assert_eq!(capture.whole(), None);
        assert_eq!(capture.ending(3), "789");
    }

    #[test]
    fn junk_is_readable_and_harmless() {
        let mut capture = Capture::default();
        capture.push(b"a\0\xff\x1b[31m\n\tb");
        assert_eq!(capture.text(), "a\u{2400}\u{fffd}\u{241b}[31m\n\tb");
    }

    proptest! {
        #[test]
        fn memory_stays_bounded_and_both_ends_are_right(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)
        ) {
            let mut capture = Capture::new(16, 24);
            chunks.iter().for_each(|chunk| capture.push(chunk));
            let all = chunks.concat();
            let figures = capture.figures();
            prop_assert_eq!(figures.total_bytes, all.len() as u64);
            prop_assert!(figures.kept_bytes <= 40);
            let kept: Vec<u8> = capture.head.iter().chain(&capture.tail).copied().collect();
            if all.len() <= 40 {
                prop_assert_eq!(capture.whole(), Some(all));
            } else {
                prop_assert_eq!(&kept[..16], &all[..16]);
                prop_assert_eq!(&kept[16..], &all[all.len() - 24..]);
            }
        }
    }
}

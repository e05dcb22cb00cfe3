//! From byte offsets to lines and columns, at a cost that does not depend on how long the lines are: a
//! minified file has only one.

/// Bytes between two marks.
const STRIDE: usize = 1024;

#[derive(Debug)]
pub(super) struct Lines {
    /// Byte offset at which each line starts.
    starts: Vec<usize>,
    /// Characters before each multiple of [`STRIDE`].
    marks: Vec<usize>,
}

impl Lines {
    pub fn of(text: &str) -> Lines {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let mut before = 0;
        let marks = text.as_bytes().chunks(STRIDE).map(|chunk| {
            let mark = before;
            before += characters(chunk);
            mark
        });
        Lines { starts, marks: marks.collect() }
    }

    /// Line and column (in characters), both from 1, of a byte offset in the text that this was made of.
    pub fn line_and_column(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        (line, self.characters_before(text, offset) - self.characters_before(text, start) + 1)
    }

    fn characters_before(&self, text: &str, offset: usize) -> usize {
        match self.marks.get(offset / STRIDE) {
            Some(mark) => mark + characters(&text.as_bytes()[offset / STRIDE * STRIDE..offset]),
            // Just behind a text whose length is a multiple of the stride, or empty.
            None => text.chars().count(),
        }
    }
}

/// Characters that begin in these bytes of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0b1100_0000) != 0b1000_0000).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_and_columns_are_those_that_counting_finds(text in "([aé€🦀\n]{0,20}){0,60}") {
            let lines = Lines::of(&text);
            for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let before = &text[..offset];
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let expected = (before.matches('\n').count() + 1, column);
                prop_assert_eq!(lines.line_and_column(&text, offset), expected);
            }
        }
    }
}

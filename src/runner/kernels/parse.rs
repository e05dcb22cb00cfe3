//! `branchy-parse`: a byte-wise tokenizer whose branches depend on the text: front end and branch prediction.
//!
//! Method: JSON by its grammar (RFC 8259) over text generated from a fixed seed. The generator counts what it
//! writes, and the parser's counts must agree: strings, numbers, words, containers, their sums and depth.

use super::random::{Random, mix};
use super::{Kernel, Scale, Work};

const BYTES: usize = 512 * 1024;
const PASSES: u32 = 12;

pub(super) const KERNEL: Kernel = Kernel {
    name: "branchy-parse",
    description: "branch prediction: parsing 512 KiB of generated JSON",
    working_set_bytes: BYTES as u64,
    work_per_iteration: BYTES as u64 * PASSES as u64,
    work_unit: "bytes parsed",
    prepare: |scale| Box::new(Parse::new(scale)),
};

/// What is in a text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Facts {
    strings: u64,
    /// Sum over all strings of their bytes, escapes counted as the character they stand for.
    string_sum: u64,
    numbers: u64,
    /// Sum of all numbers in thousandths.
    number_sum: i64,
    words: u64,
    containers: u64,
    /// Sum over all containers of their depth.
    depth_sum: u64,
}

impl Facts {
    fn digest(&self) -> u64 {
        let Facts { strings, string_sum, numbers, number_sum, words, containers, depth_sum } = *self;
        let all = [strings, string_sum, numbers, number_sum as u64, words, containers, depth_sum];
        all.into_iter().fold(0, |state, value| mix(state ^ value))
    }
}

struct Parse {
    text: Vec<u8>,
    passes: u32,
    expected: u64,
    result: u64,
}

impl Parse {
    fn new(scale: Scale) -> Parse {
        let (bytes, passes) = scale.pick((BYTES, PASSES), (8 * 1024, 2));
        let mut generator =
            Generator { random: Random::new(0x7501), text: Vec::new(), facts: Facts::default() };
        generator.document(bytes);
        let expected = generator.facts.digest().wrapping_mul(u64::from(passes));
        Parse { text: generator.text, passes, expected, result: 0 }
    }
}

impl Work for Parse {
    fn reset(&mut self) {
        self.result = 0;
    }
    fn iterate(&mut self) {
        for _ in 0..self.passes {
            let facts = Parser::new(std::hint::black_box(&self.text)).document();
            self.result = self.result.wrapping_add(facts.map_or(0, |facts| facts.digest()));
        }
    }
    fn checksum(&self) -> u64 {
        self.result
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

struct Generator {
    random: Random,
    text: Vec<u8>,
    facts: Facts,
}

impl Generator {
    /// An array of values, ended once it is at least `bytes` long.
    fn document(&mut self, bytes: usize) {
        self.text.push(b'[');
        self.container(1);
        self.value(2);
        while self.text.len() < bytes {
            self.text.extend_from_slice(b",\n ");
            self.value(2);
        }
        self.text.push(b']');
    }

    fn container(&mut self, depth: u64) {
        self.facts.containers += 1;
        self.facts.depth_sum += depth;
    }

    fn value(&mut self, depth: u64) {
        let kinds = if depth < 8 { 10 } else { 6 };
        match self.random.below(kinds) {
            0 | 1 => self.string(),
            2..=4 => self.number(),
            5 => self.word(),
            6 | 7 => self.sequence(depth, b"[]", false),
            _ => self.sequence(depth, b"{}", true),
        }
    }

    fn sequence(&mut self, depth: u64, brackets: &[u8; 2], keys: bool) {
        self.container(depth);
        self.text.push(brackets[0]);
        for index in 0..self.random.below(6) {
            if index > 0 {
                self.text.extend_from_slice(b", ");
            }
            if keys {
                self.string();
                self.text.extend_from_slice(b": ");
            }
            self.value(depth + 1);
        }
        self.text.push(brackets[1]);
    }

    fn string(&mut self) {
        self.facts.strings += 1;
        self.text.push(b'"');
        for _ in 0..self.random.below(20) {
            let (written, meant): (&[u8], u8) = match self.random.below(40) {
                0 => (b"\\n", b'\n'),
                1 => (b"\\\"", b'"'),
                letter => (&[b'A' + letter as u8], b'A' + letter as u8),
            };
            // 'A' + 27 is a backslash: it has to be escaped.
            let written = if meant == b'\\' { b"\\\\" } else { written };
            self.text.extend_from_slice(written);
            self.facts.string_sum += u64::from(meant);
        }
        self.text.push(b'"');
    }

    fn number(&mut self) {
        let digits = self.random.below(6);
        let whole = i64::from(self.random.below(10_u32.pow(digits)));
        let sign = if self.random.below(4) == 0 { -1 } else { 1 };
        let thousandths = if self.random.below(3) == 0 { i64::from(self.random.below(1000)) } else { 0 };
        let minus = if sign < 0 { "-" } else { "" };
        let fraction = if thousandths > 0 { format!(".{thousandths:03}") } else { String::new() };
        self.text.extend_from_slice(format!("{minus}{whole}{fraction}").as_bytes());
        self.facts.numbers += 1;
        self.facts.number_sum += sign * (whole * 1000 + thousandths);
    }

    fn word(&mut self) {
        self.facts.words += 1;
        let word = ["true", "false", "null"][self.random.below(3) as usize];
        self.text.extend_from_slice(word.as_bytes());
    }
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    facts: Facts,
}

/// Each method returns `None` where the text does not follow the grammar.
impl<'t> Parser<'t> {
    fn new(text: &'t [u8]) -> Parser<'t> {
        Parser { text, at: 0, facts: Facts::default() }
    }

    fn document(mut self) -> Option<Facts> {
        self.value(1)?;
        (self.at == self.text.len()).then_some(self.facts)
    }

    /// The byte at the current place; 0 at the end, which no rule accepts.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.peek() == byte).then(|| self.at += 1)
    }

    fn value(&mut self, depth: u64) -> Option<()> {
        self.skip_space();
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' => self.sequence(depth, b']', false),
            b'{' => self.sequence(depth, b'}', true),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn sequence(&mut self, depth: u64, close: u8, keys: bool) -> Option<()> {
        self.facts.containers += 1;
        self.facts.depth_sum += depth;
        self.at += 1;
        self.skip_space();
        if self.peek() == close {
            self.at += 1;
            return Some(());
        }
        loop {
            if keys {
                self.skip_space();
                self.string()?;
                self.expect(b':')?;
            }
            self.value(depth + 1)?;
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.facts.strings += 1;
        loop {
            let meant = match self.peek() {
                0 => return None,
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek() {
                        b'n' => b'\n',
                        byte @ (b'"' | b'\\') => byte,
                        _ => return None,
                    }
                }
                byte => byte,
            };
            self.facts.string_sum += u64::from(meant);
            self.at += 1;
        }
        self.at += 1;
        Some(())
    }

    fn digits(&mut self) -> (i64, u32) {
        let (mut value, mut count) = (0_i64, 0);
        while let digit @ b'0'..=b'9' = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            count += 1;
            self.at += 1;
        }
        (value, count)
    }

    fn number(&mut self) -> Option<()> {
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let (whole, count) = self.digits();
        let mut thousandths = whole.wrapping_mul(1000);
        if self.peek() == b'.' {
            self.at += 1;
            let (fraction, 3) = self.digits() else { return None };
            thousandths = thousandths.wrapping_add(fraction);
        }
        self.facts.numbers += 1;
        self.facts.number_sum += if negative { -thousandths } else { thousandths };
        (count > 0).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.text[self.at..].starts_with(word);
        self.at += word.len();
        self.facts.words += 1;
        found.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_text_is_understood() {
        let facts = Parser::new(br#"[1, -2.500, "a\n\"", {"b": [true]}, null]"#).document().unwrap();
        let string_sum = u64::from(b'a') + u64::from(b'\n') + u64::from(b'"') + u64::from(b'b');
        let expected = Facts {
            strings: 2,
            string_sum,
            numbers: 2,
            number_sum: -1500,
            words: 2,
            containers: 3,
            depth_sum: 1 + 2 + 3,
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for bad in ["", "[", "[1", "[1,]", "{\"a\" 1}", "\"a", "nul", "1.5", "[1] x", "-"] {
            assert_eq!(Parser::new(bad.as_bytes()).document(), None, "{bad:?}");
        }
    }

    #[test]
    fn the_generated_text_is_json_to_an_independent_parser_too() {
        let work = Parse::new(Scale::Quick);
        assert!(serde_json::from_slice::<serde_json::Value>(&work.text).is_ok());
    }
}

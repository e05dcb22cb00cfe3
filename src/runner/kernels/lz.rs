//! `compress-lz`: hash-table look-ups, comparisons of bytes and short copies: mixed integer work on data
//! between the first- and the second-level cache.
//!
//! Method: greedy LZ77 with a table of the last place of each 4-byte sequence (as in LZ4's fast mode, with a
//! byte format of our own), then decompression. The decompressed text must equal the input.

use super::random::{Random, digest};
use super::{Kernel, Scale, Work};

const BYTES: usize = 512 * 1024;
const PASSES: u32 = 8;
const TABLE_BITS: u32 = 14;
/// Shorter matches would cost more bytes than they save.
const MATCH_MIN: usize = 4;
const MATCH_MAX: usize = MATCH_MIN + 127;
const LITERALS_MAX: usize = 128;
const DISTANCE_MAX: usize = u16::MAX as usize;

pub(super) const KERNEL: Kernel = Kernel {
    name: "compress-lz",
    description: "mixed integer work: LZ77 compression and decompression of 512 KiB of text",
    working_set_bytes: 3 * BYTES as u64 + (4 << TABLE_BITS),
    work_per_iteration: BYTES as u64 * PASSES as u64,
    work_unit: "bytes compressed and decompressed",
    prepare: |scale| Box::new(Lz::new(scale)),
};

struct Lz {
    input: Vec<u8>,
    passes: u32,
    table: Vec<u32>,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    expected: u64,
}

impl Lz {
    fn new(scale: Scale) -> Lz {
        let (bytes, passes) = scale.pick((BYTES, PASSES), (8 * 1024, 1));
        let input = text(bytes);
        let expected = digest(input.iter().map(|byte| u64::from(*byte)));
        Lz {
            passes,
            table: vec![0; 1 << TABLE_BITS],
            packed: Vec::with_capacity(bytes + bytes / LITERALS_MAX + 1),
            unpacked: Vec::with_capacity(bytes),
            input,
            expected,
        }
    }
}

/// Words of a vocabulary of 1,000, short ranks more often than long ones, as in natural text (Zipf's law).
fn text(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(0x17);
    let letters =
        |random: &mut Random| (0..2 + random.below(9)).map(|_| b'a' + random.below(26) as u8).collect();
    let words: Vec<Vec<u8>> = (0..1000).map(|_| letters(&mut random)).collect();
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        let rank = random.below(1000) * random.below(1000) / 1000;
        text.extend_from_slice(&words[rank as usize]);
        text.push(b' ');
    }
    text.truncate(bytes);
    text
}

impl Work for Lz {
    fn reset(&mut self) {
        self.unpacked.clear();
    }
    fn iterate(&mut self) {
        for _ in 0..self.passes {
            compress(std::hint::black_box(&self.input), &mut self.table, &mut self.packed);
            decompress(std::hint::black_box(&self.packed), &mut self.unpacked);
        }
    }
    fn checksum(&self) -> u64 {
        digest(self.unpacked.iter().map(|byte| u64::from(*byte)))
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

fn four(input: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(input[at..at + 4].try_into().expect("a range of 4 has 4 bytes"))
}

/// Writes groups: a byte below 128 and that many literals plus one, or a byte from 128 on (the match's
/// length) and its distance in two bytes.
fn compress(input: &[u8], table: &mut [u32], packed: &mut Vec<u8>) {
    table.fill(0);
    packed.clear();
    let (mut at, mut literals_from) = (0, 0);
    while at + MATCH_MIN <= input.len() {
        let slot = four(input, at).wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS);
        let candidate = table[slot as usize] as usize;
        table[slot as usize] = at as u32;
        let distance = at - candidate;
        if distance == 0 || distance > DISTANCE_MAX || four(input, candidate) != four(input, at) {
            at += 1;
            continue;
        }
        let length = match_length(&input[candidate..], &input[at..]);
        write_literals(&input[literals_from..at], packed);
        packed.push(128 + (length - MATCH_MIN) as u8);
        packed.extend_from_slice(&(distance as u16).to_le_bytes());
        at += length;
        literals_from = at;
    }
    write_literals(&input[literals_from..], packed);
}

fn match_length(earlier: &[u8], here: &[u8]) -> usize {
    earlier.iter().zip(here).take(MATCH_MAX).take_while(|(a, b)| a == b).count()
}

fn write_literals(literals: &[u8], packed: &mut Vec<u8>) {
    for group in literals.chunks(LITERALS_MAX) {
        packed.push((group.len() - 1) as u8);
        packed.extend_from_slice(group);
    }
}

fn decompress(packed: &[u8], output: &mut Vec<u8>) {
    output.clear();
    let mut at = 0;
    while let Some(head) = packed.get(at).copied().map(usize::from) {
        if head < 128 {
            output.extend_from_slice(&packed[at + 1..at + 2 + head]);
            at += 2 + head;
        } else {
            let distance = usize::from(u16::from_le_bytes([packed[at + 1], packed[at + 2]]));
            copy_match(output, distance, head - 128 + MATCH_MIN);
            at += 3;
        }
    }
}

/// A match may reach into itself: then its bytes repeat.
fn copy_match(output: &mut Vec<u8>, distance: usize, length: usize) {
    let from = output.len() - distance;
    if distance >= length {
        output.extend_from_within(from..from + length);
    } else {
        (from..from + length).for_each(|place| output.push(output[place]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(input: &[u8]) -> (usize, Vec<u8>) {
        let (mut table, mut packed, mut output) = (vec![0; 1 << TABLE_BITS], Vec::new(), Vec::new());
        compress(input, &mut table, &mut packed);
        decompress(&packed, &mut output);
        (packed.len(), output)
    }

    #[test]
    fn any_input_comes_back() {
        let mut random = Random::new(5);
        let noise: Vec<u8> = (0..5000).map(|_| random.next() as u8).collect();
        for input in [&b""[..], b"a", b"abcabcabcabcabcabc", &[0; 1000], &noise, &text(100_000)] {
            assert_eq!(round_trip(input).1, input);
        }
    }

    #[test]
    fn the_text_compresses() {
        let (packed, _) = round_trip(&text(100_000));
        assert!((20_000..70_000).contains(&packed), "100,000 bytes became {packed}");
    }
}

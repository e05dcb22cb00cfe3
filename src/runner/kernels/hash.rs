//! `integer-hash`: 64-bit multiplications, rotations and additions with four independent chains, on data that
//! fits the second-level cache: the throughput of the integer units.
//!
//! Method: XXH64 as published (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>), each pass
//! seeded with the last one's hash.

use super::random::Random;
use super::{Kernel, Scale, Work};

/// 256 KiB: beyond the first-level cache, within the second-level one of every server core of today.
const BYTES: usize = 256 * 1024;
const PASSES: u32 = 1000;

pub(super) const KERNEL: Kernel = Kernel {
    name: "integer-hash",
    description: "integer throughput: XXH64 over 256 KiB",
    working_set_bytes: BYTES as u64,
    work_per_iteration: BYTES as u64 * PASSES as u64,
    work_unit: "bytes hashed",
    prepare: |scale| Box::new(Hash::new(scale)),
};

struct Hash {
    data: Vec<u8>,
    passes: u32,
    expected: u64,
    result: u64,
}

impl Hash {
    fn new(scale: Scale) -> Hash {
        let mut random = Random::new(0x1A5);
        let data = (0..BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        // Known good: the second value was also computed by a separate implementation in Python.
        let expected = scale.pick(0xBD85_9A9A_114C_D0F2, 0x76A9_23AF_ABFA_6E85);
        Hash { data, passes: scale.pick(PASSES, 1), expected, result: 0 }
    }
}

impl Work for Hash {
    fn reset(&mut self) {
        self.result = 0;
    }
    fn iterate(&mut self) {
        self.result = (0..self.passes).fold(0, |seed, _| xxh64(&self.data, seed));
    }
    fn checksum(&self) -> u64 {
        self.result
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

fn xxh64(data: &[u8], seed: u64) -> u64 {
    let (stripes, rest) = data.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { seed.wrapping_add(P5) } else { hash_stripes(stripes, seed) };
    hash = hash.wrapping_add(data.len() as u64);
    avalanche(hash_rest(hash, rest))
}

fn hash_stripes(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let start = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
    let lanes = stripes.iter().fold(start, |[a, b, c, d], stripe| {
        let lane = |index: usize| word(&stripe[index * 8..index * 8 + 8]);
        [round(a, lane(0)), round(b, lane(1)), round(c, lane(2)), round(d, lane(3))]
    });
    let [a, b, c, d] = lanes;
    let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
    let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
    lanes.iter().fold(sum, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(P1).wrapping_add(P4))
}

fn hash_rest(hash: u64, rest: &[u8]) -> u64 {
    let (words, rest) = rest.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, bytes| {
        (hash ^ round(0, word(bytes))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4)
    });
    let (halves, rest) = rest.as_chunks::<4>();
    let hash = halves.iter().fold(hash, |hash, bytes| {
        let half = u64::from(u32::from_le_bytes(*bytes));
        (hash ^ half.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3)
    });
    rest.iter()
        .fold(hash, |hash, byte| (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1))
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("callers pass 8 bytes"))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn avalanche(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_gives_the_published_values() {
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }
}

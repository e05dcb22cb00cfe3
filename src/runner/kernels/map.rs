//! `hash-map`: dependent look-ups at random places in 4 MiB: the caches behind the first level and address
//! translation, with some integer work between the accesses.
//!
//! Method: counting occurrences of keys in a table with open addressing and linear probing (D. Knuth, TAOCP
//! 3, 6.4). The expected digest is computed by sorting instead.

use super::random::{Random, mix};
use super::{Kernel, Scale, Work};

const SLOT_BITS: u32 = 18;
/// Half of the slots at most are taken.
const KEYS: u32 = 1 << (SLOT_BITS - 1);
const LOOKUPS: usize = 1_000_000;
const PASSES: u64 = 5;

pub(super) const KERNEL: Kernel = Kernel {
    name: "hash-map",
    description: "cache and TLB: 5,000,000 counts in a 4 MiB hash map",
    working_set_bytes: (16 << SLOT_BITS) + 4 * LOOKUPS as u64,
    work_per_iteration: LOOKUPS as u64 * PASSES,
    work_unit: "look-ups with an update",
    prepare: |scale| Box::new(Map::new(scale)),
};

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Zero: the slot is free.
    key: u64,
    count: u64,
}

struct Map {
    keys: Vec<u32>,
    slots: Vec<Slot>,
    bits: u32,
    expected: u64,
}

impl Map {
    fn new(scale: Scale) -> Map {
        let (bits, keys, lookups) = scale.pick((SLOT_BITS, KEYS, LOOKUPS), (10, 512, 3000));
        let mut random = Random::new(0x4A9);
        let keys: Vec<u32> = (0..lookups).map(|_| 1 + random.below(keys)).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let groups = sorted.chunk_by(|a, b| a == b);
        let expected = combine(groups.map(|group| (u64::from(group[0]), PASSES * group.len() as u64)));
        Map { keys, slots: vec![Slot::default(); 1 << bits], bits, expected }
    }
}

/// Does not depend on the order of the entries.
fn combine(entries: impl Iterator<Item = (u64, u64)>) -> u64 {
    entries.fold(0, |sum, (key, count)| sum.wrapping_add(mix(key.wrapping_mul(0x1_0000_0001) ^ mix(count))))
}

impl Work for Map {
    fn reset(&mut self) {
        self.slots.fill(Slot::default());
    }
    fn iterate(&mut self) {
        for _ in 0..PASSES {
            for key in &self.keys {
                count(&mut self.slots, self.bits, u64::from(*key));
            }
        }
    }
    fn checksum(&self) -> u64 {
        let taken = self.slots.iter().filter(|slot| slot.key != 0);
        combine(taken.map(|slot| (slot.key, slot.count)))
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

fn count(slots: &mut [Slot], bits: u32, key: u64) {
    let mask = (1 << bits) - 1;
    // Fibonacci hashing (Knuth): the high bits of a product with 2^64 / golden ratio.
    let mut place = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as usize;
    while slots[place].key != key && slots[place].key != 0 {
        place = (place + 1) & mask;
    }
    slots[place].key = key;
    slots[place].count += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colliding_keys_are_counted_apart() {
        let mut slots = vec![Slot::default(); 8];
        for key in [1, 2, 3, 4, 5, 6, 1, 1, 6] {
            count(&mut slots, 3, key);
        }
        let mut found: Vec<(u64, u64)> =
            slots.iter().filter(|s| s.key != 0).map(|s| (s.key, s.count)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 3), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2)]);
    }
}

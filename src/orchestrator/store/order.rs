//! The seeded random order in which the tasks of a run are handed out.
//!
//! Task `k` of a group of `count` gets the key `(k + u) / count`, with `u` drawn evenly from `[0, 1)`, and
//! tasks are handed out by ascending key. Groups of equal size so go through rounds: the `k`-th repetitions
//! of all aliases come before any `k+1`-th one, shuffled anew in each round. Groups of other sizes are spread
//! evenly over the whole queue. A slow drift of the machines or a noisy neighbour therefore falls on all
//! aliases alike (randomised complete blocks).
//!
//! `u` comes from SplitMix64 over (seed, group, k), so the order depends on the seed alone, not on a
//! library's version.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Index into the groups.
    pub group: usize,
    /// 1 to the group's count.
    pub number: u32,
}

/// Yields every task of the groups once, in order, holding one entry per group in memory.
pub struct Interleaved {
    seed: u64,
    counts: Vec<u32>,
    /// (key, tie-breaker, group, k), smallest first.
    heap: BinaryHeap<Reverse<(u64, u64, usize, u32)>>,
}

/// The order for groups of these sizes.
pub fn interleaved(seed: u64, counts: &[u32]) -> Interleaved {
    let mut order =
        Interleaved { seed, counts: counts.to_vec(), heap: BinaryHeap::with_capacity(counts.len()) };
    for group in 0..counts.len() {
        order.push(group, 0);
    }
    order
}

impl Interleaved {
    fn push(&mut self, group: usize, k: u32) {
        let count = self.counts[group];
        if k < count {
            let random = mix(mix(self.seed ^ mix(group as u64 + 1)) ^ u64::from(k));
            // k < 10^6 < 2^20, so the 52 bits of the sum never overflow.
            let key = ((u64::from(k) << 32) | (random >> 32)) / u64::from(count);
            self.heap.push(Reverse((key, random, group, k)));
        }
    }
}

impl Iterator for Interleaved {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let Reverse((_, _, group, k)) = self.heap.pop()?;
        self.push(group, k + 1);
        Some(Slot { group, number: k + 1 })
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_task_comes_once_and_groups_of_one_size_go_in_rounds(
            seed: u64, groups in 1usize..12, count in 1u32..40,
        ) {
            let order: Vec<Slot> = interleaved(seed, &vec![count; groups]).collect();
            prop_assert_eq!(order.len(), groups * count as usize);
            for (round, slots) in order.chunks(groups).enumerate() {
                let mut seen: Vec<usize> = slots.iter().map(|slot| slot.group).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..groups).collect::<Vec<_>>());
                prop_assert!(slots.iter().all(|slot| slot.number as usize == round + 1));
            }
        }

        #[test]
        fn groups_of_different_sizes_are_spread_over_the_whole_queue(seed: u64) {
            let order: Vec<Slot> = interleaved(seed, &[10, 100]).collect();
            prop_assert_eq!(order.len(), 110);
            for part in order.chunks(22) {
                let rare = part.iter().filter(|slot| slot.group == 0).count();
                prop_assert!((1..=3).contains(&rare), "{rare} of 10 in a fifth of the queue");
            }
        }
    }

    #[test]
    fn the_order_repeats_with_its_seed_and_differs_with_another() {
        let of = |seed| interleaved(seed, &[50; 4]).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn the_order_is_the_one_that_was_recorded() {
        let groups: Vec<usize> = interleaved(42, &[4, 4, 4]).map(|slot| slot.group).collect();
        assert_eq!(groups, RECORDED, "a change of the order breaks the repetition of recorded seeds");
    }

    const RECORDED: [usize; 12] = [0, 2, 1, 0, 2, 1, 1, 2, 0, 1, 0, 2];
}

//! `sort-quicksort`: comparisons whose outcome no branch predictor knows, and moves within 2 MiB.
//!
//! Method: quicksort with a median of three, Hoare's partition (C. A. R. Hoare, 1961) and insertion sort for
//! short ranges; written out so that it stays the same when the standard library's sort changes.

use super::random::{Random, digest};
use super::{Kernel, Scale, Work};

const ITEMS: usize = 256 * 1024;
/// Where insertion sort takes over. R. Sedgewick, "Implementing quicksort programs", 1978: 9 to 20 all do.
const SHORT: usize = 16;

pub(super) const KERNEL: Kernel = Kernel {
    name: "sort-quicksort",
    description: "unpredictable branches: quicksort of 262,144 random 64-bit integers",
    working_set_bytes: 8 * ITEMS as u64,
    work_per_iteration: ITEMS as u64,
    work_unit: "items sorted",
    prepare: |scale| Box::new(Sort::new(scale)),
};

struct Sort {
    input: Vec<u64>,
    items: Vec<u64>,
    expected: u64,
}

impl Sort {
    fn new(scale: Scale) -> Sort {
        let mut random = Random::new(0x50F7);
        let input: Vec<u64> = (0..scale.pick(ITEMS, 2000)).map(|_| random.next()).collect();
        let mut sorted = input.clone();
        sorted.sort_unstable();
        Sort { items: input.clone(), expected: digest(sorted), input }
    }
}

impl Work for Sort {
    fn reset(&mut self) {
        self.items.copy_from_slice(&self.input);
    }
    fn iterate(&mut self) {
        quicksort(&mut self.items);
    }
    fn checksum(&self) -> u64 {
        digest(self.items.iter().copied())
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

/// Recurses into the shorter part only, so the stack stays logarithmic.
fn quicksort(mut items: &mut [u64]) {
    while items.len() > SHORT {
        let middle = partition(items);
        let (left, right) = items.split_at_mut(middle);
        let (shorter, longer) = if left.len() < right.len() { (left, right) } else { (right, left) };
        quicksort(shorter);
        items = longer;
    }
    insertion_sort(items);
}

/// Moves what is below the pivot before what is above it; both parts are shorter than the whole.
fn partition(items: &mut [u64]) -> usize {
    let (mut low, mut high) = (0, items.len() - 1);
    let pivot = median(items[low], items[high / 2], items[high]);
    loop {
        while items[low] < pivot {
            low += 1;
        }
        while items[high] > pivot {
            high -= 1;
        }
        if low >= high {
            return high + 1;
        }
        items.swap(low, high);
        low += 1;
        high -= 1;
    }
}

fn median(a: u64, b: u64, c: u64) -> u64 {
    // The smaller of the two larger ones; never the largest, unless it is there twice.
    a.max(b).min(a.max(c)).min(b.max(c))
}

fn insertion_sort(items: &mut [u64]) {
    for end in 1..items.len() {
        let item = items[end];
        let mut place = end;
        while place > 0 && items[place - 1] > item {
            items[place] = items[place - 1];
            place -= 1;
        }
        items[place] = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts_as_the_standard_library_does() {
        for length in [0, 1, 2, 3, 16, 17, 18, 100, 1000] {
            for distinct in [1, 2, 5, 1 << 30] {
                let mut random = Random::new(length as u64);
                let mut items: Vec<u64> = (0..length).map(|_| u64::from(random.below(distinct))).collect();
                let mut sorted = items.clone();
                sorted.sort_unstable();
                quicksort(&mut items);
                assert_eq!(items, sorted, "{length} items of {distinct} values");
            }
        }
    }

    #[test]
    fn sorted_and_reversed_input_is_sorted_too() {
        let sorted: Vec<u64> = (0..5000).collect();
        for mut items in [sorted.clone(), sorted.iter().rev().copied().collect()] {
            quicksort(&mut items);
            assert_eq!(items, sorted);
        }
    }
}

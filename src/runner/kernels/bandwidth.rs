//! `memory-bandwidth`: long streams in and out of main memory by one core.
//!
//! Method: STREAM's triad `a[i] = b[i] + q * c[i]` (J. McCalpin, "Memory bandwidth and machine balance in
//! current high performance computers", 1995). Bytes are counted as STREAM does: 24 an element, without the
//! read that a cache line costs before it is written. Three arrays of 64 MiB follow STREAM's rule (four times
//! the last-level cache each) for caches up to 16 MiB and exceed a core's share of the larger ones; the size
//! is fixed, since an iteration must be the same work everywhere. Where the machine reports a last-level
//! cache above 192 MiB the figure is that cache's, not the memory's.

use super::buffer::{LINE_BYTES, Line, lines};
use super::{Kernel, Scale, Work};

const ARRAY_BYTES: usize = 64 << 20;

pub(super) const KERNEL: Kernel = Kernel {
    name: "memory-bandwidth",
    description: "memory bandwidth: STREAM triad over three arrays of 64 MiB",
    working_set_bytes: 3 * ARRAY_BYTES as u64,
    work_per_iteration: 3 * ARRAY_BYTES as u64,
    work_unit: "bytes moved",
    prepare: |scale| Box::new(Triad::new(scale)),
};

struct Triad {
    a: Vec<Line<f64>>,
    b: Vec<Line<f64>>,
    c: Vec<Line<f64>>,
    /// Another value in each iteration, so that what an earlier one left behind is not taken for its result.
    q: f64,
}

impl Triad {
    fn new(scale: Scale) -> Triad {
        let count = scale.pick(ARRAY_BYTES, 64 * 1024) / LINE_BYTES;
        // Whole numbers, whose sums are exact.
        let whole = |modulus: usize| move |line: usize| Line([(line % modulus) as f64; 8]);
        Triad { a: lines(count, whole(1)), b: lines(count, whole(1021)), c: lines(count, whole(509)), q: 2.0 }
    }
}

impl Work for Triad {
    fn reset(&mut self) {
        self.q = if self.q == 3.0 { 5.0 } else { 3.0 };
    }
    fn iterate(&mut self) {
        triad(&mut self.a, &self.b, &self.c, self.q);
    }
    fn checksum(&self) -> u64 {
        sum(&self.a) as u64
    }
    fn expected(&self) -> u64 {
        (sum(&self.b) + self.q * sum(&self.c)) as u64
    }
}

fn triad(a: &mut [Line<f64>], b: &[Line<f64>], c: &[Line<f64>], q: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        for ((a, b), c) in a.0.iter_mut().zip(&b.0).zip(&c.0) {
            *a = b + q * c;
        }
    }
}

/// Eight running sums, added at the end: exact for whole numbers in any order.
fn sum(array: &[Line<f64>]) -> f64 {
    let mut sums = [0.0; 8];
    for line in array {
        sums.iter_mut().zip(&line.0).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_the_sum_of_the_others() {
        let make = |value: f64| vec![Line([value; 8]); 4];
        let mut a = make(0.0);
        triad(&mut a, &make(2.0), &make(10.0), 3.0);
        assert!(a.iter().all(|line| line.0 == [32.0; 8]));
    }

    #[test]
    fn the_same_iteration_twice_is_not_mistaken_for_two() {
        let mut work = Triad::new(Scale::Quick);
        work.reset();
        work.iterate();
        assert_eq!(work.checksum(), work.expected());
        work.reset();
        assert_ne!(work.checksum(), work.expected());
    }
}

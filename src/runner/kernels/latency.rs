//! `memory-latency`: one load after the other, each at an address that the last one brought, over 128 MiB:
//! the time to main memory, address translation included.
//!
//! Method: pointer chase over one random cycle, a node a cache line, as lmbench's `lat_mem_rd` (L. McVoy, C.
//! Staelin, 1996) with a random stride, which prefetchers cannot follow. Each iteration goes on where the
//! last one ended; after k steps from `order[0]` the place must be `order[k mod n]`. The size is fixed; where
//! the machine reports a last-level cache above 128 MiB the figure is that cache's, not the memory's.

use super::buffer::{LINE_BYTES, Line, lines};
use super::random::Random;
use super::{Kernel, Scale, Work};

const BYTES: usize = 128 << 20;
const STEPS: usize = 120_000;

pub(super) const KERNEL: Kernel = Kernel {
    name: "memory-latency",
    description: "memory latency: dependent loads along a random cycle through 128 MiB",
    working_set_bytes: BYTES as u64,
    work_per_iteration: STEPS as u64,
    work_unit: "dependent loads",
    prepare: |scale| Box::new(Chase::new(scale)),
};

struct Chase {
    /// Each node holds the index of the next one; the rest of its line is unused.
    nodes: Vec<Line<u64>>,
    order: Vec<u32>,
    steps: usize,
    /// Steps asked for since the start.
    asked: usize,
    at: u64,
}

impl Chase {
    fn new(scale: Scale) -> Chase {
        let (bytes, steps) = scale.pick((BYTES, STEPS), (64 * 1024, 1500));
        let count = bytes / LINE_BYTES;
        let mut order: Vec<u32> = (0..count as u32).collect();
        Random::new(0xC4A5E).shuffle(&mut order);
        let mut nodes = lines(count, |_| Line([0; 8]));
        let successors = order.iter().skip(1).chain(order.first());
        for (node, next) in order.iter().zip(successors) {
            nodes[*node as usize].0[0] = u64::from(*next);
        }
        Chase { at: u64::from(order[0]), nodes, order, steps, asked: 0 }
    }
}

impl Work for Chase {
    fn reset(&mut self) {
        self.asked += self.steps;
    }
    fn iterate(&mut self) {
        self.at = (0..self.steps).fold(self.at, |at, _| self.nodes[at as usize].0[0]);
    }
    fn checksum(&self) -> u64 {
        self.at
    }
    fn expected(&self) -> u64 {
        u64::from(self.order[self.asked % self.order.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_form_one_cycle() {
        let work = Chase::new(Scale::Quick);
        let mut seen = vec![false; work.nodes.len()];
        let mut at = 0;
        while !std::mem::replace(&mut seen[at], true) {
            at = work.nodes[at].0[0] as usize;
        }
        assert_eq!(at, 0);
        assert!(seen.iter().all(|visited| *visited), "some node is not on the cycle");
    }
}

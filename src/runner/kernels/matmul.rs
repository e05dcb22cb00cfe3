//! `float-matmul`: double-precision multiplications and additions without branches or dependencies between
//! them: what the vector units give to code compiled for the baseline of the architecture (SSE2, NEON).
//!
//! Method: dense C = A·B, rows times rows so that the inner loop runs along memory. The entries are small
//! whole numbers, so every sum is exact and the result can be checked exactly and independently, by
//! rᵀ(A·B)s = (rᵀA)(B·s) (R. Freivalds, "Probabilistic machines can use less running time", 1977).

use super::random::Random;
use super::{Kernel, Scale, Work};

/// 3 matrices of 192 × 192 × 8 bytes are 864 KiB.
const SIDE: usize = 192;
const PASSES: u32 = 14;

pub(super) const KERNEL: Kernel = Kernel {
    name: "float-matmul",
    description: "floating-point throughput: dense 192x192 matrix products",
    working_set_bytes: 3 * 8 * (SIDE * SIDE) as u64,
    work_per_iteration: 2 * (SIDE * SIDE * SIDE) as u64 * PASSES as u64,
    work_unit: "floating-point operations",
    prepare: |scale| Box::new(Matmul::new(scale)),
};

struct Matmul {
    side: usize,
    passes: u32,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    /// Weights of the check, one a row and one a column.
    rows: Vec<i64>,
    columns: Vec<i64>,
    expected: u64,
}

impl Matmul {
    fn new(scale: Scale) -> Matmul {
        let (side, passes) = scale.pick((SIDE, PASSES), (24, 2));
        let mut random = Random::new(0x3A7);
        let mut small =
            |count: usize| -> Vec<i64> { (0..count).map(|_| i64::from(random.below(17)) - 8).collect() };
        let (a, b) = (small(side * side), small(side * side));
        let (rows, columns) = (small(side), small(side));
        let expected = i64::from(passes) * check_without_product(&a, &b, &rows, &columns);
        let float = |values: &[i64]| values.iter().map(|value| *value as f64).collect();
        Matmul {
            side,
            passes,
            a: float(&a),
            b: float(&b),
            c: vec![0.0; side * side],
            rows,
            columns,
            expected: expected as u64,
        }
    }
}

/// (rᵀA)(B·s), in whole numbers.
fn check_without_product(a: &[i64], b: &[i64], rows: &[i64], columns: &[i64]) -> i64 {
    let side = rows.len();
    let left = |k: usize| -> i64 { (0..side).map(|i| rows[i] * a[i * side + k]).sum() };
    let right = |k: usize| -> i64 { (0..side).map(|j| b[k * side + j] * columns[j]).sum() };
    (0..side).map(|k| left(k) * right(k)).sum()
}

impl Work for Matmul {
    fn reset(&mut self) {
        self.c.fill(0.0);
    }
    fn iterate(&mut self) {
        for _ in 0..self.passes {
            add_product(self.side, &self.a, &self.b, &mut self.c);
        }
    }
    fn checksum(&self) -> u64 {
        let weighted = self.c.chunks_exact(self.side).zip(&self.rows).map(|(row, weight)| {
            weight * row.iter().zip(&self.columns).map(|(c, column)| *c as i64 * column).sum::<i64>()
        });
        weighted.sum::<i64>() as u64
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

/// C += A·B.
fn add_product(side: usize, a: &[f64], b: &[f64], c: &mut [f64]) {
    for (a_row, c_row) in a.chunks_exact(side).zip(c.chunks_exact_mut(side)) {
        for (factor, b_row) in a_row.iter().zip(b.chunks_exact(side)) {
            for (sum, value) in c_row.iter_mut().zip(b_row) {
                *sum += factor * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_product() {
        let mut c = vec![0.0; 4];
        add_product(2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &mut c);
        assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
    }
}

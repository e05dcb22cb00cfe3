//! Made-up results that depend on alias and task number alone: for trying a config, and for tests.

use crate::api::{Alias, Benchmark, Better};

const SAMPLES: usize = 10;

/// Three series whose level depends on the alias, with about one percent of spread between tasks and samples.
pub(super) fn benchmarks(alias: &Alias, number: u32) -> Vec<Benchmark> {
    [("mock_integer", 1_000_000.0), ("mock_float", 2_500_000.0), ("mock_memory", 40_000_000.0)]
        .into_iter()
        .map(|(name, base_ns)| {
            let mut of_alias = Random::seeded(&[alias.as_str(), name]);
            let mut of_task = Random::seeded(&[alias.as_str(), name, &number.to_string()]);
            let level = base_ns * (0.8 + 0.4 * of_alias.next()) * (1.0 + 0.005 * of_task.spread());
            let mut sample = || (level * (1.0 + 0.01 * of_task.spread())).round();
            Benchmark {
                name: name.into(),
                unit: "ns".into(),
                better: Better::Lower,
                warmup: vec![sample() * 1.5],
                samples: (0..SAMPLES).map(|_| sample()).collect(),
            }
        })
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014), seeded by FNV-1a of texts: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn seeded(texts: &[&str]) -> Random {
        let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Random(bytes.fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// From 0.0 up to 1.0.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From -1.0 up to 1.0.
    fn spread(&mut self) -> f64 {
        self.next() * 2.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_task_gives_the_same_numbers_and_another_one_others() {
        let alias: Alias = "c7g".parse().unwrap();
        assert_eq!(benchmarks(&alias, 1), benchmarks(&alias, 1));
        assert_ne!(benchmarks(&alias, 1), benchmarks(&alias, 2));
        assert_ne!(benchmarks(&alias, 1), benchmarks(&"c8g".parse().unwrap(), 1));
    }

    #[test]
    fn tasks_of_one_alias_agree_within_a_few_percent() {
        let alias: Alias = "c7g".parse().unwrap();
        let (first, second) = (benchmarks(&alias, 1), benchmarks(&alias, 2));
        for (a, b) in first.iter().zip(&second) {
            let ratio = a.samples[0] / b.samples[0];
            assert!((0.95..1.05).contains(&ratio), "{}: {ratio}", a.name);
        }
    }
}

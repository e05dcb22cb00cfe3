//! The builtin `cpu` benchmark: ten kernels that stress different parts of a machine. The task runner calls
//! [`run`]; nothing here knows of tasks, files or the network.
//!
//! ```text
//!  KERNELS (table) ──prepare──▶ Work ──▶ reset ─▶ [iterate] ─▶ checksum == expected ?
//!                                          ▲      only this          │
//!                                          └──────  is timed  ◀──────┘
//! ```
//!
//! What makes results comparable across machines and versions:
//! - Inputs come from fixed seeds through a generator of our own (`random`); algorithms that the standard
//!   library could change (sorting, hash maps) are written out here.
//! - An iteration's work and the number of iterations are constants, never calibrated on the machine.
//! - Floating point uses only operations that IEEE 754 rounds exactly (`+ - * / sqrt`), never fused.
//! - Every iteration's result is checked; a wrong one fails the benchmark instead of being timed.
//!
//! A change to what an iteration does must rename its kernel, so that old and new figures never mix.

use std::hint::black_box;
use std::time::Instant;

use crate::api::{Benchmark, Better};

mod bandwidth;
mod buffer;
mod hash;
mod interpreter;
mod latency;
mod lz;
mod map;
mod matmul;
mod nbody;
mod parse;
mod random;
mod sort;

/// Name of the whole workload in results.
pub const WORKLOAD: &str = "cpu";

/// How much work an iteration does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// The real benchmark: iterations of some 10 to 50 ms on a server core of 2022, 6 to 8 s for the set.
    #[default]
    Default,
    /// The same code over small inputs, for tests: the set takes well under a second without optimisation.
    Quick,
}

impl Scale {
    /// The first value for the real benchmark, the second for tests.
    fn pick<T>(self, default: T, quick: T) -> T {
        match self {
            Scale::Default => default,
            Scale::Quick => quick,
        }
    }

    /// Iterations before the measured ones: they fault pages in, fill caches, train branch predictors and
    /// let the clock frequency settle. Three were enough on every machine tried; more only cost time.
    pub fn warmup_iterations(self) -> u32 {
        self.pick(3, 1)
    }

    /// Measured iterations. The median of 30 has a standard error of 0.23
    /// standard deviations (1.25 / sqrt(30), for a normal distribution).
    pub fn measured_iterations(self) -> u32 {
        self.pick(30, 3)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub scale: Scale,
    /// Names of the kernels to run, in the table's order; empty: all of them.
    pub only: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(
        "kernel `{kernel}` computed {actual:#018x} instead of {expected:#018x} in iteration {iteration}: \
         the processor or memory of this machine is faulty, or the binary is damaged"
    )]
    WrongResult { kernel: &'static str, iteration: u32, expected: u64, actual: u64 },
    #[error("there is no kernel `{name}`; there are: {}", names().join(", "))]
    UnknownKernel { name: String },
}

/// One row of the table.
pub struct Kernel {
    /// Name of its series in results.
    pub name: &'static str,
    /// What it stresses, in a line.
    pub description: &'static str,
    /// Memory that one iteration touches at [`Scale::Default`], bytes.
    pub working_set_bytes: u64,
    /// Work of one iteration at [`Scale::Default`], in units of `work_unit`: divide by the time for a rate.
    pub work_per_iteration: u64,
    pub work_unit: &'static str,
    prepare: fn(Scale) -> Box<dyn Work>,
}

/// A prepared kernel: its buffers are allocated and touched.
trait Work {
    /// Puts the input back to where an iteration starts. Not timed.
    fn reset(&mut self) {}
    /// The fixed amount of work. This alone is timed.
    fn iterate(&mut self);
    /// Condenses what the last iteration left behind. Not timed.
    fn checksum(&self) -> u64;
    /// What `checksum` must be: a constant, or computed in another way than `iterate` does.
    fn expected(&self) -> u64;
}

/// All kernels, in the order in which they run.
pub static KERNELS: &[Kernel] = &[
    hash::KERNEL,
    matmul::KERNEL,
    nbody::KERNEL,
    sort::KERNEL,
    parse::KERNEL,
    interpreter::KERNEL,
    lz::KERNEL,
    map::KERNEL,
    bandwidth::KERNEL,
    latency::KERNEL,
];

/// Names of all kernels, in the order in which they run.
pub fn names() -> Vec<&'static str> {
    KERNELS.iter().map(|kernel| kernel.name).collect()
}

/// Runs the chosen kernels one after the other on the calling thread. `progress` hears a fraction from 0 to 1
/// and the kernel's name before each kernel and between iterations, never while one is timed.
pub fn run(options: &Options, progress: &mut dyn FnMut(f64, &str)) -> Result<Vec<Benchmark>, KernelError> {
    let chosen = choose(&options.only)?;
    let total = chosen.len() as f64;
    let mut benchmarks = Vec::with_capacity(chosen.len());
    for (position, kernel) in chosen.into_iter().enumerate() {
        let mut within = |share: f64| progress((position as f64 + share) / total, kernel.name);
        benchmarks.push(measure(kernel, options.scale, &mut within)?);
    }
    progress(1.0, "done");
    Ok(benchmarks)
}

fn choose(only: &[String]) -> Result<Vec<&'static Kernel>, KernelError> {
    if let Some(name) = only.iter().find(|name| !names().contains(&name.as_str())) {
        return Err(KernelError::UnknownKernel { name: name.clone() });
    }
    let wanted = |kernel: &&Kernel| only.is_empty() || only.iter().any(|name| name == kernel.name);
    Ok(KERNELS.iter().filter(wanted).collect())
}

fn measure(kernel: &Kernel, scale: Scale, progress: &mut dyn FnMut(f64)) -> Result<Benchmark, KernelError> {
    progress(0.0);
    let mut work = (kernel.prepare)(scale);
    let (warmup, measured) = (scale.warmup_iterations(), scale.measured_iterations());
    let mut times = Vec::with_capacity((warmup + measured) as usize);
    for iteration in 0..warmup + measured {
        times.push(time_iteration(kernel.name, work.as_mut(), iteration)?);
        progress(f64::from(iteration + 1) / f64::from(warmup + measured));
    }
    let samples = times.split_off(warmup as usize);
    Ok(Benchmark {
        name: kernel.name.to_owned(),
        unit: "ns".to_owned(),
        better: Better::Lower,
        warmup: times,
        samples,
    })
}

/// Nanoseconds of one iteration, checked.
fn time_iteration(kernel: &'static str, work: &mut dyn Work, iteration: u32) -> Result<f64, KernelError> {
    work.reset();
    let start = Instant::now();
    black_box(&mut *work).iterate();
    let elapsed = start.elapsed();
    let (actual, expected) = (work.checksum(), work.expected());
    if actual == expected {
        // Exact below 2^53 ns, which is 104 days.
        Ok(elapsed.as_nanos() as f64)
    } else {
        Err(KernelError::WrongResult { kernel, iteration, expected, actual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_checks_out_and_keeps_every_iteration() {
        let options = Options { scale: Scale::Quick, only: vec![] };
        let mut heard = Vec::new();
        let benchmarks = run(&options, &mut |share, name| heard.push((share, name.to_owned()))).unwrap();
        let series: Vec<&str> = benchmarks.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(series, names());
        for benchmark in &benchmarks {
            assert_eq!((benchmark.warmup.len(), benchmark.samples.len()), (1, 3), "{}", benchmark.name);
            assert!(benchmark.samples.iter().all(|ns| *ns > 0.0), "{benchmark:?}");
        }
        assert!(heard.windows(2).all(|pair| pair[0].0 <= pair[1].0), "progress went backwards: {heard:?}");
        assert_eq!(heard.last().unwrap().0, 1.0);
    }

    /// A kernel whose result is wrong from its second iteration on.
    struct Faulty(u64);
    impl Work for Faulty {
        fn iterate(&mut self) {
            self.0 += 1;
        }
        fn checksum(&self) -> u64 {
            self.0
        }
        fn expected(&self) -> u64 {
            1
        }
    }

    #[test]
    fn a_wrong_result_fails_the_benchmark_and_names_the_iteration() {
        let kernel = Kernel { name: "faulty", prepare: |_| Box::new(Faulty(0)), ..hash::KERNEL };
        let error = measure(&kernel, Scale::Quick, &mut |_| ()).unwrap_err();
        assert!(
            matches!(
                error,
                KernelError::WrongResult { kernel: "faulty", iteration: 1, expected: 1, actual: 2 }
            ),
            "{error}"
        );
    }

    #[test]
    fn an_iteration_that_did_nothing_is_noticed() {
        for kernel in KERNELS {
            let mut work = (kernel.prepare)(Scale::Quick);
            work.reset();
            assert_ne!(
                work.checksum(),
                work.expected(),
                "{}: the check passes without any work",
                kernel.name
            );
        }
    }

    #[test]
    fn kernels_can_be_chosen_by_name() {
        let only = vec!["sort-quicksort".to_owned()];
        let benchmarks = run(&Options { scale: Scale::Quick, only }, &mut |_, _| ()).unwrap();
        assert_eq!(benchmarks.len(), 1);
        let unknown = Options { scale: Scale::Quick, only: vec!["sorting".to_owned()] };
        let error = run(&unknown, &mut |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("`sorting`") && error.contains("sort-quicksort"), "{error}");
    }

    #[test]
    fn the_table_has_unique_names_and_says_what_each_row_does() {
        let mut unique = names();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), KERNELS.len());
        for kernel in KERNELS {
            assert!(!kernel.description.is_empty() && kernel.working_set_bytes > 0, "{}", kernel.name);
            assert!(kernel.work_per_iteration > 0 && !kernel.work_unit.is_empty(), "{}", kernel.name);
        }
    }
}

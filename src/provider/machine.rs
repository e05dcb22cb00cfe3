//! The machine that runs this process, as far as plans depend on it.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::Arch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineFacts {
    /// CPUs that this process may run on, at least 1.
    pub online_cpus: u32,
    pub arch: Arch,
}

impl MachineFacts {
    /// Asks the system.
    pub fn read() -> MachineFacts {
        let arch = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::X86_64 };
        MachineFacts { online_cpus: usable_cpus().max(1), arch }
    }
}

/// CPUs in the affinity mask; on machines with more than a [`CpuSet`] holds, the count the system gives.
fn usable_cpus() -> u32 {
    let in_mask = |set: CpuSet| (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    let count = sched_getaffinity(Pid::from_raw(0))
        .map(in_mask)
        .unwrap_or_else(|_| std::thread::available_parallelism().map(std::num::NonZero::get).unwrap_or(1));
    u32::try_from(count).unwrap_or(u32::MAX)
}

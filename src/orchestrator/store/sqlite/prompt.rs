//! A thread that works little and that many wait for.

/// The time slice that is asked for, ns: the shortest that Linux gives.
const SLICE_NS: u64 = 100_000;

/// Asks the scheduler for short slices for this thread: then it comes to its turn soon after each wait, also while
/// other threads keep all CPUs busy, and gets no more of them than before. Linux does so from 6.12 on, for anybody
/// (`man 2 sched_setattr`, "custom slice" of EEVDF); elsewhere nothing changes.
pub fn take_short_turns() {
    // SAFETY: zero is a valid value of each field of this plain structure.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of::<libc::sched_attr>();
    attributes.size = u32::try_from(size).unwrap_or(0);
    attributes.sched_policy = libc::SCHED_OTHER.unsigned_abs();
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: the structure is whole and lives through the call; 0 is this thread.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
    if refused {
        tracing::debug!(error = %std::io::Error::last_os_error(), "no short slices for the thread that commits");
    }
}

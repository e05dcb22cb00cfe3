//! Buffers for the kernels that measure memory: aligned to cache lines, on base pages, faulted in.
//!
//! Base pages, because whether a buffer gets transparent huge pages depends on the distribution's setting and
//! on how fragmented memory is at that moment: it would move latency by tens of percent between two tasks on
//! one machine (`Documentation/admin-guide/mm/transhuge.rst` of the kernel).

/// 64 bytes: the cache line of x86-64 and of the ARM server cores of today.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<T: Copy>(pub(super) [T; 8]);

pub(super) const LINE_BYTES: usize = 64;

/// A buffer of `lines` cache lines, each made by `make` from its index; every page of it is written to here.
pub(super) fn lines<T: Copy>(lines: usize, make: impl FnMut(usize) -> Line<T>) -> Vec<Line<T>> {
    let mut buffer: Vec<Line<T>> = Vec::with_capacity(lines);
    ask_for_base_pages(buffer.as_mut_ptr().cast(), lines * size_of::<Line<T>>());
    buffer.extend((0..lines).map(make));
    buffer
}

/// Advice about the whole pages within the given memory. A kernel without transparent huge pages refuses it,
/// which is as well: it has base pages only.
#[cfg(target_os = "linux")]
fn ask_for_base_pages(start: *mut u8, bytes: usize) {
    // SAFETY: sysconf only reads a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let skipped = start.align_offset(page);
    let whole_pages = bytes.saturating_sub(skipped) / page * page;
    if whole_pages > 0 {
        // SAFETY: the range lies within one live allocation of ours, and this advice never changes contents.
        unsafe { libc::madvise(start.add(skipped).cast(), whole_pages, libc::MADV_NOHUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_base_pages(_start: *mut u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_made_in_order() {
        let buffer = lines(1000, |index| Line([index as u64; 8]));
        assert_eq!(buffer.as_ptr() as usize % LINE_BYTES, 0);
        assert_eq!(size_of::<Line<u64>>(), LINE_BYTES);
        assert!(buffer.iter().enumerate().all(|(index, line)| line.0 == [index as u64; 8]));
    }
}

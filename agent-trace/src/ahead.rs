//! Asks the processor for memory that is needed soon.
//!
//! In: where it is. Out: nothing. Always holds: no meaning; at full load the records of a tenth of a second and some ten thousand
//! exchanges pass between two looks at the same memory, none of it is near, and a processor waits for many lines no longer than for one.
//! Refuses: nothing, addresses that are not mapped included.

/// Bytes of a cache line (x86-64).
const LINE: usize = 64;

/// `bytes` bytes from `place` on are needed soon.
#[inline(always)]
pub fn fetch(place: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..bytes.div_ceil(LINE) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees and never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(line * LINE).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, bytes);
}

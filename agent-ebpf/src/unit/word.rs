//! Words of map values that several CPUs read and write.
//!
//! In: a place in a map. Out: its value now. Always holds: each word is read and written whole. An entry that another CPU deletes may be another
//! key's at once (preallocated maps use their memory again without a grace period), so what is written by pointer is either the own unit's,
//! which nobody else deletes meanwhile, or goes through [`replace`] with a value that no other entry has. Refuses: nothing.

/// A word as it is now.
#[inline(always)]
pub(super) fn load(word: *const u64) -> u64 {
    // SAFETY: a word of a map value, whose place its callers have from the map.
    unsafe { core::ptr::read_volatile(word) }
}

#[inline(always)]
pub(super) fn store(word: *mut u64, value: u64) {
    // SAFETY: as in `load`.
    unsafe { core::ptr::write_volatile(word, value) }
}

/// Writes a word if it is still `was`. Returns whether it was. (Rust has no atomic exchange for this target; kernels have it since 5.12.)
#[inline(always)]
pub(super) fn replace(word: *mut u64, was: u64, value: u64) -> bool {
    let mut found = was;
    // SAFETY: as in `load`; words of map values are aligned. `BPF_CMPXCHG` compares with r0 and leaves there what it found.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            inout("r0") found,
            in("r1") word,
            in("r2") value,
            options(nostack),
        );
    }
    found == was
}

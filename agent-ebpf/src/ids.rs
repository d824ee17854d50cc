//! Ids and the clock.
//!
//! In: this CPU's state of a generator. Out: span ids, trace ids, CLOCK_MONOTONIC. Always holds: an id is never all zero,
//! which means "none" on the wire (W3C Trace Context §3.2.2). Ids are unique and evenly spread, not secret: the
//! generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), begun from the kernel's random numbers on each CPU. Six
//! calls of `bpf_get_prandom_u32` for each exchange cost more than the look-up of its connection.

use agent_common::abi::Words;
use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_get_prandom_u32};

use crate::maps::SEEDS;

/// CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn seed() -> u64 {
    // SAFETY: the helper has no preconditions.
    let (high, low) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
    (u64::from(high) << 32) | u64::from(low) | 1
}

/// The next number of this CPU. `salt` is what no other task has: its thread's id.
#[inline(always)]
fn next(salt: u64) -> u64 {
    let Some(place) = SEEDS.get_ptr_mut(0) else {
        return seed();
    };
    // SAFETY: a word of this CPU. Where the kernel preempts itself, a program of another task can come between and leave the same
    // state; the salt makes their numbers different.
    let state = unsafe { &mut *place };
    if *state == 0 {
        *state = seed();
    }
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state ^ salt;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Copies a trace id. Word by word: bpf-linker turns any copy that LLVM makes into one of memmove, a call with a loop
/// over bytes (its expand-memcpy-in-order), and so it does with zeros and memset.
#[inline(always)]
pub(crate) fn copy(to: &mut Words, from: &Words) {
    // SAFETY: both are references to two words.
    unsafe {
        core::ptr::write_volatile(&raw mut to[0], from[0]);
        core::ptr::write_volatile(&raw mut to[1], from[1]);
    }
}

/// A span id.
#[inline(always)]
pub(crate) fn new_span_id(salt: u64) -> u64 {
    let id = next(salt);
    if id == 0 { 1 } else { id }
}

/// A trace id.
#[inline(always)]
pub(crate) fn new_trace_id(salt: u64) -> Words {
    [next(salt), next(salt) | 1]
}

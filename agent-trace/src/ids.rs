//! Ids for exchanges the kernel made none for.
//!
//! In: ids of other exchanges, or a place in a stream. Out: ids. Always holds: the same input gives the same id,
//! whoever computes it; no id is all zero. Refuses: chance.

use crate::span::{SpanId, TraceId};

/// The finalizer of splitmix64: every input bit changes every output bit, and no two inputs give the same output.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The id of the `index`-th request (1, 2, …) after the one whose id is `first`: the same whoever computes it.
pub(crate) fn derived_span(first: SpanId, index: u32) -> SpanId {
    let x = mix(
        u64::from_be_bytes(first.0) ^ mix(u64::from(index).wrapping_add(0x9e37_79b9_7f4a_7c15))
    );
    SpanId(x.max(1).to_be_bytes())
}

/// The trace id of an exchange the kernel made none for.
pub(crate) fn derived_trace(id: SpanId) -> TraceId {
    let x = u64::from_be_bytes(id.0);
    let mut bytes = [0; 16];
    let (high, low) = bytes.split_at_mut(8);
    high.copy_from_slice(&mix(x ^ 0x6a09_e667_f3bc_c908).to_be_bytes());
    low.copy_from_slice(&mix(x ^ 0xbb67_ae85_84ca_a73b).max(1).to_be_bytes());
    TraceId(bytes)
}

/// An id for a request on a connection where the kernel made none yet.
pub(crate) fn first_span(sk: u64, ino: u64, pos: u32, ktime_ns: u64) -> SpanId {
    let x = mix(mix(mix(sk) ^ ino) ^ u64::from(pos)) ^ ktime_ns;
    SpanId(mix(x).max(1).to_be_bytes())
}

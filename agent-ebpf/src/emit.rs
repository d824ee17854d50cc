//! Writes records into the ring buffer.
//!
//! In: a record. Out: the same in the ring, or a counted loss. Always holds: the reader is woken only when much was
//! written or a record says something new about a process (a short-lived one may vanish before the next look);
//! otherwise it looks by itself every `RING_POLL_MS`. A wake-up costs the traced program an interrupt and, where the
//! reader then takes its processor, two switches (kernel/bpf/ringbuf.c, bpf_ringbuf_commit).

use agent_common::{
    abi::{ConnRecord, SegmentRecord},
    counters::Counter,
    limits::HEAD_CAPTURE_MAX,
};
use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_output,
};

use crate::{
    maps::{RECORDS, Scratch, count},
    settings::setting,
};

/// Wake-up flag by what this CPU has written since the last one. Asking the ring how much waits costs a call.
#[inline(always)]
fn wake_flag(scratch: &mut Scratch, size: u32) -> u64 {
    scratch.unwoken = scratch.unwoken.wrapping_add(size);
    if scratch.unwoken < setting!(wake_bytes) {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    scratch.unwoken = 0;
    u64::from(BPF_RB_FORCE_WAKEUP)
}

/// Sends the segment in `scratch` with `payload` captured bytes.
#[inline(never)]
pub(crate) fn segment(scratch: &mut Scratch, payload: u64) -> u64 {
    let mut payload = payload as u32;
    if payload > HEAD_CAPTURE_MAX as u32 {
        payload = HEAD_CAPTURE_MAX as u32;
    }
    let size = size_of::<SegmentRecord>() as u32 + payload;
    scratch.record.head.payload = payload as u16;
    scratch.record.head.size = size;
    let flag = wake_flag(scratch, size);
    if RECORDS.output::<[u8]>(bytes(scratch, size), flag).is_err() {
        count(Counter::RingFull, 1);
    }
    1
}

/// The first `size` bytes of the scratch: the record and, right behind it, its payload.
#[inline(always)]
fn bytes(scratch: &Scratch, size: u32) -> &[u8] {
    // SAFETY: `record` and `payload` are adjacent (repr(C), no padding between them, asserted below) and `size` is at
    // most their sum.
    unsafe { core::slice::from_raw_parts((&raw const *scratch).cast::<u8>(), size as usize) }
}

const _: () = assert!(core::mem::offset_of!(Scratch, payload) == size_of::<SegmentRecord>());

/// Sends the connection record in `scratch`, and wakes the reader where it must look now: at a process that may end before the next look,
/// or at what the record asks for.
#[inline(always)]
pub(crate) fn connection(scratch: &mut Scratch, is_waking: bool) {
    let flag = if is_waking {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        wake_flag(scratch, size_of::<ConnRecord>() as u32)
    };
    if RECORDS
        .output::<ConnRecord>(&scratch.announced, flag)
        .is_err()
    {
        count(Counter::RingFull, 1);
    }
}

/// Sends a small record from any program, those in softirq included.
#[inline(always)]
pub(crate) fn small<T>(record: &T) {
    small_flagged(record, u64::from(BPF_RB_NO_WAKEUP));
}

/// The same, and wakes the reader: what it does about the record must be done before the next bytes move.
#[inline(always)]
pub(crate) fn small_waking<T>(record: &T) {
    small_flagged(record, u64::from(BPF_RB_FORCE_WAKEUP));
}

#[inline(always)]
fn small_flagged<T>(record: &T, flag: u64) {
    // SAFETY: the map is a ring buffer and the record is plain memory of its size.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            (&raw const *record).cast_mut().cast(),
            size_of::<T>() as u64,
            flag,
        )
    };
    if sent != 0 {
        count(Counter::RingFull, 1);
    }
}

//! One segment as a record: what is captured of it, and its fixed part.
//!
//! In: a [`Segment`] and its connection. Out: a record in the ring. Always holds: what moved and could not be seen is
//! flagged.

use crate::{
    emit,
    ids::copy,
    maps::{Scratch, count},
    pending::AF_UNIX,
    user,
    walk::Task,
};
use agent_common::{
    abi::{Conn, ExchangeIds, SegmentRecord, SocketKey, evidence, kind, protocol, segment_flag},
    counters::Counter,
};

/// What a call moved.
pub(crate) struct Segment {
    /// How many bytes.
    pub moved: u32,
    /// Stream position of the first.
    pub pos: u32,
    /// When the call began.
    pub enter_ns: u64,
    /// When it returned.
    pub now: u64,
    /// One of `direction`.
    pub way: u8,
    /// One of `op`.
    pub op: u8,
    /// Flags of `segment_flag`.
    pub flags: u8,
}

/// Sends the record, whose fixed part and exchange are filled, with the captured bytes; where that is not all that
/// moved, with the last ones too: a few, or in Redis (a script's text of many KiB comes before its arguments) some more.
#[inline(never)]
pub(crate) fn send(scratch: &mut Scratch, place: u64, vectors: u64) -> u64 {
    let mut captured = scratch.found.captured();
    let moved = u64::from(scratch.record.len);
    if place == 0 {
        scratch.record.flags |= segment_flag::UNSEEN;
        count(Counter::ZeroCopy, 1);
    } else if captured < moved && scratch.record.protocol == protocol::REDIS {
        let ending = user::ending(scratch, place, vectors, moved);
        scratch.record.ending = ending as u16;
        captured += ending;
    } else if captured < moved && user::tail(scratch, place, vectors, moved) != 0 {
        scratch.record.flags |= segment_flag::TAIL;
    }
    emit::segment(scratch, captured)
}

/// Writes no ids. Word by word, see [`crate::ids::copy`].
#[inline(always)]
pub(crate) fn clear(ids: *mut ExchangeIds) {
    let words = ids.cast::<u64>();
    // BOUND: the words of ExchangeIds, 5.
    for index in 0..size_of::<ExchangeIds>() / 8 {
        // SAFETY: inside of the 40 bytes that `ids` points to, which are aligned for a u64.
        unsafe { core::ptr::write_volatile(words.add(index), 0) };
    }
}

/// Fills the fixed part of a segment's record; its exchange is the connection's where the segment begins one. Inlined
/// into its callers, where the arguments stay in registers: stack is short on the way from here to `capture` (512 bytes
/// for all frames together).
#[inline(always)]
pub(crate) fn fill(
    record: &mut SegmentRecord,
    conn: &Conn,
    key: &SocketKey,
    task: Task,
    segment: Segment,
) {
    record.head.kind = kind::SEGMENT;
    record.head.ktime_ns = segment.now;
    record.process = task.process_key();
    record.socket = *key;
    record.enter_ktime_ns = segment.enter_ns;
    record.pos = segment.pos;
    record.len = segment.moved;
    record.tid = task.tid();
    record.error = 0;
    record.direction = segment.way;
    record.op = segment.op;
    record.flags = segment.flags;
    if conn.family == AF_UNIX {
        record.flags |= segment_flag::COUNTED;
    }
    record.role = conn.role;
    record.protocol = conn.protocol;
    record.injected = 0;
    record.ending = 0;
    // SAFETY: eight bytes, aligned for a u64 (their offset is asserted in abi.rs).
    unsafe { core::ptr::write_volatile(record.tail.as_mut_ptr().cast::<u64>(), 0) };
    let ids = &mut record.exchange;
    clear(&raw mut *ids);
    if segment.flags & segment_flag::EXCHANGE != 0 {
        copy(&mut ids.trace_id, &conn.trace_id);
        ids.span_id = conn.span_id;
        ids.parent_span_id = conn.parent_span_id;
        ids.evidence = conn.evidence;
        if conn.evidence == evidence::OPTION {
            ids.said = conn.said;
        }
    }
}

//! One segment as a record: what is captured of it, and its fixed part.
//!
//! In: a [`Segment`] and its connection. Out: a record in the ring. Always holds: captured bytes come off the
//! connection's budget; what was wanted and could not be read is flagged.

use agent_common::{
    abi::{Conn, RecordHead, SegmentRecord, SocketKey, kind, segment_flag},
    counters::Counter,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{
    emit,
    maps::{Scratch, count},
    pending::AF_UNIX,
    user::{self, View},
    walk::process_key,
};

/// What `send` needs to know of a segment.
pub(crate) struct Segment {
    /// The socket.
    pub key: SocketKey,
    /// Where its bytes are.
    pub view: View,
    /// How many moved.
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

/// Captures what the budget allows and sends the record. `scratch.record.exchange` is set by the caller.
#[inline(never)]
pub(crate) fn send(scratch: &mut Scratch, conn: &mut Conn, segment: &Segment) -> u64 {
    let mut flags = segment.flags;
    let moved = u64::from(segment.moved);
    let wanted = if moved < u64::from(conn.budget) {
        segment.moved
    } else {
        conn.budget
    };
    let captured = user::capture(
        scratch,
        segment.view.place,
        segment.view.vectors,
        u64::from(wanted),
    );
    conn.budget -= wanted;
    if segment.view.place == 0 {
        flags |= segment_flag::UNSEEN;
        count(Counter::ZeroCopy, 1);
    } else if captured < u64::from(wanted) {
        flags |= segment_flag::UNSEEN;
    }
    scratch.record.tail = [0; 8];
    if captured < moved && user::tail(scratch, segment.view.place, segment.view.vectors, moved) != 0
    {
        flags |= segment_flag::TAIL;
    }
    fill(&mut scratch.record, conn, segment, flags);
    emit::segment(scratch, captured)
}

/// Fills the fixed part of a segment's record, but for its exchange and tail.
#[inline(always)]
pub(crate) fn fill(record: &mut SegmentRecord, conn: &Conn, segment: &Segment, flags: u8) {
    record.head = RecordHead {
        kind: kind::SEGMENT,
        payload: 0,
        size: 0,
        ktime_ns: segment.now,
    };
    record.process = process_key();
    record.socket = segment.key;
    record.enter_ktime_ns = segment.enter_ns;
    record.pos = segment.pos;
    record.len = segment.moved;
    record.tid = bpf_get_current_pid_tgid() as u32;
    record.error = 0;
    record.direction = segment.way;
    record.op = segment.op;
    record.flags = flags
        | if conn.family == AF_UNIX {
            segment_flag::COUNTED
        } else {
            0
        };
    record.role = conn.role;
    record.protocol = conn.protocol;
}

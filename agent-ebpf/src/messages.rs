//! Connections of brokers' clients: everything that moves is told.
//!
//! In: a write or a read of such a client, whose first bytes are captured. Out: a record with them and with ids: those of what the write puts, or those of
//! the context that its unit has from this read on. Always holds: nothing is understood here; user space reads the protocol (queues push,
//! pipeline and multiplex, so that a change of direction says nothing). Refuses: the broker's own ends, which would say the same again.

use agent_common::abi::{Conn, direction, evidence, segment_flag};

use crate::{
    carry,
    exchange::parent_of_write,
    flow::{Call, would_block},
    ids::{copy, new_span_id, new_trace_id, now},
    maps::Scratch,
    unit,
};

/// The call wrote on a broker's client, or read (`way`) from `file`: the segment has ids if there are any.
#[inline(always)]
pub(crate) fn moved(scratch: &mut Scratch, conn: &mut Conn, call: &Call, way: u8, file: u64) {
    if ids(conn, call, way, file) != 0 {
        scratch.found.add(segment_flag::EXCHANGE);
    }
}

/// Leaves ids and evidence in `conn`. Returns 0 where there are none.
#[inline(never)]
pub(crate) fn ids(conn: &mut Conn, call: &Call, way: u8, file: u64) -> u64 {
    conn.last_direction = way;
    let salt = call.task.pid_tgid();
    conn.span_id = new_span_id(salt);
    if way == direction::TX {
        parent_of_write(conn, call.task, now());
        return 1;
    }
    copy(&mut conn.trace_id, &new_trace_id(salt));
    // Which trace a job belongs to is known in user space only: its calls carry nothing on.
    conn.context = 0;
    carry::shape_server(conn);
    unit::job::enter(call.task, conn, u64::from(would_block(call, file)), now());
    u64::from(conn.evidence != evidence::NONE)
}

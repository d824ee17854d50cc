//! Connections of brokers' clients: everything that moves is told.
//!
//! In: a write or a read of such a client, whose first bytes are captured. Out: a record with them and with ids: those of what the write puts, or those of
//! the context that its unit has from this read on. Always holds: nothing is understood here; user space reads the protocol (queues push,
//! pipeline and multiplex, so that a change of direction says nothing). Refuses: the broker's own ends, which would say the same again.

use agent_common::abi::{Conn, direction, evidence, segment_flag};

use crate::{
    carry,
    exchange::parent_of_write,
    flow::Call,
    ids::{copy, new_span_id, new_trace_id, now},
    unit,
};

/// The call wrote on a broker's client, or read (`way`); `is_blocking` is not 0 where a read would have waited. Leaves ids and evidence in
/// `conn` and returns flags for the segment.
#[inline(never)]
pub(crate) fn moved(conn: &mut Conn, call: &Call, way: u8, is_blocking: u64) -> u64 {
    conn.last_direction = way;
    let salt = call.task.pid_tgid();
    conn.span_id = new_span_id(salt);
    if way == direction::TX {
        parent_of_write(conn, call.task, now());
        return u64::from(segment_flag::EXCHANGE);
    }
    copy(&mut conn.trace_id, &new_trace_id(salt));
    // Which trace a job belongs to is known in user space only: its calls carry nothing on.
    conn.context = 0;
    carry::shape_server(conn);
    unit::job::enter(call.task, conn, is_blocking, now());
    if conn.evidence == evidence::NONE {
        0
    } else {
        u64::from(segment_flag::EXCHANGE)
    }
}

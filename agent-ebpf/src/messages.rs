//! Connections of brokers' clients: everything that moves is told.
//!
//! In: a write or a read of such a client, whose first bytes are captured. Out: a record with them and with ids: those of what the write puts, or those of
//! the context that its unit has from this read on. Always holds: nothing is understood here; user space reads the protocol (queues push,
//! pipeline and multiplex, so that a change of direction says nothing). Refuses: the broker's own ends, which would say the same again.
//!
//! Clients over HTTP/1 are told of as ever; of those whose server has a queue, which user space says, reads give a context, too.

use agent_common::abi::{
    Conn, conn_flag, demand, direction, evidence, protocol, role, segment_flag, server_key,
};

use crate::{
    carry,
    exchange::parent_of_write,
    flow::{Call, would_block},
    ids::{copy, new_span_id, new_trace_id, now},
    maps::{DEMANDS, SERVERS, Scratch},
    unit,
};

/// The call wrote on a broker's client, or read (`way`) from `file`: the segment has ids if there are any.
#[inline(always)]
pub(crate) fn moved(scratch: &mut Scratch, conn: &mut Conn, call: &Call, way: u8, file: u64) {
    if ids(conn, call, way, file) != 0 {
        scratch.found.add(segment_flag::EXCHANGE);
    }
}

/// Whether a client over HTTP/1 speaks to a server that has a queue.
#[inline(always)]
pub(crate) fn is_of_queue(conn: &mut Conn) -> bool {
    if conn.role != role::CLIENT || conn.protocol != protocol::HTTP1 {
        return false;
    }
    if conn.flags & conn_flag::OF_QUEUE == 0 && has_servers() {
        look_up(conn);
    }
    conn.flags & conn_flag::OF_QUEUE != 0
}

/// Whether any such server is known.
#[inline(always)]
pub(crate) fn has_servers() -> bool {
    DEMANDS
        .get(demand::SERVERS)
        .is_some_and(|known| *known != 0)
}

#[inline(never)]
fn look_up(conn: &mut Conn) -> u64 {
    let server = server_key(conn.remote_addr, conn.remote_port);
    // SAFETY: one byte, only tested for presence.
    if unsafe { SERVERS.get(server) }.is_some() {
        conn.flags |= conn_flag::OF_QUEUE;
    }
    1
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

//! Client exchanges that wait for the server on this host to read their request.
//!
//! In: a client writes a request (at sys_enter, so that the server cannot be faster). Out: the server that reads the
//! byte with that position takes it. Always holds: an entry is taken once, and is deleted at the latest with its
//! connection or by the sweeper in user space.

use agent_common::{
    abi::{Conn, ExchangeIds, Pending, PendingKey, conn_flag, evidence},
    counters::Counter,
};

use crate::maps::{PENDING, count};

/// `AF_UNIX`
pub(crate) const AF_UNIX: u16 = 1;

/// The key a client's request is registered under.
#[inline(always)]
fn client_key(conn: &Conn, seq: u32) -> PendingKey {
    if conn.family == AF_UNIX {
        // The peer's `struct sock` is in remote_addr: the server's own address.
        return PendingKey {
            addr: conn.remote_addr,
            port: 0,
            seq: 0,
        };
    }
    PendingKey {
        addr: conn.local_addr,
        port: u32::from(conn.local_port),
        seq,
    }
}

/// A client begins to write a request at `seq`.
#[inline(never)]
pub(crate) fn register(conn: &mut Conn, seq: u32, now: u64) -> u64 {
    forget(conn);
    let key = client_key(conn, seq);
    let value = Pending {
        trace_id: conn.trace_id,
        span_id: conn.span_id,
        ktime_ns: now,
    };
    if PENDING.insert(key, value, 0).is_err() {
        count(Counter::PendingFull, 1);
        return 0;
    }
    conn.pending_seq = seq;
    conn.flags |= conn_flag::PENDING;
    1
}

/// The client's exchange ended or its connection closed.
#[inline(always)]
pub(crate) fn forget(conn: &mut Conn) {
    if conn.flags & conn_flag::PENDING != 0 {
        forget_registered(conn);
    }
}

/// See [`forget`].
#[inline(never)]
fn forget_registered(conn: &mut Conn) -> u64 {
    conn.flags &= !conn_flag::PENDING;
    // Taken already is the ordinary case.
    u64::from(PENDING.remove(client_key(conn, conn.pending_seq)).is_ok())
}

/// A server read a request whose first byte is at `seq`: whose was it? Fills `ids` and returns 1 if that is known.
#[inline(never)]
pub(crate) fn take(conn: &Conn, sk: u64, seq: u32, ids: &mut ExchangeIds) -> u64 {
    let key = if conn.family == AF_UNIX {
        let mut addr = [0u8; 16];
        let own = sk.to_ne_bytes();
        addr[..8].copy_from_slice(&own);
        PendingKey {
            addr,
            port: 0,
            seq: 0,
        }
    } else {
        PendingKey {
            addr: conn.remote_addr,
            port: u32::from(conn.remote_port),
            seq,
        }
    };
    // SAFETY: the value is copied at once; entries are only written by their client before the request's bytes move.
    let Some(found) = (unsafe { PENDING.get(key) }) else {
        return 0;
    };
    ids.trace_id = found.trace_id;
    ids.parent_span_id = found.span_id;
    ids.evidence = evidence::SOCKET;
    let _ = PENDING.remove(key);
    1
}

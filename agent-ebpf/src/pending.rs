//! Client exchanges that wait for the server on this host to read their request.
//!
//! In: a client begins to write a request (before its bytes move, so that the server cannot be faster). Out: the server
//! that reads the byte with that position takes its ids. Always holds: the exchange waits in the entry of the client's own
//! connection, which only the client writes; the server finds it by the address it sees, and takes it once. Refuses: a
//! position that is not exactly the registered one.

use agent_common::{
    abi::{Conn, PeerKey, SocketKey, Words, conn_flag, evidence},
    carried::context,
    counters::Counter,
};

use crate::{
    conn,
    ids::copy,
    maps::{PEERS, count},
    settings::setting,
    walk::field,
};

/// `AF_UNIX`
pub(crate) const AF_UNIX: u16 = 1;

/// Where this end's stream begins: the sequence number of its first byte. SYN and FIN count as bytes that were
/// acknowledged (`tcp_snd_una_update` in net/ipv4/tcp_input.c), so the difference never moves.
#[inline(always)]
fn first_sent(sk: u64) -> u32 {
    let acked: u64 = field(sk, setting!(offsets.tcp_bytes_acked));
    let una: u32 = field(sk, setting!(offsets.tcp_snd_una));
    una.wrapping_sub(acked as u32).wrapping_add(1)
}

/// The same of the other end, as this one knows it (`tcp_rcv_nxt_update`).
#[inline(always)]
fn first_received(sk: u64) -> u32 {
    let received: u64 = field(sk, setting!(offsets.tcp_bytes_received));
    let next: u32 = field(sk, setting!(offsets.tcp_rcv_nxt));
    next.wrapping_sub(received as u32)
}

/// The key of this end, which connected. Its `first` stays in the entry, for when it closes.
#[inline(always)]
pub(crate) fn own_key(conn: &mut Conn, sk: u64) -> PeerKey {
    conn.first = first_sent(sk);
    known_key(conn)
}

/// The key that [`own_key`] gave.
#[inline(always)]
pub(crate) fn known_key(conn: &Conn) -> PeerKey {
    peer_key(conn.local_addr, conn.local_port, conn.netns, conn.first)
}

/// The key of the other end.
#[inline(always)]
pub(crate) fn remote_key(conn: &Conn, sk: u64) -> PeerKey {
    peer_key(
        conn.remote_addr,
        conn.remote_port,
        conn.netns,
        first_received(sk),
    )
}

/// How the other end of a connection names an address of this one.
#[inline(always)]
fn peer_key(addr: Words, port: u16, netns: u32, first: u32) -> PeerKey {
    PeerKey {
        addr,
        port: u32::from(port),
        netns: if is_loopback(addr) { netns } else { 0 },
        first,
        zero: 0,
    }
}

/// ::ffff:127.0.0.0/104 and ::1, by the bytes' order on the wire.
#[inline(always)]
pub(crate) fn is_loopback(addr: Words) -> bool {
    addr[0] == 0 && (addr[1].to_be() >> 24 == 0x00ff_ff7f || addr[1].to_be() == 1)
}

/// A client begins to write a request at `seq`. Its ids are in `conn` already.
#[inline(never)]
pub(crate) fn register(key: &SocketKey, conn: &mut Conn, seq: u32) -> u64 {
    conn.pending_seq = seq;
    conn.flags |= conn_flag::PENDING;
    // The server of a unix connection knows its client's `struct sock`.
    if conn.family != AF_UNIX && conn.flags & conn_flag::PEERED == 0 {
        let own = own_key(conn, key.sk);
        if PEERS.insert(own, *key, 0).is_err() {
            count(Counter::PeersFull, 1);
            return 0;
        }
        conn.flags |= conn_flag::PEERED;
    }
    1
}

/// The client's exchange is over, or never began: no server may take it any more.
#[inline(always)]
pub(crate) fn forget(conn: &mut Conn) {
    conn.flags &= !conn_flag::PENDING;
}

/// The client's connection closed.
#[inline(never)]
pub(crate) fn leave(conn: &mut Conn) -> u64 {
    if conn.flags & conn_flag::PEERED == 0 {
        return 0;
    }
    conn.flags &= !conn_flag::PEERED;
    u64::from(PEERS.remove(known_key(conn)).is_ok())
}

/// Requests of a client that was not found after which it is not looked for again: it is on another host or out of scope. A
/// client on this host is found with its first request, one that was met in the middle of a connection with the next.
const MISSES_MAX: u64 = 4;

/// The client's entry, by what the server knows of it.
#[inline(always)]
fn client(conn: &mut Conn, sk: u64) -> Option<&'static mut Conn> {
    if conn.peer.sk != 0 {
        if let Some(found) = conn::find(conn.peer) {
            return Some(found);
        }
    } else if conn.peer.ino >= MISSES_MAX {
        return None;
    }
    let remote = remote_key(conn, sk);
    // SAFETY: two words, copied at once; what they name is looked up and compared.
    let Some(key) = unsafe { PEERS.get(remote) }.copied() else {
        conn.peer = SocketKey {
            sk: 0,
            ino: conn.peer.ino + 1,
        };
        return None;
    };
    conn.peer = key;
    conn::find(key)
}

/// A server read a request whose first byte is at `seq`: whose was it? Puts trace and parent into `conn` and returns 1 if
/// that is known.
#[inline(never)]
pub(crate) fn take(conn: &mut Conn, sk: u64, seq: u32) -> u64 {
    if setting!(socket_pair) == 0 && conn.family != AF_UNIX {
        return 0;
    }
    let taken = if conn.evidence == evidence::SOCKET {
        conn.parent_span_id
    } else {
        0
    };
    let found = if conn.family == AF_UNIX {
        match conn::find_unix_peer(conn, sk) {
            Some(found) => found,
            None => return 0,
        }
    } else {
        match client(conn, sk) {
            Some(found) if found.pending_seq == seq => found,
            _ => return 0,
        }
    };
    if found.flags & conn_flag::PENDING == 0 || found.span_id == taken {
        return 0;
    }
    copy(&mut conn.trace_id, &found.trace_id);
    conn.parent_span_id = found.span_id;
    conn.evidence = evidence::SOCKET;
    conn.context = found.context & (context::CERTAIN | context::SAMPLED);
    found.paired = 1;
    1
}

//! Connections: found by their socket, made when first seen, deleted when the kernel closes them.
//!
//! In: a socket of the current task. Out: its entry in the map. Always holds: an entry whose inode number differs
//! belongs to a socket that is gone. Refuses: sockets that are not streams, and multipath TCP (its positions are
//! not in `tcp_sock`), which are counted.

use agent_common::{
    abi::{Conn, ConnRecord, SocketKey, Words, conn_flag, demand, kind, unit_flag, verdict},
    counters::Counter,
};
use aya_ebpf::helpers::bpf_get_current_comm;

use crate::{
    emit,
    ids::now,
    maps::{CONNS, OWN, PORTS, Scratch, count, is_armed, scratch},
    pending::{self, AF_UNIX},
    segment,
    settings::setting,
    unit,
    walk::{Sock, Socket, Task, field},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// `last_direction` before any byte was seen.
const NO_DIRECTION: u8 = 255;

/// The entry of a socket, if it is followed.
#[inline(always)]
pub(crate) fn find(key: SocketKey) -> Option<&'static mut Conn> {
    let place = CONNS.get_ptr_mut(key.sk)?;
    // SAFETY: entries are deleted only when their socket closes or is given up; a program that still holds one then
    // writes to memory of the map that is at worst reused for another connection's entry of the same type, which
    // the inode check of its next user detects.
    let conn = unsafe { &mut *place };
    (conn.ino == key.ino).then_some(conn)
}

/// The entry of a unix server's client, if that is followed.
#[inline(always)]
pub(crate) fn find_unix_peer(conn: &Conn, sk: u64) -> Option<&'static mut Conn> {
    find_sender(conn.remote_addr[0], sk)
}

/// The entry of the unix socket `sk`, if its other end is `reader`.
#[inline(always)]
pub(crate) fn find_sender(sk: u64, reader: u64) -> Option<&'static mut Conn> {
    let place = CONNS.get_ptr_mut(sk)?;
    // SAFETY: see `find`; that the entry is this connection's is told by its other end.
    let found = unsafe { &mut *place };
    (found.family == AF_UNIX && found.verdict != verdict::IGNORED && found.remote_addr[0] == reader)
        .then_some(found)
}

/// The entry of a socket to be worked on, made if need be; none for one that is not followed. The first thing asked of
/// every call: where nothing is captured it costs one look-up.
#[inline(always)]
pub(crate) fn follow<S: Sock>(sock: S, socket: &Socket) -> Option<&'static mut Conn> {
    if let Some(conn) = find(socket.key) {
        if conn.verdict == verdict::IGNORED {
            return None;
        }
        if conn.flags & conn_flag::ADDRESS_PARTIAL != 0 {
            complete(&socket.key, conn);
        }
        return Some(conn);
    }
    let family: u16 = sock.read(setting!(offsets.skc_family));
    if !is_stream(sock, family) || make(&socket.key, family) == 0 {
        return None;
    }
    find(socket.key).filter(|conn| conn.verdict != verdict::IGNORED)
}

/// IPv4 as IPv4-mapped IPv6.
#[inline(always)]
pub(crate) fn mapped(addr: u32) -> Words {
    // Little-endian: the address' bytes come last in memory, so they are the upper half of the second word.
    [0, (u64::from(addr) << 32) | 0xffff_0000]
}

/// Whether a socket is one that is followed at all.
#[inline(always)]
pub(crate) fn is_stream<S: Sock>(sock: S, family: u16) -> bool {
    if family != AF_INET && family != AF_INET6 && family != AF_UNIX {
        return false;
    }
    if sock.read::<u16>(setting!(offsets.sk_type)) != SOCK_STREAM {
        return false;
    }
    if family == AF_UNIX {
        return true;
    }
    match sock.read::<u16>(setting!(offsets.sk_protocol)) {
        IPPROTO_TCP => true,
        IPPROTO_MPTCP => {
            count(Counter::Mptcp, 1);
            false
        }
        _ => false,
    }
}

/// Reads the addresses of a socket into an entry.
#[inline(always)]
pub(crate) fn addresses(conn: &mut Conn, sk: u64, family: u16) {
    if family == AF_UNIX {
        conn.remote_addr[0] = field(sk, setting!(offsets.unix_peer));
        return;
    }
    if family == AF_INET6 {
        conn.local_addr = field(sk, setting!(offsets.skc_v6_rcv_saddr));
        conn.remote_addr = field(sk, setting!(offsets.skc_v6_daddr));
    } else {
        conn.local_addr = mapped(field(sk, setting!(offsets.skc_rcv_saddr)));
        conn.remote_addr = mapped(field(sk, setting!(offsets.skc_daddr)));
    }
    conn.local_port = field(sk, setting!(offsets.skc_num));
    conn.remote_port = u16::from_be(field(sk, setting!(offsets.skc_dport)));
}

/// The agent's own connection is made: its other end is not traced.
#[inline(always)]
pub(crate) fn own(conn: &mut Conn, sk: u64) {
    // A full map shows the backend's spans; they are true, only of no use.
    let _ = OWN.insert(pending::own_key(conn, sk), 1, 0);
}

/// The agent's own connection closed.
#[inline(always)]
pub(crate) fn forget_own(conn: &Conn) {
    if conn.flags & conn_flag::OWN != 0 {
        let _ = OWN.remove(pending::known_key(conn));
    }
}

/// Whether one of a connection's ports is in scope.
#[inline(always)]
fn port_in_scope(conn: &Conn) -> bool {
    if setting!(ports_all) != 0 {
        return true;
    }
    // SAFETY: one byte each, only tested for presence.
    unsafe { PORTS.get(conn.local_port).is_some() || PORTS.get(conn.remote_port).is_some() }
}

/// Makes the entry of a socket that bytes moved on. Returns 0 where it is not followed.
#[inline(never)]
fn make(key: &SocketKey, family: u16) -> u64 {
    let Some(mut held) = scratch() else { return 0 };
    let scratch = &mut *held;
    begin(scratch, key, family);
    addresses(&mut scratch.conn, key.sk, family);
    if family != AF_UNIX {
        let peer = pending::remote_key(&scratch.conn, key.sk);
        // SAFETY: one byte, only tested for presence.
        if unsafe { OWN.get(peer) }.is_some() {
            scratch.conn.verdict = verdict::IGNORED;
        }
    }
    insert(scratch, key.sk)
}

/// Fills the scratch entry with what every new connection has.
#[inline(never)]
pub(crate) fn begin(scratch: &mut Scratch, key: &SocketKey, family: u16) -> u64 {
    // Field by field: a whole `Conn` on the stack, below two callers, is more than 6.1's verifier allows (512 bytes).
    let conn = &mut scratch.conn;
    // SAFETY: a Conn is integers and byte arrays, for which all zero is a value.
    unsafe { core::ptr::write_bytes(&raw mut *conn, 0, 1) };
    conn.ino = key.ino;
    conn.process = Task::current().process_key();
    conn.last_ns = now();
    conn.family = family;
    conn.verdict = verdict::SNIFF;
    conn.last_direction = NO_DIRECTION;
    let net: u64 = field(key.sk, setting!(offsets.skc_net));
    scratch.conn.netns = field(net, setting!(offsets.net_inum));
    1
}

/// Puts the scratch entry into the map. Returns 0 where the map is full.
#[inline(never)]
pub(crate) fn insert(scratch: &mut Scratch, sk: u64) -> u64 {
    if !port_in_scope(&scratch.conn) {
        scratch.conn.verdict = verdict::IGNORED;
    }
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "by value it would be copied to the stack, where there is no room"
    )]
    let inserted = CONNS.insert(sk, &scratch.conn, 0);
    if inserted.is_err() {
        count(Counter::ConnsFull, 1);
        return 0;
    }
    1
}

/// A connection made by connect() moves its first bytes: now its own address is known.
#[inline(never)]
fn complete(key: &SocketKey, conn: &mut Conn) -> u64 {
    let family = conn.family;
    addresses(conn, key.sk, family);
    conn.flags &= !conn_flag::ADDRESS_PARTIAL;
    match scratch() {
        Some(mut scratch) => announce(&mut scratch, key, conn),
        None => 0,
    }
}

/// Tells user space about a connection that moves bytes.
#[inline(always)]
pub(crate) fn announce(scratch: &mut Scratch, key: &SocketKey, conn: &mut Conn) -> u64 {
    segment::clear(&raw mut scratch.announced.exchange);
    conn.flags |= conn_flag::TOLD;
    announce_as(scratch, key, conn, 0)
}

/// Tells user space about a connection. With `by_connect`, the ids of the attempt are in `scratch.announced.exchange`.
#[inline(never)]
pub(crate) fn announce_as(
    scratch: &mut Scratch,
    key: &SocketKey,
    conn: &Conn,
    by_connect: u16,
) -> u64 {
    // Field by field, for the stack's sake (see `begin`). `exchange` is set by the caller.
    let record = &mut scratch.announced;
    record.head.kind = kind::CONN;
    record.head.payload = 0;
    record.head.size = size_of::<ConnRecord>() as u32;
    record.head.ktime_ns = now();
    record.process = conn.process;
    record.socket = *key;
    record.local_addr = conn.local_addr;
    record.remote_addr = conn.remote_addr;
    record.local_port = conn.local_port;
    record.remote_port = conn.remote_port;
    record.family = conn.family;
    record.by_connect = by_connect;
    record.netns = conn.netns;
    let task = Task::current();
    record.tid = task.tid();
    record.comm = bpf_get_current_comm().unwrap_or_default();
    // A unix connection that moves bytes asks for hooks.
    let asks = by_connect == 0 && conn.family == AF_UNIX && !is_armed(demand::UNIX);
    let is_waking = is_first(task) || asks;
    emit::connection(scratch, is_waking);
    1
}

/// Whether user space was not woken yet for a connection of the current thread: then it may not know the process, which may end
/// before it looks by itself.
#[inline(always)]
fn is_first(task: Task) -> bool {
    let Some(thread) = unit::current(task.pid_tgid()) else {
        return true;
    };
    let was_told = thread.unit.flags & unit_flag::TOLD != 0;
    thread.unit.flags |= unit_flag::TOLD;
    !was_told
}

/// Deletes an entry.
#[inline(always)]
pub(crate) fn remove(conn: &mut Conn, sk: u64) {
    forget_own(conn);
    pending::leave(conn);
    // It may be gone already: user space deletes entries too.
    let _ = CONNS.remove(sk);
}

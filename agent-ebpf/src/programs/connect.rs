//! connect(), the closing of sockets, and the states in between.
//!
//! In: connect's enter and exit, close's enter, `sock:inet_sock_set_state`. Out: CONN and STATE records. Always
//! holds: a TCP connection leaves the map when the kernel sets it to TCP_CLOSE; a unix connection when its last
//! descriptor is closed.

use agent_common::abi::{
    Conn, ExchangeIds, RecordHead, SocketKey, StateRecord, conn_flag, evidence, kind, role, verdict,
};
use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use aya_log_ebpf::info;

use super::{enter_arg, exit_result};
use crate::{
    conn, emit,
    flow::{args, parent_by_unit},
    ids::{new_span_id, now},
    maps::{CONNS, scratch},
    pending::{self, AF_UNIX},
    scope::{in_scope, is_self},
    settings::setting,
    unit,
    walk::{field, process_key, socket_of},
};

/// `TCP_SYN_SENT` (include/net/tcp_states.h).
const TCP_SYN_SENT: u8 = 2;
/// `TCP_FIN_WAIT1`: this side closed first.
const TCP_FIN_WAIT1: u8 = 4;
/// `TCP_CLOSE`
const TCP_CLOSE: u8 = 7;
/// `TCP_LISTEN`: reached in listen() only, so in the context of the process that calls it.
const TCP_LISTEN: u32 = 10;
/// `TCP_LAST_ACK`: this side closed second.
const TCP_LAST_ACK: u8 = 9;

/// connect(fd, addr, addrlen): the connection is known before it is made, so that its failure can be told.
#[tracepoint]
pub(crate) fn enter_connect(ctx: TracePointContext) -> u32 {
    let fd = enter_arg(&ctx, 0);
    if connecting(fd, enter_arg(&ctx, 1)).is_some() {
        info!(&ctx, "connect: fd {} is followed", fd);
    }
    0
}

#[inline(always)]
fn connecting(fd: u64, addr: u64) -> Option<()> {
    if !in_scope() {
        return None;
    }
    let socket = socket_of(fd)?;
    let key = socket.key;
    let family: u16 = field(key.sk, setting!(offsets.skc_family));
    if !conn::is_stream(key.sk, family) {
        return None;
    }
    // A second connect() on a socket asks for the result of the first.
    if conn::find(key).is_some() {
        return None;
    }
    let scratch = scratch()?;
    let now = now();
    conn::begin(scratch, &key, family, now);
    if family != AF_UNIX {
        // SAFETY: the helper checks the address; a sockaddr_in is 16 bytes and may end a page, so v6 is read apart.
        let head = unsafe { bpf_probe_read_user(addr as *const [u8; 8]) }.ok()?;
        scratch.conn.remote_port = u16::from_be_bytes([head[2], head[3]]);
        let named = u16::from_ne_bytes([head[0], head[1]]);
        if named == 2 {
            scratch.conn.remote_addr = [
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, head[4], head[5], head[6], head[7],
            ];
        } else {
            // SAFETY: the helper checks the address.
            scratch.conn.remote_addr =
                unsafe { bpf_probe_read_user((addr + 8) as *const [u8; 16]) }.ok()?;
        }
    }
    scratch.conn.flags |= conn_flag::ADDRESS_PARTIAL;
    scratch.announced.exchange = ExchangeIds {
        span_id: new_span_id(),
        ..ExchangeIds::default()
    };
    parent_by_unit(now, &mut scratch.announced.exchange);
    let ids = &scratch.announced.exchange;
    if ids.evidence == evidence::TURN {
        scratch.conn.bound_trace_id = ids.trace_id;
        scratch.conn.bound_span_id = ids.parent_span_id;
        scratch.conn.flags |= conn_flag::BOUND;
    }
    if conn::insert(scratch, key.sk) == 0 {
        return None;
    }
    let conn = conn::find(key)?;
    if conn.verdict != verdict::IGNORED {
        conn::announce_as(scratch, &key, conn, now, 1);
    }
    Some(())
}

/// connect returned an error of its own (a TCP refusal was told by the state's change already, and its entry is gone).
#[tracepoint]
pub(crate) fn exit_connect(ctx: TracePointContext) -> u32 {
    /// In progress, already, is connected, interrupted, would block: not failures.
    const NOT_FAILURES: [i64; 4] = [-115, -114, -106, -11];
    let result = exit_result(&ctx);
    if is_self() {
        let [fd, ..] = args();
        if let Some(socket) = socket_of(fd)
            && conn::find(socket.key).is_none()
            && let Some(scratch) = scratch()
        {
            conn::own(scratch, &socket, now());
        }
        return 0;
    }
    // BOUND: 4.
    if result >= 0 || result == -4 || result <= -512 || NOT_FAILURES.contains(&result) {
        return 0;
    }
    let [fd, ..] = args();
    if let Some(socket) = socket_of(fd)
        && let Some(conn) = conn::find(socket.key)
        && conn.flags & conn_flag::ADDRESS_PARTIAL != 0
    {
        closed(conn, socket.key, TCP_SYN_SENT, TCP_CLOSE, (-result) as u16);
    }
    0
}

/// Tells a state and, for TCP_CLOSE, forgets the connection.
#[inline(always)]
fn closed(conn: &mut Conn, key: SocketKey, old_state: u8, new_state: u8, error: u16) {
    if conn.verdict != verdict::IGNORED {
        if new_state == TCP_CLOSE || new_state == TCP_FIN_WAIT1 || new_state == TCP_LAST_ACK {
            if conn.role == role::SERVER {
                unit::leave(conn);
            }
            pending::forget(conn);
        }
        let record = StateRecord {
            head: RecordHead {
                kind: kind::STATE,
                payload: 0,
                size: size_of::<StateRecord>() as u32,
                ktime_ns: now(),
            },
            socket: key,
            old_state,
            new_state,
            error,
            rx_bytes: conn.rx_bytes as u32,
            tx_bytes: conn.tx_bytes as u32,
            zero: 0,
        };
        emit::small(&record);
    }
    if new_state == TCP_CLOSE {
        conn::forget_own(conn);
        conn::remove(key.sk);
    }
}

/// `inet_sock_set_state(sk, oldstate, newstate)` (include/trace/events/sock.h). Runs in whatever context changes the
/// state, softirq included, hence a raw tracepoint and no scratch.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn sock_state(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let new_state: u32 = ctx.arg(2);
    if new_state == TCP_LISTEN && in_scope() {
        let port: u16 = field(sk, setting!(offsets.skc_num));
        super::lifetime::tell(kind::LISTEN, process_key(), u32::from(port));
        return 0;
    }
    let Some(place) = CONNS.get_ptr_mut(sk) else {
        return 0;
    };
    // SAFETY: see conn::find; the kernel is changing the state of this very socket, so its entry is not another's.
    let conn = unsafe { &mut *place };
    let old_state: u32 = ctx.arg(1);
    let key = SocketKey { sk, ino: conn.ino };
    let error: u32 = field(sk, setting!(offsets.sk_err));
    closed(conn, key, old_state as u8, new_state as u8, error as u16);
    0
}

/// close(fd): the only sign that a unix connection ends. TCP has its states.
#[tracepoint]
pub(crate) fn enter_close(ctx: TracePointContext) -> u32 {
    let Some(socket) = socket_of(enter_arg(&ctx, 0)) else {
        return 0;
    };
    let Some(conn) = conn::find(socket.key) else {
        return 0;
    };
    if conn.family != AF_UNIX {
        return 0;
    }
    let references: u64 = field(socket.file, setting!(offsets.file_count));
    if references == u64::from(setting!(offsets.file_count_one)) {
        closed(conn, socket.key, 0, TCP_CLOSE, 0);
    }
    0
}

//! connect(), the closing of sockets, and the states in between.
//!
//! In: `sock:inet_sock_set_state`; connect's enter and exit and close's enter, where they are attached. Out: CONN and
//! STATE records. Always holds: a TCP connection leaves the map when the kernel sets it to TCP_CLOSE; a unix connection
//! when its last descriptor is closed.

use agent_common::abi::{
    Conn, RecordHead, SocketKey, StateRecord, Words, conn_flag, evidence, kind, role, verdict,
};
use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};

use super::{enter_arg, exit_result};
use crate::{
    conn, emit,
    exchange::parent_by_unit,
    ids::{new_span_id, now},
    maps::{CONNS, Scratch, scratch},
    pending::{self, AF_UNIX},
    scope::{is_self, task_in_scope},
    segment::clear,
    settings::setting,
    tick, unit,
    walk::{Sock, Task, Typed, Untyped, field},
};

const AF_INET: u16 = 2;
/// `connect` (arch/x86/entry/syscalls/syscall_64.tbl).
const CALL_CONNECT: u64 = 42;
/// "Cannot assign requested address" (include/uapi/asm-generic/errno.h).
const EADDRNOTAVAIL: u32 = 99;
/// `TCP_ESTABLISHED` (include/net/tcp_states.h).
const TCP_ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT`
const TCP_SYN_SENT: u8 = 2;
/// `TCP_FIN_WAIT1`: this side closed first.
const TCP_FIN_WAIT1: u8 = 4;
/// `TCP_CLOSE`
const TCP_CLOSE: u8 = 7;
/// `TCP_LISTEN`: reached in listen() only, so in the context of the process that calls it.
const TCP_LISTEN: u32 = 10;
/// `TCP_LAST_ACK`: this side closed second.
const TCP_LAST_ACK: u8 = 9;

/// A connection attempt is known before it is made, so that its failure can be told. `conn` in the scratch has its
/// remote address.
#[inline(always)]
fn attempt(task: Task, scratch: &mut Scratch, key: &SocketKey) -> Option<()> {
    scratch.conn.flags |= conn_flag::ADDRESS_PARTIAL;
    clear(&raw mut scratch.announced.exchange);
    scratch.announced.exchange.span_id = new_span_id(task.pid_tgid());
    parent_by_unit(task, now(), &mut scratch.announced.exchange);
    let ids = &scratch.announced.exchange;
    if ids.evidence == evidence::TURN || ids.evidence == evidence::SESSION {
        scratch.conn.trace_id = ids.trace_id;
        scratch.conn.parent_span_id = ids.parent_span_id;
        scratch.conn.evidence = ids.evidence;
        scratch.conn.flags |= conn_flag::BOUND;
    }
    if ids.evidence == evidence::ASYNC || ids.evidence == evidence::REPLY {
        unit::node::connects(task);
    }
    unit::task::connects(task, &mut scratch.conn);
    if conn::insert(scratch, key.sk) == 0 {
        return None;
    }
    let conn = conn::find(*key)?;
    if conn.verdict != verdict::IGNORED {
        conn::announce_as(scratch, key, conn, 1);
    }
    Some(())
}

/// `inet_sock_set_state` again, for the state that only connect() sets, in its caller's context: a program of its own,
/// because it works with the scratch, which [`sock_state`] in softirq must not find in use.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn connecting(ctx: BtfTracePointContext) -> i32 {
    let state: i32 = ctx.arg(2);
    if state == i32::from(TCP_SYN_SENT) {
        let _ = tcp_connecting(Typed(ctx.arg(0)));
    }
    0
}

#[inline(always)]
fn tcp_connecting(sock: Typed) -> Option<()> {
    let task = Task::current();
    let is_own = is_self(task);
    if !is_own {
        task_in_scope()?;
    }
    let key = sock.socket()?.key;
    let family: u16 = sock.read(setting!(offsets.skc_family));
    if !conn::is_stream(sock, family) {
        return None;
    }
    let scratch = &mut *scratch()?;
    conn::begin(scratch, &key, family);
    conn::addresses(&mut scratch.conn, key.sk, family);
    if let Some(thread) = unit::existing(task.pid_tgid()) {
        // Whatever connect() returns, the states tell it.
        thread.inflight.socket.sk = 0;
    }
    if is_own {
        scratch.conn.verdict = verdict::IGNORED;
        scratch.conn.flags = conn_flag::OWN;
        conn::insert(scratch, key.sk);
        return None;
    }
    attempt(task, scratch, &key)
}

/// connect(fd, addr, addrlen): of unix sockets, which have no states, and of TCP, which may say no before it changes
/// its state.
#[tracepoint]
pub(crate) fn enter_connect(ctx: TracePointContext) -> u32 {
    let _ = called(enter_arg(&ctx, 0));
    0
}

#[inline(always)]
fn called(fd: u64) -> Option<()> {
    let task = task_in_scope()?;
    let socket = task.socket_of(fd)?;
    let key = socket.key;
    let family: u16 = field(key.sk, setting!(offsets.skc_family));
    if !conn::is_stream(Untyped(key.sk), family) {
        return None;
    }
    if family != AF_UNIX {
        let state: u8 = field(key.sk, setting!(offsets.skc_state));
        let error: u32 = field(key.sk, setting!(offsets.sk_err));
        // Else this call asks for the result of an attempt that was told.
        if state == TCP_CLOSE && error == 0 {
            unit::current(task.pid_tgid())?.inflight.socket = key;
        }
        return None;
    }
    // A second connect() on a socket asks for the result of the first.
    if conn::find(key).is_some() {
        return None;
    }
    let scratch = &mut *scratch()?;
    conn::begin(scratch, &key, family);
    attempt(task, scratch, &key)
}

/// connect returned an error of its own: a unix socket's, or one TCP gave before it tried.
#[tracepoint]
pub(crate) fn exit_connect(ctx: TracePointContext) -> u32 {
    /// In progress, already, is connected, interrupted, would block: not failures.
    const NOT_FAILURES: [i64; 4] = [-115, -114, -106, -11];
    let result = exit_result(&ctx);
    // BOUND: 4.
    if result >= 0 || result == -4 || result <= -512 || NOT_FAILURES.contains(&result) {
        return 0;
    }
    let [fd, addr, ..] = Task::current().registers().args();
    let _ = refused(fd, addr, (-result) as u16);
    0
}

#[inline(always)]
fn refused(fd: u64, addr: u64, error: u16) -> Option<()> {
    let task = task_in_scope()?;
    let socket = task.socket_of(fd)?;
    let key = socket.key;
    if let Some(conn) = conn::find(key) {
        if conn.flags & conn_flag::ADDRESS_PARTIAL != 0 {
            closed(conn, key, TCP_SYN_SENT, TCP_CLOSE, error);
        }
        return None;
    }
    // No route, or no such address: TCP never came to a state. (A refusal did, and its entry is gone.)
    let inflight = &mut unit::existing(task.pid_tgid())?.inflight;
    if inflight.socket != key {
        return None;
    }
    inflight.socket.sk = 0;
    let family: u16 = field(key.sk, setting!(offsets.skc_family));
    let scratch = &mut *scratch()?;
    conn::begin(scratch, &key, family);
    named(&mut scratch.conn, addr)?;
    attempt(task, scratch, &key)?;
    closed(conn::find(key)?, key, TCP_SYN_SENT, TCP_CLOSE, error);
    Some(())
}

/// The address a program wants to connect to.
#[inline(always)]
fn named(conn: &mut Conn, addr: u64) -> Option<()> {
    // SAFETY: the helper checks the address; a sockaddr_in is 16 bytes and may end a page, so v6 is read apart.
    let head = unsafe { bpf_probe_read_user(addr as *const [u8; 8]) }.ok()?;
    conn.remote_port = u16::from_be_bytes([head[2], head[3]]);
    if u16::from_ne_bytes([head[0], head[1]]) == AF_INET {
        conn.remote_addr = conn::mapped(u32::from_ne_bytes([head[4], head[5], head[6], head[7]]));
    } else {
        // SAFETY: the helper checks the address.
        conn.remote_addr = unsafe { bpf_probe_read_user((addr + 8) as *const Words) }.ok()?;
    }
    Some(())
}

/// What of a TCP socket its program has shut down; 0 when that is not known.
#[inline(always)]
fn shutdown(sk: u64, family: u16) -> u8 {
    let offset = setting!(offsets.sk_shutdown);
    if offset == 0 || family == AF_UNIX {
        return 0;
    }
    field(sk, offset)
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
            shutdown: shutdown(key.sk, conn.family),
            zero: [0; 3],
        };
        emit::small(&record);
    }
    if new_state == TCP_CLOSE {
        conn::remove(conn, key.sk);
    }
}

/// Whether a change of state says anything: a connection's result, and what ends it. (That the other side closed first is said by the state
/// before the next one.) A connection passes five states at each end, and each look costs its programs.
#[inline(always)]
fn is_told(old_state: u8, new_state: u8) -> bool {
    match new_state {
        TCP_CLOSE | TCP_FIN_WAIT1 | TCP_LAST_ACK => true,
        _ => old_state == TCP_SYN_SENT,
    }
}

/// `inet_sock_set_state(sk, oldstate, newstate)` (include/trace/events/sock.h). Runs in whatever context changes the
/// state, softirq included, hence a raw tracepoint and no scratch.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn sock_state(ctx: RawTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    let new_state: u32 = ctx.arg(2);
    if new_state == TCP_LISTEN
        && let Some(task) = task_in_scope()
    {
        let port: u16 = field(sk, setting!(offsets.skc_num));
        tick::leave(task, now());
        super::lifetime::tell(kind::LISTEN, task, u32::from(port));
        return 0;
    }
    let old_state: u32 = ctx.arg(1);
    if !is_told(old_state as u8, new_state as u8) {
        return 0;
    }
    let Some(place) = CONNS.get_ptr_mut(sk) else {
        return 0;
    };
    // SAFETY: see conn::find; the kernel is changing the state of this very socket, so its entry is not another's.
    let conn = unsafe { &mut *place };
    let key = SocketKey { sk, ino: conn.ino };
    if new_state == TCP_ESTABLISHED && conn.flags & conn_flag::OWN != 0 {
        // Now its own port is known, and its backend has not read a byte yet.
        let family = conn.family;
        conn::addresses(conn, sk, family);
        conn::own(conn, sk);
        return 0;
    }
    let mut error: u32 = field(sk, setting!(offsets.sk_err));
    if error == 0
        && old_state == u32::from(TCP_SYN_SENT)
        && new_state == u32::from(TCP_CLOSE)
        && Task::current().registers().call() == CALL_CONNECT
    {
        // connect() itself takes the attempt back only where no port is free (`inet_hash_connect`); the socket has no
        // error then, the call returns it.
        error = EADDRNOTAVAIL;
    }
    closed(conn, key, old_state as u8, new_state as u8, error as u16);
    0
}

/// close(fd): the only sign that a unix connection ends. TCP has its states.
#[tracepoint]
pub(crate) fn enter_close(ctx: TracePointContext) -> u32 {
    let Some(socket) = Task::current().socket_of(enter_arg(&ctx, 0)) else {
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

//! The state of a connection as bytes move on it.
//!
//! In: a write before it happens, a write after, a read after. Out: exchanges begun (ids made, contexts looked up),
//! records. Always holds: an exchange begins only at a change of direction with a request token; a write's effects
//! are committed at its exit, when it is known that bytes moved.
//!
//! ```text
//!  SNIFF --token of a known protocol--> HEADS --user space or port filter--> IGNORED
//!    '------ SNIFF_TURNS_MAX turns without a token ------------------------------^
//!  within HEADS, server:  rx turn + request token: exchange begins, unit enters
//!                         rx, same direction:      the unit that reads on enters too
//!                         tx turn (final answer):  unit leaves        tx 1xx: no turn
//!                 client: tx turn + request token: exchange begins, registered for the peer
//! ```

use agent_common::{
    abi::{
        Conn, ExchangeIds, SocketKey, Thread, conn_flag, direction, evidence, role, segment_flag,
        verdict,
    },
    counters::Counter,
    limits::SNIFF_TURNS_MAX,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{
    conn, emit,
    ids::{new_span_id, new_trace_id, now},
    maps::{Scratch, count, scratch},
    pending::{self, AF_UNIX},
    scope::in_scope,
    segment::{Segment, fill, send},
    settings::setting,
    sniff::{self, Token},
    unit,
    user::{self, View},
    walk::{self, Socket, field, is_nonblocking, socket_of},
};

/// Position of the next byte to be written.
#[inline(always)]
fn write_pos(conn: &Conn, sk: u64) -> u32 {
    if conn.family == AF_UNIX {
        conn.tx_bytes as u32
    } else {
        field(sk, setting!(offsets.tcp_write_seq))
    }
}

/// Position behind the last byte that was read.
#[inline(always)]
fn read_pos(conn: &Conn, sk: u64) -> u32 {
    /// First of the states in which the peer's FIN has arrived: TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING (include/net/tcp_states.h).
    const TCP_TIME_WAIT: u8 = 6;
    /// A reset ends the stream without a FIN.
    const TCP_CLOSE: u8 = 7;
    if conn.family == AF_UNIX {
        return conn.rx_bytes as u32;
    }
    let copied: u32 = field(sk, setting!(offsets.tcp_copied_seq));
    // A read that reaches the FIN moves copied_seq over it, too (`found_fin_ok` in net/ipv4/tcp.c; seen on 6.18: a
    // response read together with its FIN was one off).
    let state: u8 = field(sk, setting!(offsets.skc_state));
    if state >= TCP_TIME_WAIT
        && state != TCP_CLOSE
        && field::<u32>(sk, setting!(offsets.tcp_rcv_nxt)) == copied
    {
        return copied.wrapping_sub(1);
    }
    copied
}

/// Recognises what the call's bytes begin with.
#[inline(always)]
fn first_token(scratch: &mut Scratch, view: View, moved: u64) -> Token {
    let len = user::first_bytes(scratch, view.place, view.vectors, moved);
    sniff::token(&scratch.sniff, len)
}

/// Whether the call's first bytes are worth a look.
#[inline(always)]
fn wants_token(conn: &Conn, way: u8) -> bool {
    conn.verdict == verdict::SNIFF || conn.last_direction != way
}

/// A write is about to happen. `upto` is at least the number of bytes it may move.
#[inline(always)]
pub(crate) fn before_write(fd: u64, view: View, upto: u64) -> Option<()> {
    if !in_scope() {
        return None;
    }
    let socket = socket_of(fd)?;
    if conn::is_ignored(socket.key) {
        return None;
    }
    let scratch = scratch()?;
    let now = now();
    let conn = conn::find_or_make(scratch, &socket, now)?;
    if conn.verdict == verdict::IGNORED {
        return None;
    }
    let sk = socket.key.sk;
    let pos = write_pos(conn, sk);
    let thread = unit::current()?;
    thread.inflight.socket = socket.key;
    thread.inflight.enter_ktime_ns = now;
    thread.inflight.pos = pos;
    thread.inflight.flags = 0;
    if wants_token(conn, direction::TX) {
        let token = first_token(scratch, view, upto);
        if is_request(token) && conn.last_direction != direction::TX && conn.role != role::SERVER {
            begin_client(conn, thread, now, pos);
            thread.inflight.flags = u32::from(segment_flag::EXCHANGE);
        }
        thread.inflight.flags |= (token as u32) << 8;
    }
    Some(())
}

#[inline(always)]
fn is_request(token: Token) -> bool {
    matches!(token, Token::Request | Token::FastCgiRequest)
}

/// The token that `before_write` recognised.
#[inline(always)]
fn stored_token(flags: u32) -> Token {
    match flags >> 8 {
        1 => Token::Request,
        2 => Token::FastCgiRequest,
        3 => Token::Response,
        4 => Token::Interim,
        5 => Token::FastCgiResponse,
        _ => Token::None,
    }
}

/// A client begins a request: ids, parent, and a note for the server on this host.
#[inline(never)]
fn begin_client(conn: &mut Conn, thread: &mut Thread, now: u64, seq: u32) -> u64 {
    let ids = &mut thread.inflight.exchange;
    *ids = ExchangeIds::default();
    ids.span_id = new_span_id();
    if conn.flags & conn_flag::BOUND != 0 {
        conn.flags &= !conn_flag::BOUND;
        ids.trace_id = conn.bound_trace_id;
        ids.parent_span_id = conn.bound_span_id;
        ids.evidence = evidence::TURN;
    } else if unit::context(&mut thread.unit, now, ids) == 0 {
        ids.trace_id = new_trace_id();
    }
    conn.trace_id = ids.trace_id;
    conn.span_id = ids.span_id;
    pending::register(conn, seq, now)
}

/// Parent of a call the current unit makes outside of a write; a new trace when there is none.
#[inline(always)]
pub(crate) fn parent_by_unit(now: u64, ids: &mut ExchangeIds) {
    let known = match unit::existing() {
        Some(thread) => unit::context(&mut thread.unit, now, ids),
        None => 0,
    };
    if known == 0 {
        ids.trace_id = new_trace_id();
    }
}

/// A server begins to read a request: ids, and the client exchange it belongs to if that is on this host.
#[inline(never)]
fn begin_server(conn: &mut Conn, sk: u64, seq: u32, ids: &mut ExchangeIds) -> u64 {
    ids.span_id = new_span_id();
    if pending::take(conn, sk, seq, ids) == 0 {
        ids.trace_id = new_trace_id();
    }
    conn.trace_id = ids.trace_id;
    conn.span_id = ids.span_id;
    conn.flags &= !(conn_flag::CONSUMED | conn_flag::RESPONDED);
    1
}

/// Commits that bytes moved. Returns whether the segment is told to user space.
#[inline(always)]
fn commit(conn: &mut Conn, way: u8, token: Token, now: u64) -> bool {
    let turned = conn.last_direction != way;
    conn.last_ns = now;
    if conn.verdict == verdict::SNIFF {
        if matches!(token, Token::None) {
            if turned {
                conn.last_direction = way;
                conn.turns += 1;
                if conn.turns > SNIFF_TURNS_MAX {
                    conn.verdict = verdict::IGNORED;
                    count(Counter::NotKnownProtocol, 1);
                }
            }
            return false;
        }
        conn.verdict = verdict::HEADS;
        conn.protocol = token.protocol();
        let reads_requests = is_request(token) == (way == direction::RX);
        conn.role = if reads_requests {
            role::SERVER
        } else {
            role::CLIENT
        };
    }
    if turned {
        conn.budget = setting!(head_bytes);
        // An interim response is not the answer: the request's body, which follows it, is no new request.
        if !matches!(token, Token::Interim) {
            conn.last_direction = way;
            if conn.role == role::SERVER && way == direction::TX {
                conn.flags |= conn_flag::RESPONDED;
                unit::leave(conn);
            }
            if conn.role == role::CLIENT && way == direction::RX {
                pending::forget(conn);
            }
        }
    }
    true
}

/// A write returned. `moved` is its result; errors that mean "later" are not told.
#[inline(always)]
pub(crate) fn after_write(moved: i64, op: u8, view: impl FnOnce() -> View) -> Option<()> {
    let inflight = &mut unit::existing()?.inflight;
    if inflight.socket.sk == 0 {
        return None;
    }
    let socket = inflight.socket;
    if op != agent_common::abi::op::SENDMMSG {
        inflight.socket.sk = 0;
    }
    let scratch = scratch()?;
    let conn = conn::find(socket)?;
    if moved <= 0 {
        if inflight.flags & u32::from(segment_flag::EXCHANGE) != 0 {
            pending::forget(conn);
        }
        return failed(scratch, conn, socket, moved, direction::TX, op);
    }
    let now = now();
    let token = stored_token(inflight.flags);
    let is_first = conn.verdict == verdict::SNIFF;
    if !commit(conn, direction::TX, token, now) {
        conn.tx_bytes += moved as u64;
        return None;
    }
    if is_first {
        conn::announce(scratch, &socket, conn, now);
    }
    conn.tx_bytes += moved as u64;
    scratch.record.exchange = ExchangeIds::default();
    if inflight.flags & u32::from(segment_flag::EXCHANGE) != 0 {
        scratch.record.exchange = inflight.exchange;
    }
    let view = view();
    let segment = Segment {
        moved: moved as u32,
        pos: inflight.pos,
        enter_ns: inflight.enter_ktime_ns,
        now,
        way: direction::TX,
        op,
        flags: (inflight.flags & u32::from(segment_flag::EXCHANGE)) as u8,
    };
    // For the next message of the same sendmmsg.
    inflight.pos = inflight.pos.wrapping_add(moved as u32);
    inflight.flags = 0;
    fill(&mut scratch.record, conn, &socket, segment);
    send(scratch, conn, view.place, view.vectors);
    Some(())
}

/// A read returned. `moved` is its result; `MSG_PEEK` reads never come here.
#[inline(always)]
pub(crate) fn after_read(fd: u64, view: View, moved: i64, op: u8, dont_wait: bool) -> Option<()> {
    after_read_before(fd, view, moved, op, dont_wait, 0)
}

/// As [`after_read`], for bytes that were read before `behind` further ones by the same call.
#[inline(always)]
pub(crate) fn after_read_before(
    fd: u64,
    view: View,
    moved: i64,
    op: u8,
    dont_wait: bool,
    behind: u32,
) -> Option<()> {
    if !in_scope() {
        return None;
    }
    let socket = socket_of(fd)?;
    if conn::is_ignored(socket.key) {
        return None;
    }
    let scratch = scratch()?;
    if moved <= 0 {
        let conn = conn::find(socket.key)?;
        return failed(scratch, conn, socket.key, moved, direction::RX, op);
    }
    let now = now();
    let conn = conn::find_or_make(scratch, &socket, now)?;
    if conn.verdict == verdict::IGNORED {
        return None;
    }
    let token = if wants_token(conn, direction::RX) {
        first_token(scratch, view, moved as u64)
    } else {
        Token::None
    };
    let turned = conn.last_direction != direction::RX;
    let is_first = conn.verdict == verdict::SNIFF;
    let begins = is_request(token) && turned && conn.role != role::CLIENT;
    conn.rx_bytes += moved as u64;
    let behind = if conn.family == AF_UNIX { 0 } else { behind };
    let pos = read_pos(conn, socket.key.sk)
        .wrapping_sub(behind)
        .wrapping_sub(moved as u32);
    let told = commit(conn, direction::RX, token, now);
    if !told {
        return None;
    }
    if is_first {
        conn::announce(scratch, &socket.key, conn, now);
    }
    let mut flags = 0;
    scratch.record.exchange = ExchangeIds::default();
    if begins {
        begin_server(conn, socket.key.sk, pos, &mut scratch.record.exchange);
        flags = segment_flag::EXCHANGE;
    }
    if conn.role == role::SERVER && conn.flags & (conn_flag::RESPONDED | conn_flag::CONSUMED) == 0 {
        serve(conn, &socket, begins, dont_wait, now);
    }
    let segment = Segment {
        moved: moved as u32,
        pos,
        enter_ns: now,
        now,
        way: direction::RX,
        op,
        flags,
    };
    fill(&mut scratch.record, conn, &socket.key, segment);
    send(scratch, conn, view.place, view.vectors);
    Some(())
}

/// The unit that reads a request's bytes serves it; when another unit reads on, that one does.
#[inline(never)]
fn serve(conn: &mut Conn, socket: &Socket, begins: bool, dont_wait: bool, now: u64) -> u64 {
    if conn.span_id == [0; 8] {
        return 0;
    }
    let key = bpf_get_current_pid_tgid();
    if !begins && conn.unit != key {
        unit::leave(conn);
    }
    conn.unit = key;
    let is_blocking = !dont_wait && !is_nonblocking(socket.file);
    unit::enter(&socket.key, conn, is_blocking, now)
}

/// A call moved nothing: end of stream, or an error. Told only for connections that speak a known protocol.
#[inline(always)]
fn failed(
    scratch: &mut Scratch,
    conn: &mut Conn,
    key: SocketKey,
    result: i64,
    way: u8,
    op: u8,
) -> Option<()> {
    if conn.verdict != verdict::HEADS || (result == 0 && way == direction::TX) {
        return None;
    }
    let now = now();
    let flags = if result == 0 {
        segment_flag::EOF
    } else {
        segment_flag::ERROR
    };
    let segment = Segment {
        moved: 0,
        pos: 0,
        enter_ns: now,
        now,
        way,
        op,
        flags,
    };
    fill(&mut scratch.record, conn, &key, segment);
    scratch.record.error = (-result) as u16;
    scratch.record.exchange = ExchangeIds::default();
    emit::segment(scratch, 0);
    Some(())
}

/// Errors that mean that the call will be made again, or that nothing happened: EAGAIN, EINTR, ERESTARTSYS (512) to
/// ERESTART_RESTARTBLOCK (516), which are seen at sys_exit before the kernel restarts the call
/// (include/linux/errno.h).
#[inline(always)]
pub(crate) fn is_later(result: i64) -> bool {
    result == -11 || result == -4 || (-516..=-512).contains(&result)
}

/// The current thread's write is over.
#[inline(always)]
pub(crate) fn end_write() {
    if let Some(thread) = unit::existing() {
        thread.inflight.socket.sk = 0;
    }
}

/// Drops a write's entry when its result is one of [`is_later`].
#[inline(always)]
pub(crate) fn forget_write() {
    let Some(thread) = unit::existing() else {
        return;
    };
    let socket = thread.inflight.socket;
    thread.inflight.socket.sk = 0;
    if socket.sk != 0
        && thread.inflight.flags & u32::from(segment_flag::EXCHANGE) != 0
        && let Some(conn) = conn::find(socket)
    {
        pending::forget(conn);
    }
}

/// See [`walk::syscall_args`].
#[inline(always)]
pub(crate) fn args() -> [u64; 4] {
    walk::syscall_args()
}

//! The state of a connection as bytes move on it.
//!
//! In: a write before it happens, a write after, a read after; whichever hooks saw them. Out: exchanges begun (ids made,
//! contexts looked up), records. Always holds: an exchange begins only at a change of direction with a request token;
//! one that began with a write that moved nothing is taken back.
//!
//! ```text
//!  SNIFF --token of a known protocol--> HEADS --user space or port filter--> IGNORED
//!    '---- token of a broker's client --> MESSAGES (`messages`) --user space-----^
//!    '------ SNIFF_TURNS_MAX turns without a token ------------------------------^
//!  within HEADS, server:  rx turn + request token: exchange begins, unit enters
//!                         rx, same direction:      the unit that reads on enters too
//!                         tx turn (final answer):  unit leaves        tx 1xx: no turn
//!                 client: tx turn + request token: exchange begins (BEGUN, PENDING), before the bytes move if
//!                                                  there is a hook for it, else right after
//!                         write moved nothing:     the turn is taken back
//!                         rx turn:                 no server may take the exchange any more
//! ```

use agent_common::{
    abi::{
        Conn, SocketKey, conn_flag, direction, header_state, protocol, role, segment_flag,
        unit_kind, verdict,
    },
    counters::Counter,
    limits::SNIFF_TURNS_MAX,
};

use crate::{
    conn, emit, ends,
    exchange::{adopt, begin_client, begin_server, take_back},
    ids::now,
    maps::{Scratch, count, scratch, serve},
    messages,
    pending::{self, AF_UNIX},
    segment::{Segment, fill, send},
    settings::setting,
    sniff::{self, Token},
    tick,
    unit::{self, Reading},
    user::{self, View},
    walk::{Sock, Socket, Task, field, is_nonblocking},
};

/// What a call did.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Who made it.
    pub task: Task,
    /// Its result.
    pub moved: i64,
    /// One of `op`.
    pub op: u8,
    /// It would not have waited (reads).
    pub dont_wait: bool,
}

/// Position of the next byte to be written.
#[inline(always)]
pub(crate) fn write_pos(conn: &Conn, sk: u64) -> u32 {
    if conn.family == AF_UNIX {
        conn.tx_bytes as u32
    } else {
        field(sk, setting!(offsets.tcp_write_seq))
    }
}

/// Position behind the last byte that was read.
#[inline(always)]
fn read_pos<S: Sock>(conn: &Conn, sock: S) -> u32 {
    /// First of the states in which the peer's FIN has arrived: TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING (include/net/tcp_states.h).
    const TCP_TIME_WAIT: u8 = 6;
    /// A reset ends the stream without a FIN.
    const TCP_CLOSE: u8 = 7;
    if conn.family == AF_UNIX {
        return conn.rx_bytes as u32;
    }
    let copied: u32 = field(sock.address(), setting!(offsets.tcp_copied_seq));
    // A read that reaches the FIN moves copied_seq over it, too (`found_fin_ok` in net/ipv4/tcp.c; seen on 6.18: a
    // response read together with its FIN was one off).
    let state: u8 = sock.read(setting!(offsets.skc_state));
    if state >= TCP_TIME_WAIT
        && state != TCP_CLOSE
        && field::<u32>(sock.address(), setting!(offsets.tcp_rcv_nxt)) == copied
    {
        return copied.wrapping_sub(1);
    }
    copied
}

/// Whether a write in this direction may be a client's next request.
#[inline(always)]
pub(crate) fn may_begin_client(conn: &Conn) -> bool {
    conn.role != role::SERVER
        && conn.last_direction != direction::TX
        && conn.verdict != verdict::MESSAGES
}

/// A write is about to happen: a client's request begins before its server can read it. `upto` is at least the number
/// of bytes it may move.
#[inline(always)]
pub(crate) fn before_write(
    task: Task,
    socket: &Socket,
    conn: &mut Conn,
    view: impl FnOnce() -> View,
    upto: u64,
) -> Option<()> {
    if !may_begin_client(conn) {
        return None;
    }
    let scratch = &mut *scratch()?;
    let view = view();
    let len = user::first_bytes(scratch, view.place, view.vectors, upto);
    let token = sniff::token(&scratch.sniff, len);
    if token.is_request() {
        let pos = write_pos(conn, socket.key.sk);
        begin_client::<true>(&socket.key, conn, pos, token.protocol(), task);
    }
    Some(())
}

/// The connection speaks a broker's protocol. Its broker's end is not followed.
#[inline(always)]
fn meets_broker(conn: &mut Conn) -> bool {
    if conn.role == role::CLIENT {
        conn.verdict = verdict::MESSAGES;
        return true;
    }
    conn.verdict = verdict::IGNORED;
    count(Counter::BrokerEnd, 1);
    false
}

/// Commits that bytes moved. Returns whether the segment is told to user space.
#[inline(always)]
fn commit(conn: &mut Conn, sk: u64, way: u8, token: Token) -> bool {
    let turned = conn.last_direction != way;
    if conn.verdict == verdict::SNIFF {
        if token.is_none() {
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
        conn.protocol = token.protocol();
        conn.verdict = verdict::HEADS;
        if protocol::is_of_a_broker(conn.protocol) {
            conn.role = ends::role_of(conn, sk, way, token.number()) as u8;
            return meets_broker(conn);
        }
        let reads_requests = token.is_of_a_client() == (way == direction::RX);
        conn.role = if reads_requests {
            role::SERVER
        } else {
            role::CLIENT
        };
    }
    // An interim response is not the answer: the request's body, which follows it, is no new request.
    if turned && token != Token::INTERIM {
        conn.last_direction = way;
        if conn.role == role::SERVER && way == direction::TX {
            conn.flags |= conn_flag::RESPONDED;
            unit::leave(conn);
        }
        if conn.role == role::CLIENT && way == direction::RX {
            pending::forget(conn);
            if token != Token::RESPONSE {
                // What follows is no exchange of requests and responses any more, or was not seen.
                conn.header |= header_state::LOST;
            }
        }
    }
    true
}

/// Captures what may be looked at of a call's bytes, and recognises what they begin with where that matters
/// (`is_fresh`). What it found is left in the scratch: see [`crate::maps::Found`].
#[inline(never)]
fn look(scratch: &mut Scratch, conn: &mut Conn, view: &View, moved: u64, is_fresh: bool) -> u64 {
    scratch.found.set(0, Token::NONE, 0);
    if conn.verdict == verdict::SNIFF {
        // Of what may be a long stream of an unknown protocol no more is read than is needed to know that.
        let len = user::first_bytes(scratch, view.place, view.vectors, moved);
        if sniff::token(&scratch.sniff, len).is_none() {
            if setting!(message_bytes) == 0 {
                return 0;
            }
            sniff::broker(scratch, len);
            if scratch.found.token().is_none() {
                return 0;
            }
        }
    }
    let known = scratch.found.token();
    let is_of_messages = conn.verdict == verdict::MESSAGES || !known.is_none();
    if is_of_messages || conn.flags & conn_flag::OF_QUEUE != 0 {
        conn.budget = setting!(message_bytes);
    } else if is_fresh {
        conn.budget = setting!(head_bytes);
    }
    let wanted = if moved < u64::from(conn.budget) {
        moved as u32
    } else {
        conn.budget
    };
    conn.budget -= wanted;
    let captured = user::capture(scratch, view.place, view.vectors, u64::from(wanted));
    let unseen = if captured < u64::from(wanted) {
        segment_flag::UNSEEN
    } else {
        0
    };
    let token = if is_fresh && !is_of_messages {
        sniff::payload_token(scratch, captured)
    } else {
        known
    };
    scratch.found.set(captured, token, unseen);
    1
}

/// A write moved bytes, the first of them at `pos`. Of one that began an exchange the turn was made when it began: since
/// then another thread may have read the answer. `enter_ns` is when it began, 0 if that is not known.
#[inline(always)]
pub(crate) fn wrote(
    socket: &Socket,
    conn: &mut Conn,
    call: Call,
    pos: u32,
    enter_ns: u64,
    view: impl FnOnce() -> View,
) -> Option<()> {
    let scratch = &mut *scratch()?;
    let now = now();
    let moved = call.moved as u64;
    let view = view();
    conn.last_ns = now;
    let enter_ns = if enter_ns == 0 { now } else { enter_ns };
    let is_fresh = conn.flags & conn_flag::BEGUN != 0
        || conn.verdict == verdict::SNIFF
        || conn.last_direction != direction::TX;
    look(scratch, conn, &view, moved, is_fresh);
    let token = scratch.found.token();
    if conn.flags & conn_flag::BEGUN == 0 && conn.verdict != verdict::MESSAGES {
        if token.is_request() && may_begin_client(conn) {
            begin_client::<true>(&socket.key, conn, pos, token.protocol(), call.task);
        } else if conn.role == role::SERVER && conn.unit.kind == unit_kind::ASYNC {
            let was = conn.flags & conn_flag::RESPONDED;
            if !commit(conn, socket.key.sk, direction::TX, token) {
                conn.tx_bytes += moved;
                return None;
            }
            if was == 0 && conn.flags & conn_flag::RESPONDED != 0 {
                unit::node::answers(call.task, conn);
            }
        } else if !commit(conn, socket.key.sk, direction::TX, token) {
            conn.tx_bytes += moved;
            return None;
        }
    }
    conn.tx_bytes += moved;
    if conn.flags & conn_flag::TOLD == 0 {
        conn::announce(scratch, &socket.key, conn);
    }
    if conn.verdict == verdict::MESSAGES {
        messages::moved(scratch, conn, &call, direction::TX, 0);
    }
    let mut segment = Segment {
        moved: moved as u32,
        pos,
        enter_ns,
        now,
        way: direction::TX,
        op: call.op,
        flags: scratch.found.flags(),
    };
    if conn.flags & conn_flag::BEGUN != 0 {
        if messages::is_of_queue(conn) {
            unit::go::asked(call.task, conn);
        }
        conn.flags &= !conn_flag::BEGUN;
        segment.flags |= segment_flag::EXCHANGE;
        segment.pos = conn.pending_seq;
        segment.enter_ns = conn.begun_ns;
    }
    fill(&mut scratch.record, conn, &socket.key, call.task, segment);
    if scratch.record.flags & segment_flag::EXCHANGE != 0 {
        scratch.record.injected = conn.injected;
        conn.injected = 0;
    }
    send(scratch, view.place, view.vectors);
    Some(())
}

/// A read moved bytes; `behind` further ones were read after them by the same call.
#[inline(always)]
pub(crate) fn was_read<S: Sock>(
    sock: S,
    socket: &Socket,
    conn: &mut Conn,
    call: Call,
    behind: u32,
    view: impl FnOnce() -> View,
) -> Option<()> {
    let scratch = &mut *scratch()?;
    let now = now();
    let moved = call.moved as u64;
    let view = view();
    conn.last_ns = now;
    let turned = conn.last_direction != direction::RX;
    let is_fresh = turned || conn.verdict == verdict::SNIFF;
    messages::is_of_queue(conn);
    look(scratch, conn, &view, moved, is_fresh);
    let token = scratch.found.token();
    let begins = token.is_request() && turned && conn.role != role::CLIENT;
    conn.rx_bytes += moved;
    let behind = if conn.family == AF_UNIX { 0 } else { behind };
    let pos = read_pos(conn, sock)
        .wrapping_sub(behind)
        .wrapping_sub(moved as u32);
    if conn.verdict != verdict::MESSAGES && !commit(conn, socket.key.sk, direction::RX, token) {
        return None;
    }
    let is_first = conn.flags & conn_flag::TOLD == 0;
    if is_first {
        conn::announce(scratch, &socket.key, conn);
    }
    if conn.verdict == verdict::MESSAGES {
        messages::moved(scratch, conn, &call, direction::RX, socket.file);
    } else {
        if begins {
            if is_first {
                tick::leave(call.task, now);
            }
            begin_server(call.task, conn, socket.key.sk, pos);
            let captured = scratch.found.captured();
            adopt(scratch, conn, captured);
            scratch.found.add(segment_flag::EXCHANGE);
        }
        if conn.role == role::SERVER
            && conn.flags & (conn_flag::RESPONDED | conn_flag::CONSUMED) == 0
            && conn.span_id != 0
        {
            serve(scratch, socket.key);
            let reading = Reading {
                begins,
                is_blocking: would_block(&call, socket.file),
                now,
            };
            unit::enter(call.task, &socket.key, conn, reading);
        }
        if conn.role == role::CLIENT && conn.unit.kind == unit_kind::ASYNC {
            unit::node::read_reply(call.task, socket.key.sk, conn, turned);
        } else if conn.flags & conn_flag::OF_QUEUE != 0 {
            messages::moved(scratch, conn, &call, direction::RX, socket.file);
        }
    }
    let segment = Segment {
        moved: moved as u32,
        pos,
        enter_ns: now,
        now,
        way: direction::RX,
        op: call.op,
        flags: scratch.found.flags(),
    };
    fill(&mut scratch.record, conn, &socket.key, call.task, segment);
    send(scratch, view.place, view.vectors);
    Some(())
}

/// Whether a read would have waited for its bytes. `file` is 0 where the hook does not know the descriptor's.
#[inline(always)]
pub(crate) fn would_block(call: &Call, file: u64) -> bool {
    !call.dont_wait && (file == 0 || !is_nonblocking(file))
}

/// A call moved nothing: end of stream, an error, or it will be made again. Told only for connections that speak a
/// known protocol.
#[inline(always)]
pub(crate) fn failed(key: &SocketKey, call: Call, way: u8) -> Option<()> {
    let conn = conn::find(*key)?;
    if way == direction::TX {
        take_back(conn);
    }
    if is_later(call.moved)
        || conn.verdict != verdict::HEADS
        || (call.moved == 0 && way == direction::TX)
    {
        return None;
    }
    // The end of a connection in place of the reply.
    if way == direction::RX
        && conn.role == role::CLIENT
        && conn.last_direction == direction::TX
        && conn.unit.kind == unit_kind::ASYNC
    {
        unit::node::read_reply(call.task, key.sk, conn, true);
    }
    let scratch = &mut *scratch()?;
    let now = now();
    let flags = if call.moved == 0 {
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
        op: call.op,
        flags,
    };
    fill(&mut scratch.record, conn, key, call.task, segment);
    scratch.record.error = (-call.moved) as u16;
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

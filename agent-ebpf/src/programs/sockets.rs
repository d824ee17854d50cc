//! Tracepoints inside of the socket calls: `tcp_sendmsg_locked` (6.16+), `sock_send_length`, `sock_recv_length` and
//! `sk_data_ready` (6.3+).
//!
//! Always holds: they run for the current task's own call, with the `struct sock` at hand, so no descriptor is looked up; no
//! other syscall of the host pays for them (a syscall tracepoint costs each of them 40 ns, DESIGN §3). The bytes are
//! where the call's saved registers say. Refuses: calls it does not know (io_uring, 32-bit programs): what they move is
//! counted as unseen; and those that a group of syscall hooks has taken over (`demand::MMSG`).

use agent_common::{
    abi::{demand, direction, op},
    counters::Counter,
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;

use super::{MSG_DONTWAIT, NOT_THE_STREAM};
use crate::{
    conn,
    flow::{self, Call, is_later, write_pos},
    maps::{count, is_armed, is_served},
    pending::AF_UNIX,
    scope::task_in_scope,
    settings::setting,
    user::View,
    walk::{Registers, Sock, Typed, field},
};

/// Numbers of x86-64's syscalls (arch/x86/entry/syscalls/syscall_64.tbl).
mod call {
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const READV: u64 = 19;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const SENDFILE: u64 = 40;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const SENDMSG: u64 = 46;
    pub(super) const RECVMSG: u64 = 47;
    pub(super) const SPLICE: u64 = 275;
    pub(super) const RECVMMSG: u64 = 299;
    pub(super) const SENDMMSG: u64 = 307;
}

/// What may be moved is not known before the call: as much as the caller wants.
const ALL: u64 = u32::MAX as u64;

/// A message of a call that has several; which of them is not known here, so its bytes are not seen. None once the hooks of
/// its syscall see it.
#[inline(always)]
fn one_of_many(op: u8) -> Option<u8> {
    if is_armed(demand::MMSG) {
        return None;
    }
    count(Counter::MmsgBeyond, 1);
    Some(op)
}

/// The call the current task is in, as far as it sends: its `op`. None where other hooks see it.
#[inline(always)]
fn sending(registers: Registers) -> Option<u8> {
    Some(match registers.call() {
        call::WRITE => op::WRITE,
        call::WRITEV => op::WRITEV,
        call::SENDTO => op::SENDTO,
        call::SENDMSG => op::SENDMSG,
        call::SENDFILE => op::SENDFILE,
        call::SPLICE => {
            // Who splices to sockets splices from them, too, and that passes no tracepoint of these.
            is_armed(demand::SPLICE);
            op::SPLICE_OUT
        }
        call::SENDMMSG => one_of_many(op::SENDMMSG)?,
        _ => op::OTHER,
    })
}

/// Where the bytes of a call are. Not seen: sendfile's and splice's, which never are in user memory, and those of calls
/// that are not known.
#[inline(always)]
fn place(op: u8, registers: Registers) -> View {
    let [_, second, third, _] = registers.args();
    match op {
        op::READ | op::WRITE | op::RECVFROM | op::SENDTO => View::plain(second),
        op::READV | op::WRITEV => View::vectors(second, third),
        op::RECVMSG | op::SENDMSG => View::message(second),
        _ => View::unseen(),
    }
}

/// `sock_recv_length(sk, ret, flags)` (include/trace/events/sock.h): `sock_recvmsg` returned.
#[btf_tracepoint(function = "sock_recv_length")]
pub(crate) fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    let (moved, flags): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    if received(Typed(ctx.arg(0)), i64::from(moved), flags as u64).is_some() {
        debug!(&ctx, "received {} bytes", moved);
    }
    0
}

/// The current task received from `sock`.
#[inline(always)]
pub(super) fn received(sock: Typed, moved: i64, flags: u64) -> Option<()> {
    if flags & NOT_THE_STREAM != 0 || is_later(moved) {
        return None;
    }
    let dont_wait = flags & MSG_DONTWAIT != 0;
    let task = task_in_scope()?;
    let socket = sock.socket()?;
    let registers = task.registers();
    if moved <= 0 {
        // A read of no bytes is no end of the stream.
        if moved == 0 && registers.call() == call::RECVFROM && registers.args()[2] == 0 {
            return None;
        }
        let call = Call {
            task,
            moved,
            op: op::OTHER,
            dont_wait,
        };
        return flow::failed(&socket.key, call, direction::RX);
    }
    let conn = conn::follow(sock, &socket)?;
    let op = match registers.call() {
        call::READ => op::READ,
        call::READV => op::READV,
        call::RECVFROM => op::RECVFROM,
        call::RECVMSG => op::RECVMSG,
        call::RECVMMSG => one_of_many(op::RECVMMSG)?,
        _ => op::OTHER,
    };
    let call = Call {
        task,
        moved,
        op,
        dont_wait,
    };
    flow::was_read(sock, &socket, conn, call, 0, || place(op, registers))
}

/// `tcp_sendmsg_locked(sk, msg, skb, size_goal)` (include/trace/events/tcp.h, 6.16+): TCP is about to take bytes; none of
/// those of this call has left yet when it runs first.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub(crate) fn tcp_sendmsg_locked(ctx: BtfTracePointContext) -> i32 {
    let _ = sends(Typed(ctx.arg(0)));
    0
}

/// The current task is about to send on `sock`, or its bytes are just becoming readable.
#[inline(always)]
pub(super) fn sends(sock: Typed) -> Option<()> {
    let socket = sock.socket()?;
    // The ordinary case of a server, told without a look-up.
    if is_served(socket.key) {
        return None;
    }
    let task = task_in_scope()?;
    let conn = conn::follow(sock, &socket)?;
    if !flow::may_begin_client(conn) {
        return None;
    }
    let registers = task.registers();
    let op = sending(registers)?;
    flow::before_write(task, &socket, conn, || place(op, registers), ALL)
}

/// `sock_send_length(sk, ret, flags)`: `sock_sendmsg` returned.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let moved: i32 = ctx.arg(1);
    if sent(Typed(ctx.arg(0)), i64::from(moved)).is_some() {
        debug!(&ctx, "sent {} bytes", moved);
    }
    0
}

/// The current task sent on `sock`.
#[inline(always)]
pub(super) fn sent(sock: Typed, moved: i64) -> Option<()> {
    let task = task_in_scope()?;
    let socket = sock.socket()?;
    if moved <= 0 {
        let call = Call {
            task,
            moved,
            op: op::OTHER,
            dont_wait: false,
        };
        return flow::failed(&socket.key, call, direction::TX);
    }
    let conn = conn::follow(sock, &socket)?;
    let registers = task.registers();
    let op = sending(registers)?;
    let mut pos = write_pos(conn, socket.key.sk);
    if conn.family != AF_UNIX {
        pos = pos.wrapping_sub(moved as u32);
    }
    let call = Call {
        task,
        moved,
        op,
        dont_wait: false,
    };
    flow::wrote(&socket, conn, call, pos, 0, || place(op, registers))
}

/// `sk_data_ready(sk)` (include/trace/events/sock.h): data arrived at `sk`. For a unix socket that is in the sender's own
/// call, before a reader that waits is woken; TCP has `tcp_sendmsg_locked`, which is earlier.
#[btf_tracepoint(function = "sk_data_ready")]
pub(crate) fn unix_readable(ctx: BtfTracePointContext) -> i32 {
    let reader = Typed(ctx.arg(0));
    if reader.read::<u16>(setting!(offsets.skc_family)) == AF_UNIX {
        let _ = sends_to(reader);
    }
    0
}

#[inline(always)]
fn sends_to(reader: Typed) -> Option<()> {
    let task = task_in_scope()?;
    let peer: u64 = field(reader.address(), setting!(offsets.unix_peer));
    let conn = conn::find_sender(peer, reader.address())?;
    if !flow::may_begin_client(conn) {
        return None;
    }
    let registers = task.registers();
    let op = sending(registers)?;
    let socket = crate::walk::Socket {
        key: agent_common::abi::SocketKey {
            sk: peer,
            ino: conn.ino,
        },
        file: 0,
    };
    flow::before_write(task, &socket, conn, || place(op, registers), ALL)
}

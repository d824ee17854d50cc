//! Syscalls that write to sockets: enter (a client's request is registered before its peer can read it) and exit
//! (what moved is told).

use agent_common::{
    abi::{direction, op},
    counters::Counter,
    limits::MMSG_MAX,
};
use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use aya_log_ebpf::debug;

use super::{enter_arg, exit_result};
use crate::{
    conn,
    flow::{self, Call},
    ids::now,
    maps::count,
    scope::task_in_scope,
    unit,
    user::{MMSGHDR_SIZE, View},
    walk::{Task, Untyped},
};

/// What may be moved is not known before the call: as much as the caller wants.
const ALL: u64 = u32::MAX as u64;

/// A write is about to happen. `upto` is at least the number of bytes it may move.
#[inline(always)]
fn before_write(fd: u64, upto: u64, view: impl FnOnce() -> View) -> Option<()> {
    let task = task_in_scope()?;
    let socket = task.socket_of(fd)?;
    let conn = conn::follow(Untyped(socket.key.sk), &socket)?;
    let pos = flow::write_pos(conn, socket.key.sk);
    let inflight = &mut unit::current(task.pid_tgid())?.inflight;
    inflight.socket = socket.key;
    inflight.enter_ktime_ns = now();
    inflight.pos = pos;
    flow::before_write(task, &socket, conn, view, upto)
}

/// A write returned, or one message of a sendmmsg.
#[inline(always)]
fn after_write(task: Task, moved: i64, op: u8, view: impl FnOnce() -> View) -> Option<()> {
    let inflight = &mut unit::existing(task.pid_tgid())?.inflight;
    if inflight.socket.sk == 0 {
        return None;
    }
    let socket = crate::walk::Socket {
        key: inflight.socket,
        file: 0,
    };
    if op != op::SENDMMSG {
        inflight.socket.sk = 0;
    }
    let call = Call {
        task,
        moved,
        op,
        dont_wait: false,
    };
    if moved <= 0 {
        return flow::failed(&socket.key, call, direction::TX);
    }
    let pos = inflight.pos;
    // For the next message of the same sendmmsg.
    inflight.pos = pos.wrapping_add(moved as u32);
    let enter_ns = inflight.enter_ktime_ns;
    let conn = conn::find(socket.key)?;
    flow::wrote(&socket, conn, call, pos, enter_ns, view)
}

macro_rules! write_pair {
    ($enter:ident, $exit:ident, $op:expr, |$fd:ident, $a:ident, $b:ident| $view:expr, $upto:expr) => {
        #[tracepoint]
        pub(crate) fn $enter(ctx: TracePointContext) -> u32 {
            let ($fd, $a, $b) = (enter_arg(&ctx, 0), enter_arg(&ctx, 1), enter_arg(&ctx, 2));
            let upto: u64 = $upto;
            if upto != 0 {
                let _ = before_write($fd, upto, || {
                    let _ = ($a, $b);
                    $view
                });
            }
            0
        }

        #[tracepoint]
        pub(crate) fn $exit(ctx: TracePointContext) -> u32 {
            let result = exit_result(&ctx);
            let task = Task::current();
            let told = after_write(task, result, $op, || {
                let [$fd, $a, $b, _] = task.registers().args();
                let _ = ($fd, $a, $b);
                $view
            });
            if told.is_some() {
                debug!(&ctx, "{}: wrote {} bytes", stringify!($exit), result);
            }
            0
        }
    };
}

write_pair!(
    enter_write,
    exit_write,
    op::WRITE,
    |fd, a, b| View::plain(a),
    b
);
write_pair!(
    enter_sendto,
    exit_sendto,
    op::SENDTO,
    |fd, a, b| View::plain(a),
    b
);
write_pair!(
    enter_writev,
    exit_writev,
    op::WRITEV,
    |fd, a, b| View::vectors(a, b),
    ALL
);
write_pair!(
    enter_sendmsg,
    exit_sendmsg,
    op::SENDMSG,
    |fd, a, _b| View::message(a),
    ALL
);
// sendfile(out_fd, in_fd, offset, count): the bytes never are in user memory.
write_pair!(
    enter_sendfile64,
    exit_sendfile64,
    op::SENDFILE,
    |fd, _a, _b| View::unseen(),
    ALL
);

/// splice(fd_in, off_in, fd_out, off_out, len, flags), towards a socket.
#[tracepoint]
pub(crate) fn enter_splice(ctx: TracePointContext) -> u32 {
    let _ = before_write(enter_arg(&ctx, 2), ALL, View::unseen);
    0
}

/// splice returned: from a pipe to a socket, if the entry found one.
#[tracepoint]
pub(crate) fn exit_splice(ctx: TracePointContext) -> u32 {
    let _ = after_write(
        Task::current(),
        exit_result(&ctx),
        op::SPLICE_OUT,
        View::unseen,
    );
    0
}

/// sendmmsg(fd, msgvec, vlen, flags): the first message decides what begins.
#[tracepoint]
pub(crate) fn enter_sendmmsg(ctx: TracePointContext) -> u32 {
    let header = enter_arg(&ctx, 1);
    let _ = before_write(enter_arg(&ctx, 0), ALL, || View::message(header));
    0
}

/// Each message of a sendmmsg is a segment.
#[tracepoint]
pub(crate) fn exit_sendmmsg(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    let task = Task::current();
    if result < 0 {
        let _ = after_write(task, result, op::SENDMMSG, View::unseen);
    }
    let [_, vector, ..] = task.registers().args();
    // BOUND: MMSG_MAX.
    for index in 0..MMSG_MAX {
        if index as i64 >= result {
            break;
        }
        let header = vector + index as u64 * MMSGHDR_SIZE;
        let moved = View::mmsg_len(header);
        if moved != 0 {
            let _ = after_write(task, i64::from(moved), op::SENDMMSG, || {
                View::message(header)
            });
        }
    }
    if result > MMSG_MAX as i64 {
        count(Counter::MmsgBeyond, 1);
    }
    if let Some(thread) = unit::existing(task.pid_tgid()) {
        thread.inflight.socket.sk = 0;
    }
    0
}

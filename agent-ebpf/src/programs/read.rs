//! Syscalls that read from sockets: exit only. Their arguments are read back from the saved registers.

use agent_common::{
    abi::{direction, op},
    counters::Counter,
    limits::MMSG_MAX,
};
use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use aya_log_ebpf::debug;

use super::{MSG_DONTWAIT, NOT_THE_STREAM, exit_result};
use crate::{
    conn,
    flow::{self, Call, is_later},
    maps::count,
    scope::task_in_scope,
    user::{MMSGHDR_SIZE, View},
    walk::{Task, Untyped},
};

/// A read returned; `behind` further bytes were read after these by the same call.
#[inline(always)]
fn after_read(fd: u64, call: Call, behind: u32, view: impl FnOnce() -> View) -> Option<()> {
    let socket = call.task.socket_of(fd)?;
    if call.moved <= 0 {
        return flow::failed(&socket.key, call, direction::RX);
    }
    let sock = Untyped(socket.key.sk);
    let conn = conn::follow(sock, &socket)?;
    flow::was_read(sock, &socket, conn, call, behind, view)
}

/// The task and its call's arguments, if the process is traced and the call's result is one to be told.
#[inline(always)]
fn returned(ctx: &TracePointContext) -> Option<(i64, Task, [u64; 4])> {
    let moved = exit_result(ctx);
    if is_later(moved) {
        return None;
    }
    let task = task_in_scope()?;
    Some((moved, task, task.registers().args()))
}

/// read(fd, buf, count)
#[tracepoint]
pub(crate) fn exit_read(ctx: TracePointContext) -> u32 {
    let Some((moved, task, [fd, buffer, size, _])) = returned(&ctx) else {
        return 0;
    };
    if size != 0 {
        let call = Call {
            task,
            moved,
            op: op::READ,
            dont_wait: false,
        };
        if after_read(fd, call, 0, || View::plain(buffer)).is_some() {
            debug!(&ctx, "read: {} bytes on fd {}", moved, fd);
        }
    }
    0
}

/// readv(fd, iov, iovcnt)
#[tracepoint]
pub(crate) fn exit_readv(ctx: TracePointContext) -> u32 {
    let Some((moved, task, [fd, vectors, size, _])) = returned(&ctx) else {
        return 0;
    };
    let call = Call {
        task,
        moved,
        op: op::READV,
        dont_wait: false,
    };
    let _ = after_read(fd, call, 0, || View::vectors(vectors, size));
    0
}

/// recvfrom(fd, buf, len, flags, …)
#[tracepoint]
pub(crate) fn exit_recvfrom(ctx: TracePointContext) -> u32 {
    let Some((moved, task, [fd, buffer, size, flags])) = returned(&ctx) else {
        return 0;
    };
    if size != 0 && flags & NOT_THE_STREAM == 0 {
        let call = Call {
            task,
            moved,
            op: op::RECVFROM,
            dont_wait: flags & MSG_DONTWAIT != 0,
        };
        if after_read(fd, call, 0, || View::plain(buffer)).is_some() {
            debug!(&ctx, "recvfrom: {} bytes on fd {}", moved, fd);
        }
    }
    0
}

/// recvmsg(fd, msg, flags)
#[tracepoint]
pub(crate) fn exit_recvmsg(ctx: TracePointContext) -> u32 {
    let Some((moved, task, [fd, header, flags, _])) = returned(&ctx) else {
        return 0;
    };
    if flags & NOT_THE_STREAM == 0 {
        let call = Call {
            task,
            moved,
            op: op::RECVMSG,
            dont_wait: flags & MSG_DONTWAIT != 0,
        };
        let _ = after_read(fd, call, 0, || View::message(header));
    }
    0
}

/// splice returned: from a socket to a pipe, if the first descriptor is one. (A program of its own beside the one for
/// the other way: both in one need more stack than 6.1's verifier allows.)
#[tracepoint]
pub(crate) fn exit_splice_in(ctx: TracePointContext) -> u32 {
    let Some((moved, task, [fd_in, ..])) = returned(&ctx) else {
        return 0;
    };
    if moved > 0 {
        let call = Call {
            task,
            moved,
            op: op::SPLICE_IN,
            dont_wait: false,
        };
        let _ = after_read(fd_in, call, 0, View::unseen);
    }
    0
}

/// recvmmsg(fd, msgvec, vlen, flags, timeout) returned: its first message is a segment. (Each message has a program of its own: the verifier
/// went through the second one once for every way in which the first can have ended, 1,000,000 instructions in all on 6.18.)
#[tracepoint]
pub(crate) fn exit_recvmmsg(ctx: TracePointContext) -> u32 {
    let _ = mmsg::<0>(&ctx);
    0
}

/// The same: its second message.
#[tracepoint]
pub(crate) fn exit_recvmmsg_next(ctx: TracePointContext) -> u32 {
    let _ = mmsg::<1>(&ctx);
    0
}

/// The message at `INDEX`, below MMSG_MAX.
#[inline(always)]
fn mmsg<const INDEX: usize>(ctx: &TracePointContext) -> Option<()> {
    let (result, task, [fd, vector, _, flags]) = returned(ctx)?;
    if flags & NOT_THE_STREAM != 0 {
        return None;
    }
    let call = |moved| Call {
        task,
        moved,
        op: op::RECVMMSG,
        dont_wait: flags & MSG_DONTWAIT != 0,
    };
    if INDEX == 0 && result > MMSG_MAX as i64 {
        count(Counter::MmsgBeyond, 1);
    }
    if result <= INDEX as i64 {
        if INDEX == 0 {
            return after_read(fd, call(result), 0, View::unseen);
        }
        return None;
    }
    let mut behind = 0u32;
    // BOUND: MMSG_MAX.
    for later in INDEX + 1..MMSG_MAX {
        if later as i64 >= result {
            break;
        }
        behind += View::mmsg_len(vector + later as u64 * MMSGHDR_SIZE);
    }
    let header = vector + INDEX as u64 * MMSGHDR_SIZE;
    let moved = View::mmsg_len(header);
    if moved == 0 {
        return None;
    }
    after_read(fd, call(i64::from(moved)), behind, || View::message(header))
}

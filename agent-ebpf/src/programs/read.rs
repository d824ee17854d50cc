//! Syscalls that read from sockets: exit only. Their arguments are read back from the saved registers.

use agent_common::{abi::op, counters::Counter, limits::MMSG_MAX};
use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use super::exit_result;
use crate::{
    flow::{after_read, args, is_later},
    maps::count,
    user::{MMSGHDR_SIZE, View},
};

/// `MSG_PEEK`: the bytes stay in the queue and come again.
const MSG_PEEK: u64 = 0x2;
/// `MSG_DONTWAIT`: this call does not block, whatever the socket does.
const MSG_DONTWAIT: u64 = 0x40;

/// read(fd, buf, count)
#[tracepoint]
pub(crate) fn exit_read(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if is_later(result) {
        return 0;
    }
    let [fd, buffer, size, _] = args();
    if size != 0 {
        let _ = after_read(fd, View::plain(buffer), result, op::READ, false);
    }
    0
}

/// readv(fd, iov, iovcnt)
#[tracepoint]
pub(crate) fn exit_readv(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if is_later(result) {
        return 0;
    }
    let [fd, vectors, size, _] = args();
    let _ = after_read(fd, View::vectors(vectors, size), result, op::READV, false);
    0
}

/// recvfrom(fd, buf, len, flags, …)
#[tracepoint]
pub(crate) fn exit_recvfrom(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if is_later(result) {
        return 0;
    }
    let [fd, buffer, size, flags] = args();
    if size != 0 && flags & MSG_PEEK == 0 {
        let _ = after_read(
            fd,
            View::plain(buffer),
            result,
            op::RECVFROM,
            flags & MSG_DONTWAIT != 0,
        );
    }
    0
}

/// recvmsg(fd, msg, flags)
#[tracepoint]
pub(crate) fn exit_recvmsg(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if is_later(result) {
        return 0;
    }
    let [fd, header, flags, _] = args();
    if flags & MSG_PEEK == 0 {
        let _ = after_read(
            fd,
            View::message(header),
            result,
            op::RECVMSG,
            flags & MSG_DONTWAIT != 0,
        );
    }
    0
}

/// recvmmsg(fd, msgvec, vlen, flags, timeout): messages of one call are one segment for the stream; only the first
/// is looked into.
#[tracepoint]
pub(crate) fn exit_recvmmsg(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if is_later(result) {
        return 0;
    }
    let [fd, vector, _, flags] = args();
    if flags & MSG_PEEK != 0 {
        return 0;
    }
    let mut moved = result;
    if result > 0 {
        moved = 0;
        // BOUND: MMSG_MAX.
        for index in 0..MMSG_MAX {
            if index as i64 >= result {
                break;
            }
            moved += i64::from(View::mmsg_len(vector + index as u64 * MMSGHDR_SIZE));
        }
        if result > MMSG_MAX as i64 {
            count(Counter::MmsgBeyond, 1);
        }
    }
    let _ = after_read(
        fd,
        View::message(vector),
        moved,
        op::RECVMMSG,
        flags & MSG_DONTWAIT != 0,
    );
    0
}

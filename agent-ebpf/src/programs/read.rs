//! Syscalls that read from sockets: exit only. Their arguments are read back from the saved registers.

use agent_common::{abi::op, counters::Counter, limits::MMSG_MAX};
use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use aya_log_ebpf::debug;

use super::exit_result;
use crate::{
    flow::{after_read, after_read_before, args, is_later},
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
        let told = after_read(fd, View::plain(buffer), result, op::READ, false);
        if told.is_some() {
            debug!(&ctx, "read: {} bytes on fd {}", result, fd);
        }
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
        let is_dont_wait = flags & MSG_DONTWAIT != 0;
        let told = after_read(fd, View::plain(buffer), result, op::RECVFROM, is_dont_wait);
        if told.is_some() {
            debug!(&ctx, "recvfrom: {} bytes on fd {}", result, fd);
        }
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

/// splice returned: from a socket to a pipe, if the first descriptor is one. (A program of its own beside the one for
/// the other way: both in one need more stack than 6.1's verifier allows.)
#[tracepoint]
pub(crate) fn exit_splice_in(ctx: TracePointContext) -> u32 {
    let result = exit_result(&ctx);
    if result > 0 {
        let [fd_in, ..] = args();
        let _ = after_read(fd_in, View::default(), result, op::SPLICE_IN, false);
    }
    0
}

/// recvmmsg(fd, msgvec, vlen, flags, timeout): each message is a segment.
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
    let dont_wait = flags & MSG_DONTWAIT != 0;
    if result <= 0 {
        let _ = after_read(fd, View::default(), result, op::RECVMMSG, dont_wait);
        return 0;
    }
    let mut behind = 0u32;
    // BOUND: MMSG_MAX.
    for index in 0..MMSG_MAX {
        if index as i64 >= result {
            break;
        }
        behind += View::mmsg_len(vector + index as u64 * MMSGHDR_SIZE);
    }
    // BOUND: MMSG_MAX.
    for index in 0..MMSG_MAX {
        if index as i64 >= result {
            break;
        }
        let header = vector + index as u64 * MMSGHDR_SIZE;
        let moved = View::mmsg_len(header);
        behind = behind.wrapping_sub(moved);
        if moved != 0 {
            let view = View::message(header);
            let _ = after_read_before(fd, view, i64::from(moved), op::RECVMMSG, dont_wait, behind);
        }
    }
    if result > MMSG_MAX as i64 {
        count(Counter::MmsgBeyond, 1);
    }
    0
}

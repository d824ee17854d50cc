//! The programs themselves, one module per family of hooks. `agent/src/attach/table.rs` has one row for each.
//!
//! Bytes are seen in one of three ways: `read` and `write` hook the syscalls (every kernel), `sockets` the tracepoints
//! inside of the socket calls (6.16+, cheaper), `functions` the functions of the socket layer (where the kernel has
//! trampolines). All lead to the same functions of `flow`.
//!
//! Always holds: an exit program leaves before it looks at anything but the result when that result says "later".

mod connect;
mod cpython;
mod functions;
mod go;
mod header;
mod lifetime;
mod node;
mod option;
mod pipes;
mod read;
mod sockets;
mod task;
mod wait;
mod write;

use aya_ebpf::{EbpfContext, programs::TracePointContext};

/// Reads that take nothing from the stream (include/linux/socket.h): `MSG_OOB` (0x1, the urgent byte apart), `MSG_PEEK` (0x2,
/// the bytes stay in the queue and come again), `MSG_ERRQUEUE` (0x2000, notices of zero-copy sends).
const NOT_THE_STREAM: u64 = 0x1 | 0x2 | 0x2000;
/// `MSG_DONTWAIT`: this call does not block, whatever the socket does.
const MSG_DONTWAIT: u64 = 0x40;

/// Argument `index` of a `syscalls:sys_enter_*` tracepoint: an array of longs at byte 16
/// (`events/syscalls/sys_enter_write/format`).
#[inline(always)]
fn enter_arg(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the context holds at least six longs from byte 16 on; the verifier checks the load.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(16 + index * 8).cast::<u64>()) }
}

/// Result of a `syscalls:sys_exit_*` tracepoint: a long at byte 16.
#[inline(always)]
fn exit_result(ctx: &TracePointContext) -> i64 {
    enter_arg(ctx, 0) as i64
}

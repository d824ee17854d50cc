//! The programs themselves, one module per family of hooks. `agent/src/attach/table.rs` has one row for each.
//!
//! Always holds: an exit program leaves before it looks at anything but the result when that result says "later".

mod connect;
mod lifetime;
mod read;
mod wait;
mod write;

use aya_ebpf::{EbpfContext, programs::TracePointContext};

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

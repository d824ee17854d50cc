//! CPython's Contexts: made, entered; and connections accepted by those who make Contexts for them.
//!
//! Always holds: the functions run with the interpreter lock held, in every process that maps the file; one that is not known to run CPython
//! costs a look-up.

use agent_common::abi::{Runtime, cpython_variant, runtime};
use aya_ebpf::{
    macros::{tracepoint, uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};

use super::{enter_arg, exit_result};
use crate::{
    unit::{self, cpython, many},
    walk::Task,
};

/// The current task and its process' runtime, if that is CPython.
#[inline(always)]
fn running() -> Option<(Task, &'static Runtime)> {
    let task = Task::current();
    let known = many::runtime_of(task.tgid())?;
    (known.class == runtime::CPYTHON).then_some((task, known))
}

/// `PyContext_CopyCurrent()` and `PyContext_New()` returned the new Context (Python/context.c), or `type.__new__` of `Context` did.
#[uretprobe]
pub(crate) fn context_made(ctx: RetProbeContext) -> u32 {
    let address: u64 = ctx.ret();
    if address != 0
        && let Some((task, known)) = running()
    {
        cpython::made(task, known, address);
    }
    0
}

/// `PyContext_Copy(context)` or `Context.copy()` returned the new Context: whose copy it is, is not known here.
#[uretprobe]
pub(crate) fn context_copied(ctx: RetProbeContext) -> u32 {
    let address: u64 = ctx.ret();
    if address != 0
        && let Some((task, _)) = running()
    {
        cpython::forget(task, address);
    }
    0
}

/// `PyContext_Enter(context)`.
#[uprobe]
pub(crate) fn context_entered(ctx: ProbeContext) -> u32 {
    if let Some((task, known)) = running()
        && known.variant & cpython_variant::UVLOOP != 0
        && let Some(address) = ctx.arg::<u64>(0)
    {
        cpython::entered(task, unit::existing(task.pid_tgid()), address);
    }
    0
}

/// accept4(fd, addr, addrlen, flags), which CPython's `socket.accept()` calls (Modules/socketmodule.c).
#[tracepoint]
pub(crate) fn exit_accept4(ctx: TracePointContext) -> u32 {
    let fd = exit_result(&ctx);
    if let Some((task, known)) = running()
        && known.variant & cpython_variant::UVLOOP == 0
    {
        let socket = if fd < 0 {
            None
        } else {
            task.socket_of(fd as u64).map(|socket| socket.key)
        };
        cpython::accepted(task, known, socket);
    }
    0
}

/// getpeername(fd, addr, addrlen)
#[tracepoint]
pub(crate) fn enter_getpeername(ctx: TracePointContext) -> u32 {
    if let Some((task, known)) = running()
        && known.variant & cpython_variant::UVLOOP != 0
        && let Some(socket) = task.socket_of(enter_arg(&ctx, 0))
    {
        cpython::introduced(task, known, socket.key);
    }
    0
}

//! Places in Node.js (uprobes): see `unit::node`.
//!
//! Always holds: a probe is on a file, so it fires in each process that maps it; what is no Node.js of a known build has no environment.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::unit::node;

/// `node::AsyncHooks::push_async_context`, called by the constructors of `node::InternalCallbackScope`.
#[uprobe]
pub(crate) fn node_scope(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the task that was stopped here.
    let (hooks, scope) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).rbx) };
    let _ = node::opens(hooks, scope);
    0
}

/// `Builtins_PromiseCapabilityDefaultResolve`: the function that `new Promise` hands to its executor.
#[uprobe]
pub(crate) fn node_resolve(_ctx: ProbeContext) -> u32 {
    let _ = node::resolves();
    let _ = node::settles();
    0
}

/// `node::AsyncWrap::AsyncReset`: a resource gets its id.
#[uprobe]
pub(crate) fn node_reset(_ctx: ProbeContext) -> u32 {
    let _ = node::resolves();
    0
}

/// `Builtins_AsyncFunctionAwait`, `…Caught`, `…Uncaught`: an async function waits.
#[uprobe]
pub(crate) fn node_await(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the task that was stopped here.
    let object = unsafe { (*ctx.regs).rax };
    let _ = node::resolves();
    let _ = node::awaits(object);
    0
}

/// `Builtins_AsyncFunctionAwaitResolveClosure`, `…RejectClosure`: it goes on.
#[uprobe]
pub(crate) fn node_resume(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the task that was stopped here.
    let context = unsafe { (*ctx.regs).rsi };
    let _ = node::resumes(context);
    0
}

/// `Builtins_AsyncFunctionResolve`, `…Reject`: it returns, or throws.
#[uprobe]
pub(crate) fn node_return(_ctx: ProbeContext) -> u32 {
    let _ = node::returns();
    0
}

/// `v8::internal::Heap::GarbageCollectionEpilogueInSafepoint`.
#[uprobe]
pub(crate) fn node_collected(_ctx: ProbeContext) -> u32 {
    let _ = node::collected();
    0
}

/// `v8::internal::MicrotaskQueue::RunMicrotasks`.
#[uprobe]
pub(crate) fn node_microtasks(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the task that was stopped here.
    let queue = unsafe { (*ctx.regs).rdi };
    let _ = node::drains(queue);
    0
}

/// `v8::internal::Execution::TryRunMicrotasks`, which that calls if there are any, returns.
#[uretprobe]
pub(crate) fn node_drained(_ctx: RetProbeContext) -> u32 {
    let _ = node::drained();
    0
}

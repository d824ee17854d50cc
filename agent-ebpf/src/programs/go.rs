//! Uprobes in Go's runtime and in net/http.
//!
//! In: places that `agent/src/enrich/units/go` finds in an executable. Out: contexts of goroutines ([`crate::unit::go`]). Always holds: a place is
//! reached on the goroutine's own stack with R14 = `g` (in `newproc1`: on the system stack, with R14 = `g0`), and behind the check for room on
//! the stack, so that it is reached once a call. Refuses: nothing; a process that is not known as Go's is left alone.
//!
//! Every place is a call or a conditional jump, which the kernel carries out itself: a uprobe on another instruction traps twice
//! (`branch_setup_xol_ops`, arch/x86/kernel/uprobes.c).

use aya_ebpf::{EbpfContext, macros::uprobe, programs::ProbeContext};

use crate::unit::{go, many::user_word};

// Bytes into x86-64's struct pt_regs (arch/x86/include/asm/ptrace.h). Go passes its first two arguments in RAX and RBX.
const R14: usize = 8;
const RBX: usize = 40;
const RAX: usize = 80;

#[inline(always)]
fn register(ctx: &ProbeContext, at: usize) -> u64 {
    // SAFETY: the context is a pt_regs, which is longer; the verifier checks the load.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(at).cast::<u64>()) }
}

/// In `runtime.newproc1(fn, callergp, callerpc, …)`, where it calls `isSystemGoroutine(newg, false)`: the new goroutine is made and has
/// not run yet.
#[uprobe]
pub(crate) fn go_spawn(ctx: ProbeContext) -> u32 {
    if let Some((tgid, known)) = go::process() {
        go::spawn(tgid, known, register(&ctx, R14), register(&ctx, RAX));
    }
    0
}

/// `net/http.(*persistConn).roundTrip(*transportRequest)`, which leaves the request to the connection's `writeLoop`. A transportRequest
/// begins with its `*Request`.
#[uprobe]
pub(crate) fn go_round_trip(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::process()
        && let Some(request) = user_word(register(&ctx, RBX))
    {
        go::hand(tgid, register(&ctx, R14), request);
    }
    0
}

/// In `net/http.(*persistConn).writeLoop`, where it calls `(*Request).write`.
#[uprobe]
pub(crate) fn go_write_request(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::process() {
        go::take(tgid, register(&ctx, R14), register(&ctx, RAX));
    }
    0
}

/// `net/http.(*Transport).queueForDial(*wantConn)`: a goroutine will dial, now or when the limit of connections allows it.
#[uprobe]
pub(crate) fn go_queue_dial(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::process() {
        go::hand(tgid, register(&ctx, R14), register(&ctx, RBX));
    }
    0
}

/// `net/http.(*Transport).dialConnFor(*wantConn)`: the goroutine that dials. It may have been started by the end of another request's
/// connection.
#[uprobe]
pub(crate) fn go_dial(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::process() {
        go::take(tgid, register(&ctx, R14), register(&ctx, RBX));
    }
    0
}

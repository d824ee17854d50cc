//! Uprobes in Go's runtime and in net/http.
//!
//! In: places that `agent/src/enrich/units/go` finds in an executable. Out: contexts of goroutines ([`crate::unit::go`]). Always holds: a place is
//! reached on the goroutine's own stack with R14 = `g` (in `newproc1`: on the system stack, with R14 = `g0`), and behind the check for room on
//! the stack, so that it is reached once a call. Refuses: nothing; a process that is not known as Go's is left alone.
//!
//! Every place is a call or a conditional jump, which the kernel carries out itself: a uprobe on another instruction traps twice
//! (`branch_setup_xol_ops`, arch/x86/kernel/uprobes.c).

use aya_ebpf::{EbpfContext, macros::uprobe, programs::ProbeContext};

use crate::unit::{
    go::{self, Wait},
    many::user_word,
};

// Bytes into x86-64's struct pt_regs (arch/x86/include/asm/ptrace.h). Go passes its first arguments in RAX, RBX, RCX,
// RDI, RSI, R8 (abi-internal.md).
const R14: usize = 8;
const RBX: usize = 40;
const RAX: usize = 80;
const RSI: usize = 104;
const RDI: usize = 112;
const RSP: usize = 152;

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
    if let Some((tgid, _)) = go::followed()
        && let Some(request) = user_word(register(&ctx, RBX))
    {
        go::hand(tgid, register(&ctx, R14), request);
    }
    0
}

/// In `net/http.(*persistConn).writeLoop`, where it calls `(*Request).write`.
#[uprobe]
pub(crate) fn go_write_request(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::followed() {
        go::take(tgid, register(&ctx, R14), register(&ctx, RAX));
    }
    0
}

/// `net/http.(*Transport).queueForDial(*wantConn)`: a goroutine will dial, now or when the limit of connections allows it.
#[uprobe]
pub(crate) fn go_queue_dial(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::followed() {
        go::hand(tgid, register(&ctx, R14), register(&ctx, RBX));
    }
    0
}

/// `net/http.(*Transport).dialConnFor(*wantConn)`: the goroutine that dials. It may have been started by the end of another request's
/// connection.
#[uprobe]
pub(crate) fn go_dial(ctx: ProbeContext) -> u32 {
    if let Some((tgid, _)) = go::followed() {
        go::take(tgid, register(&ctx, R14), register(&ctx, RBX));
    }
    0
}

/// Cases of a `select` that are looked at.
const CASES_MAX: u64 = 8;
/// A `runtime.scase`: {channel, place of the value}.
const CASE_BYTES: u64 = 16;
/// `elemsize` in a `runtime.hchan` (1.18 to 1.26).
const ELEMENT_SIZE: u64 = 24;

/// Whether a value is received from `channel` into `place`: not where it is thrown away, or has no size.
#[inline(always)]
fn is_value(channel: u64, place: u64) -> bool {
    if channel == 0 || place == 0 {
        return false;
    }
    // In doubt it is one.
    user_word(channel + ELEMENT_SIZE).is_none_or(|word| word & 0xffff != 0)
}

/// Whether net/http called the function that begins here: what it waits for is no work of the program's.
#[inline(always)]
fn is_http_s(ctx: &ProbeContext, [from, to]: [u64; 2]) -> bool {
    to != 0 && user_word(register(ctx, RSP)).is_some_and(|caller| from <= caller && caller < to)
}

#[inline(always)]
fn waits(ctx: &ProbeContext, wait: impl FnOnce() -> Wait) {
    if let Some((tgid, http)) = go::followed() {
        let g = register(ctx, R14);
        if go::is_spawned(tgid, g) && !is_http_s(ctx, http) {
            go::waits(tgid, g, wait());
        }
    }
}

/// `runtime.chanrecv1(channel, place)`: `<-channel`.
#[uprobe]
pub(crate) fn go_receive(ctx: ProbeContext) -> u32 {
    waits(&ctx, || {
        if is_value(register(&ctx, RAX), register(&ctx, RBX)) {
            Wait::Value
        } else {
            Wait::Signal
        }
    });
    0
}

/// `runtime.selectnbrecv(place, channel)`: `select` of one channel, with `default`.
#[uprobe]
pub(crate) fn go_poll(ctx: ProbeContext) -> u32 {
    waits(&ctx, || {
        if is_value(register(&ctx, RBX), register(&ctx, RAX)) {
            Wait::Value
        } else {
            Wait::Select
        }
    });
    0
}

/// `runtime.selectgo(cases, order, pc, sends, receives, block)`: cases that send come first.
#[uprobe]
pub(crate) fn go_select(ctx: ProbeContext) -> u32 {
    waits(&ctx, || {
        let cases = register(&ctx, RAX);
        let (sends, receives) = (register(&ctx, RDI), register(&ctx, RSI));
        if receives > CASES_MAX {
            return Wait::Value;
        }
        // BOUND: CASES_MAX.
        for index in 0..CASES_MAX {
            if index >= receives {
                break;
            }
            let case = cases.wrapping_add(sends.wrapping_add(index).wrapping_mul(CASE_BYTES));
            let channel = user_word(case).unwrap_or(0);
            let place = user_word(case.wrapping_add(8)).unwrap_or(0);
            if is_value(channel, place) {
                return Wait::Value;
            }
        }
        Wait::Select
    });
    0
}

/// `runtime.chanrecv2`: `range` over a channel. `sync.(*Cond).Wait`: a queue behind a lock.
#[uprobe]
pub(crate) fn go_next(ctx: ProbeContext) -> u32 {
    waits(&ctx, || Wait::Value);
    0
}

/// `time.Sleep`.
#[uprobe]
pub(crate) fn go_sleep(ctx: ProbeContext) -> u32 {
    waits(&ctx, || Wait::Signal);
    0
}

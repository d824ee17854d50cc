//! Goroutines.
//!
//! In: the current task, or the registers at a place in Go's code. Out: the address of a `g`; contexts that pass from one goroutine to another.
//! Always holds: a syscall of Go code is made on the goroutine's own thread, with `g` in thread-local storage, and Go functions have it in R14
//! (cmd/compile's ABI, abi-internal.md, since 1.17; seen with gdb on Go 1.18 to 1.26). A `g` is made anew by `newproc1` only, which is hooked
//! wherever a goroutine can get a context from another one, so a reused `g` never has an old context. Refuses: to hand on a context when the
//! structs do not point to each other as they should.
//!
//! ```text
//!   goroutine with a context ──newproc1──────────> new goroutine (evidence SPAWN)
//!        │ roundTrip(request), queueForDial(want)       ^ an end of its own: SPAWNED_AGE_MAX_NS
//!        v
//!   HANDED {request | want} ──writeLoop writes it, dialConnFor dials it──> that goroutine, until its next piece of work
//! ```

use agent_common::abi::{Runtime, UnitContext, UnitKey, evidence, runtime, unit_kind};

use super::many::{self, user_word};
use crate::{ids::now, maps::UNITS, scope::task_in_scope, walk::Task};

/// `Runtime::offsets`: how far below the thread pointer `g` is.
const TLS_BELOW: usize = 0;
/// `Runtime::offsets`: of `m` in a `g`.
const G_M: usize = 1;
/// `Runtime::offsets`: of `curg` in an `m`.
const M_CURG: usize = 2;

/// The running goroutine.
#[inline(always)]
pub(crate) fn running(task: Task, known: &Runtime) -> Option<u64> {
    let below = u64::from(known.offsets[TLS_BELOW]);
    user_word(task.fsbase().wrapping_sub(below)).filter(|g| *g != 0)
}

/// The process of the current task and its runtime, if it is traced and Go's. A uprobe fires in every process that maps the file.
#[inline(always)]
pub(crate) fn process() -> Option<(u32, &'static Runtime)> {
    let tgid = task_in_scope()?.tgid();
    let known = many::runtime_of(tgid)?;
    (known.class == runtime::GO).then_some((tgid, known))
}

#[inline(always)]
fn goroutine(tgid: u32, g: u64) -> UnitKey {
    UnitKey {
        id: g,
        tgid,
        kind: unit_kind::GOROUTINE,
    }
}

/// What `unit` works for now.
#[inline(always)]
fn working(unit: &UnitKey) -> Option<&'static UnitContext> {
    // SAFETY: see `many::context`.
    let known = unsafe { UNITS.get(unit) }?;
    many::is_young(known, now()).then_some(known)
}

/// `to` works for what `from` works for, or for nothing.
#[inline(always)]
fn follow(to: &UnitKey, from: &UnitKey, found: u64) {
    match working(from) {
        Some(known) => {
            // A chain of goroutines is as old as its first one.
            let since = if found == u64::from(evidence::SPAWN) && known.evidence != found {
                now()
            } else {
                known.ktime_ns
            };
            many::put_copy(to, known, since, found);
        }
        None => {
            let _ = UNITS.remove(to);
        }
    }
}

/// `newproc1` has made the goroutine `new`, on the system stack of the thread (`g0`) of whoever asked for it.
#[inline(always)]
pub(crate) fn spawn(tgid: u32, known: &Runtime, g0: u64, new: u64) {
    let new = goroutine(tgid, new);
    match maker(known, g0) {
        Some(g) => follow(&new, &goroutine(tgid, g), u64::from(evidence::SPAWN)),
        None => {
            let _ = UNITS.remove(&new);
        }
    }
}

/// The goroutine on whose behalf the system stack `g0` works; none when it is the scheduler's own, a timer's for example.
#[inline(always)]
fn maker(known: &Runtime, g0: u64) -> Option<u64> {
    let (to_m, to_curg) = (known.offsets[G_M], known.offsets[M_CURG]);
    let m = user_word(g0 + u64::from(to_m))?;
    let g = user_word(m + u64::from(to_curg)).filter(|g| *g != 0)?;
    // Both ways, because a wrong offset must find nobody.
    (user_word(g + u64::from(to_m))? == m).then_some(g)
}

/// The goroutine `g` leaves `work` to another one.
#[inline(always)]
pub(crate) fn hand(tgid: u32, g: u64, work: u64) {
    let from = goroutine(tgid, g);
    let kept = handed(tgid, work);
    match working(&from) {
        Some(known) => {
            many::put_copy(&kept, known, known.ktime_ns, known.evidence);
        }
        None => {
            let _ = UNITS.remove(&kept);
        }
    }
}

/// The goroutine `g` begins to do `work`, for whom it was left to it: whatever it did before.
#[inline(always)]
pub(crate) fn take(tgid: u32, g: u64, work: u64) {
    let (to, kept) = (goroutine(tgid, g), handed(tgid, work));
    match working(&kept) {
        Some(known) => {
            many::put_copy(&to, known, known.ktime_ns, known.evidence);
            let _ = UNITS.remove(&kept);
        }
        None => {
            let _ = UNITS.remove(&to);
        }
    }
}

#[inline(always)]
fn handed(tgid: u32, work: u64) -> UnitKey {
    UnitKey {
        id: work,
        tgid,
        kind: unit_kind::HANDED,
    }
}

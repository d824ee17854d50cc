//! Goroutines.
//!
//! In: the current task, or the registers at a place in Go's code. Out: the address of a `g`; contexts that pass from one goroutine to another.
//! Always holds: a syscall of Go code is made on the goroutine's own thread, with `g` in thread-local storage, and Go functions have it in R14
//! (cmd/compile's ABI, abi-internal.md, since 1.17; seen with gdb on Go 1.18 to 1.26). A `g` is made anew by `newproc1` only, which is hooked
//! wherever a goroutine can get a context from another one, so a reused `g` never has an old context. Refuses: to hand on a context when the
//! structs do not point to each other as they should; to trust one that a goroutine was made with once it may have got work from others.
//!
//! ```text
//!   request read ──> GOROUTINE ──answer begins──> ANSWERED (still counts: a stream) ──next request──> GOROUTINE
//!                        │ └─ another request read before: VOID, for good
//!                        ├── newproc1 ──> new goroutine: SPAWN ──`waits`──> (none)
//!                        │ roundTrip(request), queueForDial(want)
//!                        v
//!   HANDED {request | want} ──writeLoop writes it, dialConnFor dials it──> that goroutine, until its next piece of work
//! ```

use agent_common::{
    abi::{
        Conn, Runtime, UnitContext, UnitKey, evidence, go_variant, goroutine_note as note, runtime,
        unit_kind, unit_note,
    },
    counters::Counter,
    limits::{CONTEXT_AGE_MAX_NS, SPAWNED_AGE_MAX_NS},
};

use super::{
    many::{self, is_still, put_new, user_word},
    word::{load, replace},
};
use crate::{
    ids::now,
    maps::{UNITS, count},
    messages,
    scope::task_in_scope,
    walk::Task,
};

/// `Runtime::offsets`: how far below the thread pointer `g` is.
const TLS_BELOW: usize = 0;
/// `Runtime::offsets`: of `m` in a `g`.
const G_M: usize = 1;
/// `Runtime::offsets`: of `curg` in an `m`.
const M_CURG: usize = 2;
/// The evidence in [`UnitContext::evidence`].
const EVIDENCE: u64 = unit_note::EVIDENCE;
const SPAWN: u64 = evidence::SPAWN as u64;
const OWN: u64 = evidence::GOROUTINE as u64;

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

/// The same, if contexts pass from one of its goroutines to another; with the addresses of net/http's code where the runtime's
/// functions are probed.
#[inline(always)]
pub(crate) fn followed() -> Option<(u32, [u64; 2])> {
    let (tgid, known) = process()?;
    is_followed(known).then_some((tgid, known.addresses))
}

#[inline(always)]
fn is_followed(known: &Runtime) -> bool {
    known.variant & go_variant::FOLLOWED != 0
}

/// The kind of the process' units.
#[inline(always)]
pub(crate) fn kind(known: &Runtime) -> u32 {
    if is_followed(known) {
        unit_kind::GOROUTINE
    } else {
        unit_kind::GOROUTINE_ALONE
    }
}

/// Whether a unit is a goroutine.
#[inline(always)]
pub(crate) fn is_goroutine(unit: &UnitKey) -> bool {
    unit.kind == unit_kind::GOROUTINE || unit.kind == unit_kind::GOROUTINE_ALONE
}

#[inline(always)]
fn goroutine(tgid: u32, g: u64) -> UnitKey {
    UnitKey {
        id: g,
        tgid,
        kind: unit_kind::GOROUTINE,
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

#[inline(always)]
fn asker(tgid: u32, of: u64) -> UnitKey {
    UnitKey {
        id: of,
        tgid,
        kind: unit_kind::ASKER,
    }
}

/// The running goroutine writes the request that began on `conn`: the answer will be read for the one that asked for it.
#[inline(never)]
pub(crate) fn asked(task: Task, conn: &mut Conn) -> u64 {
    let tgid = task.tgid();
    let Some(known) = many::runtime_of(tgid) else {
        return 0;
    };
    if known.class != runtime::GO {
        return 0;
    }
    conn.unit = many::nobody();
    let Some(g) = running(task, known) else {
        return 0;
    };
    let place = asker(tgid, g);
    // SAFETY: one word, looked at at once.
    if let Some(found) = unsafe { UNITS.get(place) } {
        conn.unit = goroutine(tgid, found.span_id);
        let _ = UNITS.remove(place);
    }
    1
}

/// What a goroutine's context is before it reads from a broker.
pub(crate) enum Before {
    /// A request, or a job that another goroutine was given.
    Request,
    /// What it read before, with this span id; whether it has made a goroutine since then.
    Job(u64, bool),
    /// None, or none that counts.
    Nothing,
}

/// What the goroutine `unit` works for.
#[inline(always)]
pub(crate) fn job_before(unit: &UnitKey) -> Before {
    // SAFETY: see `many::context`.
    match unsafe { UNITS.get(unit) } {
        None => Before::Nothing,
        Some(known) if known.evidence & note::JOB != 0 => {
            Before::Job(known.span_id, known.evidence & note::HANDED != 0)
        }
        Some(known) if !is_void(known) && now().wrapping_sub(known.ktime_ns) > age_max(known) => {
            Before::Nothing
        }
        Some(_) => Before::Request,
    }
}

/// Age from which on a context does not count.
#[inline(always)]
pub(crate) fn age_max(known: &UnitContext) -> u64 {
    let is_spawned = known.evidence & (EVIDENCE | note::OF_JOB) == SPAWN;
    if is_spawned || known.evidence & note::ANSWERED != 0 {
        SPAWNED_AGE_MAX_NS
    } else {
        CONTEXT_AGE_MAX_NS
    }
}

/// Whether the goroutine reads several requests at a time.
#[inline(always)]
pub(crate) fn is_void(known: &UnitContext) -> bool {
    known.evidence & note::VOID != 0
}

/// What `unit` works for now.
#[inline(always)]
fn working(unit: &UnitKey) -> Option<&'static UnitContext> {
    // SAFETY: see `many::context`.
    let known = unsafe { UNITS.get(unit) }?;
    (!is_void(known) && now().wrapping_sub(known.ktime_ns) <= age_max(known)).then_some(known)
}

/// The goroutine `conn.unit` read bytes of the request whose exchange is `conn`'s.
#[inline(always)]
pub(crate) fn enter(conn: &Conn, now: u64) -> u64 {
    let mut notes = 0;
    // SAFETY: see `many::context`.
    if let Some(before) = unsafe { UNITS.get(conn.unit) } {
        let has_two = before.evidence & (EVIDENCE | note::ANSWERED | note::JOB) == OWN
            && before.span_id != conn.span_id;
        if is_void(before) || has_two {
            notes = note::VOID;
        }
    }
    let found = OWN | notes | (conn.unit.id << note::READER_SHIFT);
    put_new(&conn.unit, (&conn.trace_id, conn.span_id), now, found)
}

/// The response to the request has begun that `place` is about. What its goroutine calls from now on is still the request's: it
/// streams, or has not returned; its next request makes it another's, `newproc1` nobody's. False: the entry must go.
#[inline(always)]
pub(crate) fn keeps(unit: &UnitKey, place: *mut UnitContext) -> bool {
    let is_seen = || unit.kind != unit_kind::GOROUTINE_ALONE;
    many::answers(place, (note::VOID, note::ANSWERED), is_seen)
}

/// `newproc1` has made the goroutine `new`, on the system stack of the thread (`g0`) of whoever asked for it.
#[inline(always)]
pub(crate) fn spawn(tgid: u32, known: &Runtime, g0: u64, new: u64) {
    let mut new = goroutine(tgid, new);
    new.kind = kind(known);
    let mut by = goroutine(tgid, 0);
    by.id = maker(known, g0).unwrap_or(0);
    let Some(maker) = working(&by) else {
        let _ = UNITS.remove(new);
        return;
    };
    let mut of_job = maker.evidence & note::OF_JOB;
    if maker.evidence & note::JOB != 0 {
        of_job = note::OF_JOB;
        if let Some(place) = UNITS.get_ptr_mut(by) {
            // SAFETY: a field of a map value.
            let notes = unsafe { &raw mut (*place).evidence };
            let found = load(notes);
            if found & note::JOB != 0 {
                replace(notes, found, found | note::HANDED);
            }
        }
    }
    // A chain of goroutines is as old as its first one.
    let since = if maker.evidence & EVIDENCE == SPAWN {
        maker.ktime_ns
    } else {
        now()
    };
    let found = SPAWN | of_job | (maker.evidence & !note::NOTES);
    put_new(&new, (&maker.trace_id, maker.span_id), since, found);
    if !is_still(&by, maker) {
        let _ = UNITS.remove(new);
    }
}

/// The goroutine on whose behalf the system stack `g0` works; none when it is the scheduler's own, a timer's for example.
#[inline(always)]
fn maker(known: &Runtime, g0: u64) -> Option<u64> {
    let (to_m, to_curg) = (known.offsets[G_M], known.offsets[M_CURG]);
    if to_curg == 0 {
        return None;
    }
    let m = user_word(g0 + u64::from(to_m))?;
    let g = user_word(m + u64::from(to_curg)).filter(|g| *g != 0)?;
    // Both ways, because a wrong offset must find nobody.
    (user_word(g + u64::from(to_m))? == m).then_some(g)
}

/// `to` works for what `from` works for, or for nothing.
#[inline(always)]
fn copy(to: &UnitKey, from: &UnitKey) {
    match working(from) {
        Some(known) => {
            let of = (&known.trace_id, known.span_id);
            put_new(to, of, known.ktime_ns, known.evidence);
            if !is_still(from, known) {
                let _ = UNITS.remove(to);
            }
        }
        None => {
            let _ = UNITS.remove(to);
        }
    }
}

/// The goroutine `g` leaves `work` to another one.
#[inline(always)]
pub(crate) fn hand(tgid: u32, g: u64, work: u64) {
    copy(&handed(tgid, work), &goroutine(tgid, g));
    if messages::has_servers() {
        put_new(&asker(tgid, work), (&[0; 2], g), now(), 0);
    }
}

/// The goroutine `g` begins to do `work`, for whom it was left to it: whatever it did before.
#[inline(always)]
pub(crate) fn take(tgid: u32, g: u64, work: u64) {
    copy(&goroutine(tgid, g), &handed(tgid, work));
    let _ = UNITS.remove(handed(tgid, work));
    if messages::has_servers() {
        let left = asker(tgid, work);
        // SAFETY: one word, copied at once.
        let by = unsafe { UNITS.get(left) }.map_or(0, |found| found.span_id);
        if by == 0 {
            let _ = UNITS.remove(asker(tgid, g));
        } else {
            put_new(&asker(tgid, g), (&[0; 2], by), now(), 0);
            let _ = UNITS.remove(left);
        }
    }
}

/// Whether the goroutine `g` has the context that it was made with.
#[inline(always)]
pub(crate) fn is_spawned(tgid: u32, g: u64) -> bool {
    // SAFETY: one word, looked at at once.
    unsafe { UNITS.get(goroutine(tgid, g)) }.is_some_and(|known| known.evidence & EVIDENCE == SPAWN)
}

/// What a goroutine is about to do that may give it work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It takes a value from a channel, goes round a loop over one, or looks at a queue behind a condition: what comes may be another
    /// request's.
    Value,
    /// It waits for one of several signals without a value.
    Select,
    /// It waits for a signal without a value, or for a time.
    Signal,
}

/// The goroutine `g`, which has the context that it was made with, waits. That ends it: at once when it may get work so; once the answer
/// has begun also at a `select` and at the second signal, because a loop that goes on then is no part of the request. (After the end
/// of a job user space names it as nobody's parent.)
#[inline(always)]
pub(crate) fn waits(tgid: u32, g: u64, wait: Wait) {
    let unit = goroutine(tgid, g);
    let Some(place) = UNITS.get_ptr_mut(unit) else {
        return;
    };
    // SAFETY: fields of a map value, which only the running goroutine's programs write.
    let (notes, span) = unsafe { (&raw mut (*place).evidence, &raw const (*place).span_id) };
    let (found, span_id) = (load(notes), load(span));
    if wait != Wait::Value {
        if found & note::OF_JOB != 0 {
            return;
        }
        if is_unanswered(tgid, found >> note::READER_SHIFT, span_id) {
            return;
        }
        if wait == Wait::Signal && found & note::WAITED == 0 {
            // User space may delete it for its age: then this is another's of the same request at worst, which ends earlier.
            replace(notes, found, found | note::WAITED);
            return;
        }
    }
    let _ = UNITS.remove(unit);
    count(Counter::HandedOver, 1);
}

/// Whether the goroutine `reader` still owes the answer to the request with this span id.
#[inline(always)]
fn is_unanswered(tgid: u32, reader: u64, span_id: u64) -> bool {
    // SAFETY: two words, compared at once.
    unsafe { UNITS.get(goroutine(tgid, reader)) }.is_some_and(|known| {
        known.span_id == span_id && known.evidence & (EVIDENCE | note::ANSWERED) == OWN
    })
}

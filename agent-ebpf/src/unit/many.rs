//! Units of which a thread runs many: goroutines, tokio's tasks, contextvars Contexts, virtual threads, turns of an event loop.
//!
//! In: the current task and what user space found about its runtime. Out: the unit that runs, and the request it works for.
//! Always holds: an entry of the map is the context of the unit with that key now; whoever makes a unit anew (the runtime
//! reuses its memory) writes the new unit's context or deletes the old one's. Refuses: to guess a unit whose name could not
//! be read: no context, which is counted.
//!
//! ```text
//!           request read by it / made by a unit with a context          response begins / age / process ends
//!   (none) --------------------------------------------------> an entry ---------------------------------> (none)
//! ```

use agent_common::{
    abi::{Conn, ExchangeIds, Runtime, UnitContext, UnitKey, Words, evidence, runtime, unit_kind},
    counters::Counter,
    limits::CONTEXT_AGE_MAX_NS,
};
use aya_ebpf::{helpers::bpf_probe_read_user, maps::HashMap};

use super::{
    go, haproxy, java, task,
    word::{load, replace},
};
use crate::{
    ids::{copy, now},
    maps::{RUNTIMES, UNITS, count},
    walk::Task,
};

/// What is known of a process' runtime.
#[inline(always)]
pub(crate) fn runtime_of(tgid: u32) -> Option<&'static Runtime> {
    // SAFETY: user space replaces the value as a whole and rarely; a program that reads half of each finds memory that it
    // cannot read or an address that is no unit's.
    unsafe { RUNTIMES.get(tgid) }
}

/// A word of the current process' memory.
#[inline(always)]
pub(crate) fn user_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

/// Whether processes of this class have units that are no threads.
#[inline(always)]
pub(crate) fn has_many(class: u8) -> bool {
    class >= runtime::GO
}

/// Names the unit that runs on the current thread. Returns 0 and leaves `unit` as it is where there is none.
#[inline(never)]
pub(crate) fn locate(task: Task, unit: &mut UnitKey) -> u64 {
    let tgid = task.tgid();
    let Some(known) = runtime_of(tgid) else {
        return 0;
    };
    let (id, kind) = match known.class {
        runtime::GO => (go::running(task, known), go::kind(known)),
        runtime::HAPROXY => match haproxy::running(task, known) {
            None => return 0,
            client => (client, unit_kind::SESSION),
        },
        runtime::JAVA => match java::mounted(task, known) {
            java::PLATFORM => return 0,
            id => (Some(id), unit_kind::VIRTUAL_THREAD),
        },
        runtime::TOKIO => match task::running(task, known) {
            None => return 0,
            id => (id, unit_kind::TASK),
        },
        _ => return 0,
    };
    let Some(id) = id else {
        count(Counter::UnitUnread, 1);
        return 0;
    };
    unit.id = id;
    unit.tgid = tgid;
    unit.kind = kind;
    1
}

/// No unit yet.
#[inline(always)]
pub(crate) fn nobody() -> UnitKey {
    UnitKey {
        id: 0,
        tgid: 0,
        kind: unit_kind::THREAD,
    }
}

/// Whether a unit that is no thread runs on the current thread.
#[inline(always)]
pub(crate) fn is_located(task: Task) -> bool {
    locate(task, &mut nobody()) != 0
}

/// Evidence of a call that the very unit makes which read the request.
#[inline(always)]
fn own_evidence(kind: u32) -> u64 {
    u64::from(match kind {
        unit_kind::CONTEXT => evidence::CONTEXT,
        unit_kind::SESSION => evidence::SESSION,
        unit_kind::VIRTUAL_THREAD => evidence::VIRTUAL_THREAD,
        _ => evidence::ASYNC,
    })
}

/// `conn.unit` read bytes of the request whose exchange is `conn`'s.
#[inline(always)]
pub(crate) fn enter(conn: &Conn, now: u64) -> u64 {
    if go::is_goroutine(&conn.unit) {
        return go::enter(conn, now);
    }
    if conn.unit.kind == unit_kind::VIRTUAL_THREAD {
        return java::enter(conn, now);
    }
    if conn.unit.kind == unit_kind::TASK {
        return task::enter(conn, now);
    }
    let of = (&conn.trace_id, conn.span_id);
    put_new(&conn.unit, of, now, own_evidence(conn.unit.kind))
}

/// `unit` works for the request with these trace and span ids, since `ktime_ns` and by `evidence`.
#[inline(always)]
pub(crate) fn put_new(unit: &UnitKey, of: (&Words, u64), ktime_ns: u64, evidence: u64) -> u64 {
    put_in(&UNITS, Counter::UnitsFull, unit, of, ktime_ns, evidence)
}

/// Sets an entry of one of the maps with units; `full` counts what finds no room.
#[inline(always)]
pub(crate) fn put_in(
    map: &HashMap<UnitKey, UnitContext>,
    full: Counter,
    unit: &UnitKey,
    of: (&Words, u64),
    ktime_ns: u64,
    evidence: u64,
) -> u64 {
    let mut context = core::mem::MaybeUninit::<UnitContext>::uninit();
    let place = context.as_mut_ptr();
    // SAFETY: fields of a value on the stack, all of which are written: word by word, see `ids::copy`.
    let context = unsafe {
        core::ptr::write_volatile(&raw mut (*place).trace_id[0], of.0[0]);
        core::ptr::write_volatile(&raw mut (*place).trace_id[1], of.0[1]);
        core::ptr::write_volatile(&raw mut (*place).span_id, of.1);
        core::ptr::write_volatile(&raw mut (*place).ktime_ns, ktime_ns);
        core::ptr::write_volatile(&raw mut (*place).evidence, evidence);
        context.assume_init_ref()
    };
    if map.insert(unit, context, 0).is_err() {
        // What the unit worked for before is not what it works for now.
        let _ = map.remove(unit);
        count(full, 1);
        return 0;
    }
    1
}

/// Whether `known` is still the entry of `unit`. Asked after a look at it where another CPU may delete it, upon which its memory is at once another
/// unit's.
#[inline(always)]
pub(crate) fn is_still(unit: &UnitKey, known: &UnitContext) -> bool {
    UNITS
        .get_ptr(unit)
        .is_some_and(|place| core::ptr::eq(place, known))
}

/// The response to `conn`'s request began.
#[inline(always)]
pub(crate) fn leave(conn: &Conn) -> u64 {
    let Some(place) = UNITS.get_ptr_mut(conn.unit) else {
        return 0;
    };
    // SAFETY: one word of a map value.
    let span_id = unsafe { core::ptr::read_volatile(&raw const (*place).span_id) };
    if span_id != conn.span_id {
        return 1;
    }
    if go::is_goroutine(&conn.unit) && go::keeps(&conn.unit, place)
        || conn.unit.kind == unit_kind::VIRTUAL_THREAD && java::keeps(place)
    {
        return 1;
    }
    if conn.unit.kind == unit_kind::TASK && task::keeps(&conn.unit, place) {
        return 1;
    }
    let _ = UNITS.remove(conn.unit);
    1
}

/// The response to the request has begun that `place` is about: notes that (`answered`) and when. False: the entry must go, because the unit's end is
/// not seen (`is_seen`). One that is never trusted (`void`) stays as it is.
#[inline(always)]
pub(super) fn answers(
    place: *mut UnitContext,
    (void, answered): (u64, u64),
    is_seen: impl FnOnce() -> bool,
) -> bool {
    // SAFETY: fields of a map value.
    let (notes, since) = unsafe { (&raw mut (*place).evidence, &raw mut (*place).ktime_ns) };
    let (found, was) = (load(notes), load(since));
    if found & void != 0 {
        return true;
    }
    if !is_seen() {
        return false;
    }
    // Another unit may answer for this one, which may end meanwhile: its entry is another's then, which has other words.
    if replace(since, was, now()) {
        replace(notes, found, found | answered);
    }
    true
}

/// [`running`]: the thread itself is the unit.
pub(crate) const NO_UNIT: u64 = 2;

/// The context of the unit that runs on the current thread: fills `ids` and returns 1 if there is one. Not part of its caller, whose frame would be
/// larger, under which Node.js' own functions need the stack.
#[inline(never)]
pub(crate) fn running(task: Task, now: u64, ids: &mut ExchangeIds) -> u64 {
    let mut unit = nobody();
    if locate(task, &mut unit) == 0 {
        return NO_UNIT;
    }
    context(&unit, now, ids)
}

/// The context of the unit `unit`: fills `ids` and returns 1 if there is one.
#[inline(always)]
pub(crate) fn context(unit: &UnitKey, now: u64, ids: &mut ExchangeIds) -> u64 {
    if unit.kind == unit_kind::TASK {
        return task::context(unit, now, ids);
    }
    // SAFETY: the entry of the unit that runs, or of one that this one is part of: nobody else writes it now. Who answers for it may delete it.
    let Some(known) = (unsafe { UNITS.get(unit) }) else {
        return 0;
    };
    let most = if go::is_goroutine(unit) {
        go::age_max(known)
    } else {
        CONTEXT_AGE_MAX_NS
    };
    if now.wrapping_sub(known.ktime_ns) > most {
        let _ = UNITS.remove(unit);
        count(Counter::ContextAged, 1);
        return 0;
    }
    if go::is_goroutine(unit) && go::is_void(known)
        || unit.kind == unit_kind::VIRTUAL_THREAD && java::is_void(known)
    {
        count(Counter::Multiplexed, 1);
        return 0;
    }
    give(unit, known, ids)
}

/// Fills `ids` with what `unit` works for, and returns 1 if that is still so.
#[inline(always)]
pub(super) fn give(unit: &UnitKey, known: &UnitContext, ids: &mut ExchangeIds) -> u64 {
    copy(&mut ids.trace_id, &known.trace_id);
    ids.parent_span_id = known.span_id;
    ids.evidence = known.evidence as u8;
    if !is_still(unit, known) {
        ids.parent_span_id = 0;
        ids.evidence = evidence::NONE;
        return 0;
    }
    1
}

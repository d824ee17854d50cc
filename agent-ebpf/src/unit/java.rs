//! Virtual threads of a JVM: which one is mounted on the current thread.
//!
//! In: the current task and where its JVM keeps what (`agent/src/enrich/units/java.rs`). Out: the id of the virtual thread, and its context. Always
//! holds: a virtual thread makes its syscalls on a carrier while it is mounted there; its id is given out once, and no collector moves it. A
//! carrier's own thread has no context. Refuses: an id out of an object while a collector may move objects; a virtual thread that waits with
//! epoll (it runs an event loop) or that reads a second request before the first is answered.
//!
//! ```text
//! fsbase ─(glibc's slot)─> JavaThread ─_cont_entry─> ContinuationEntry: 0 or _flags = 1
//!                              └── 25: _monitor_owner_id   21: _vthread ─> slot ─> Thread object: tid
//!
//!   request read ──> an entry ──response begins──> (none)         epoll_wait, or another request read before: VOID, for good
//! ```
//!
//! `Runtime::offsets`: 0, the slot behind the thread pointer; with `OWNER_ID` 1, `JavaThread._cont_entry`; 2, `ContinuationEntry._flags`;
//! 3, `JavaThread._monitor_owner_id`. Without: 1, `JavaThread._vthread`; 2, `JavaThread._threadObj`; 3, `Thread.tid`; 4,
//! `CollectedHeap._is_stw_gc_active`; 5, `CollectedHeap._total_collections`. `Runtime::addresses`: the heap.

use agent_common::{
    abi::{Conn, Runtime, UnitContext, demand, evidence, java_variant, unit_note},
    counters::Counter,
};
use aya_ebpf::helpers::bpf_probe_read_user;

use super::many::{self, put_new, user_word};
use crate::{
    ids::now,
    maps::{UNITS, count, is_armed},
    walk::Task,
};

/// [`mounted`]: none, the thread is what Java calls a platform thread, or not Java's.
pub(crate) const PLATFORM: u64 = 0;
/// [`mounted`]: it cannot be told whether one is, or which.
const UNREAD: u64 = u64::MAX;
/// How long it is remembered that a virtual thread waits with epoll before it is written down again.
const VOID_KEPT_NS: u64 = 10_000_000_000;
const OWN: u64 = evidence::VIRTUAL_THREAD as u64;

/// The id of the virtual thread that is mounted on the current thread, [`PLATFORM`], or one that is no thread's.
#[inline(always)]
pub(crate) fn mounted(task: Task, known: &Runtime) -> u64 {
    let found = if known.variant & java_variant::OWNER_ID != 0 {
        by_owner_id(task, known)
    } else {
        by_object(task, known)
    };
    found.unwrap_or_else(|| {
        count(Counter::UnitUnread, 1);
        UNREAD
    })
}

/// The `JavaThread`; 0 for a thread that is not attached to the JVM.
#[inline(always)]
fn java_thread(task: Task, known: &Runtime) -> Option<u64> {
    user_word(task.fsbase().wrapping_add(u64::from(known.offsets[0])))
}

/// By what the JVM itself keeps, which is no object.
#[inline(always)]
fn by_owner_id(task: Task, known: &Runtime) -> Option<u64> {
    let at = |base: u64, place: usize| user_word(base + u64::from(known.offsets[place]));
    let thread = java_thread(task, known)?;
    if thread == 0 {
        return Some(PLATFORM);
    }
    let entry = at(thread, 1)?;
    if entry == 0 {
        return Some(PLATFORM);
    }
    // 0: a continuation that is no virtual thread's, perhaps inside of one.
    if at(entry, 2)? as u32 != 1 {
        return None;
    }
    at(thread, 3).filter(|id| *id != PLATFORM)
}

/// By the objects of the mounted and of the carrier's thread, which are one where none is mounted. The collectors for which this is used move
/// objects only while the flag is set, and count each collection between setting and clearing it.
#[inline(always)]
fn by_object(task: Task, known: &Runtime) -> Option<u64> {
    let at = |base: u64, place: usize| user_word(base + u64::from(known.offsets[place]));
    let thread = java_thread(task, known)?;
    if thread == 0 {
        return Some(PLATFORM);
    }
    // In this order: the count, the flag, what is read, the flag, the count.
    let before = collections(known)?;
    if is_collecting(known)? {
        return None;
    }
    let running = user_word(at(thread, 1)?)?;
    let own = user_word(at(thread, 2)?)?;
    let id = at(running, 3)?;
    if is_collecting(known)? || collections(known)? != before {
        return None;
    }
    if running == own {
        return Some(PLATFORM);
    }
    Some(id).filter(|id| *id != PLATFORM)
}

/// Collections that have begun so far.
#[inline(always)]
fn collections(known: &Runtime) -> Option<u32> {
    let place = known.addresses[0] + u64::from(known.offsets[5]);
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(place as *const u32) }.ok()
}

/// Whether one runs that may move objects.
#[inline(always)]
fn is_collecting(known: &Runtime) -> Option<bool> {
    let place = known.addresses[0] + u64::from(known.offsets[4]);
    // SAFETY: the helper checks the address.
    let flag = unsafe { bpf_probe_read_user(place as *const u8) }.ok()?;
    Some(flag != 0)
}

/// The virtual thread `conn.unit` read bytes of the request whose exchange is `conn`'s.
#[inline(always)]
pub(crate) fn enter(conn: &Conn, now: u64) -> u64 {
    // An event loop cannot be told from a thread that blocks before its waits are seen.
    if conn.unit.id == UNREAD || !is_armed(demand::LOOPS) {
        return 0;
    }
    let mut notes = 0;
    // SAFETY: see `many::context`.
    if let Some(before) = unsafe { UNITS.get(conn.unit) }
        && (is_void(before) || before.span_id != conn.span_id)
    {
        notes = unit_note::VOID;
    }
    let of = (&conn.trace_id, conn.span_id);
    put_new(&conn.unit, of, now, OWN | notes)
}

/// Whether a virtual thread is never trusted.
#[inline(always)]
pub(crate) fn is_void(known: &UnitContext) -> bool {
    known.evidence & unit_note::VOID != 0
}

/// The response to the request has begun that `place` is about. True: the entry stays.
#[inline(always)]
pub(crate) fn keeps(place: *mut UnitContext) -> bool {
    // SAFETY: one word of a map value.
    let found = unsafe { core::ptr::read_volatile(&raw const (*place).evidence) };
    found & unit_note::VOID != 0
}

/// The current thread waits with epoll. A virtual thread that does so itself runs an event loop: one that waits for its own socket is
/// unmounted, and the JDK's pollers wait for it.
#[inline(always)]
pub(crate) fn waits(task: Task) {
    let mut unit = many::nobody();
    if many::locate(task, &mut unit) == 0 || unit.id == UNREAD {
        return;
    }
    let now = now();
    // SAFETY: see `many::context`.
    if let Some(known) = unsafe { UNITS.get(unit) }
        && is_void(known)
        && now.wrapping_sub(known.ktime_ns) < VOID_KEPT_NS
    {
        return;
    }
    put_new(&unit, (&[0; 2], 0), now, OWN | unit_note::VOID);
}

//! Tasks of tokio.
//!
//! In: the current task of the kernel, the headers of tokio's tasks. Out: the `task::Id` of the task that is polled; contexts that pass from one task
//! to another. Always holds: the id stands in the thread's `tokio::runtime::context::CONTEXT` while a task is polled or dropped, and ids are
//! never given twice, so what is known of a task that ended is nobody's. Refuses: tasks whose future is a box, which may hold anything; tasks of a
//! type of which none has ended yet; `block_on`'s own future, which has no id.
//!
//! A request's task hands its context to those that it makes ([`spawn`]), until they end, get something from another request's task through a channel, or
//! the answer begins. What a task made so writes counts only on connections that it made itself: hyper's client writes in a task of its
//! own for each connection ([`channel`]).
//!
//! ```text
//!   request read ──> TASK ──answer begins──> ANSWERED ──next request──> TASK        another one read before: VOID, for good
//!                     │ bind_inner
//!                     ├──────────> new task: SPAWN ──another's message, the answer, 60 s──> (none)
//!                     │ mpsc send        (UNPROVEN until one of its type has ended)
//!                     └──────────> channel ──its receiver writes a request──> that one is this task's, if nobody else sent to it meanwhile
//! ```
//!
//! `Runtime::offsets[0]`: how far below the thread pointer the id is.

mod channel;
mod doubt;

use agent_common::{
    abi::{
        Conn, ExchangeIds, Runtime, UnitContext, UnitKey, evidence, runtime, task_note as note,
        tokio_variant, unit_kind, unit_note,
    },
    counters::Counter,
    limits::{CONTEXT_AGE_MAX_NS, SPAWNED_AGE_MAX_NS},
};

pub(crate) use channel::{calls, send, wait};

use super::many::{self, is_still, put_new, user_word};
use crate::{
    ids::now,
    maps::{UNITS, count},
    scope::task_in_scope,
    walk::Task,
};

const EVIDENCE: u64 = unit_note::EVIDENCE;
const SPAWN: u64 = evidence::SPAWN as u64;
const OWN: u64 = evidence::TASK as u64;

/// `vtable` in tokio's `Header` (1.24 to 1.54), and in the vtable `trailer_offset` and `id_offset`.
const VTABLE: u64 = 16;
const TRAILER_OFFSET: u64 = 56;
const ID_OFFSET: u64 = 72;
/// A header with its scheduler and future is larger than anything that is spawned.
const TASK_BYTES_MAX: u64 = 1 << 24;
/// Bytes from a task's id to its trailer when its future is a box: 40 (1.54.1), and some more, to be sure; of others here 656 to 1,024.
const BOXED_BYTES: u64 = 64;

/// The id of the task that is polled.
#[inline(always)]
pub(crate) fn running(task: Task, known: &Runtime) -> Option<u64> {
    let below = u64::from(known.offsets[0]);
    user_word(task.fsbase().wrapping_sub(below)).filter(|id| *id != 0)
}

/// The current task and its process, if that is traced and tokio's, and what tasks do to each other is seen.
#[inline(always)]
pub(crate) fn process() -> Option<(Task, u32, &'static Runtime)> {
    let task = task_in_scope()?;
    let tgid = task.tgid();
    let known = many::runtime_of(tgid)?;
    is_followed(known).then_some((task, tgid, known))
}

#[inline(always)]
fn is_followed(known: &Runtime) -> bool {
    known.class == runtime::TOKIO && known.variant & tokio_variant::FOLLOWED != 0
}

#[inline(always)]
fn key(tgid: u32, kind: u32, id: u64) -> UnitKey {
    UnitKey { id, tgid, kind }
}

/// What is known under a key.
#[inline(always)]
fn entry(key: &UnitKey) -> Option<&'static UnitContext> {
    // SAFETY: a task's entry is written while it is polled, made or ends; words that change under the reader are looked at once each.
    unsafe { UNITS.get(key) }
}

/// The task `conn.unit` read bytes of the request whose exchange is `conn`'s.
#[inline(always)]
pub(crate) fn enter(conn: &Conn, now: u64) -> u64 {
    let mut notes = 0;
    if let Some(before) = entry(&conn.unit) {
        let has_two =
            before.evidence & (EVIDENCE | note::ANSWERED) == OWN && before.span_id != conn.span_id;
        if before.evidence & note::VOID != 0 || has_two {
            notes = note::VOID;
        }
    }
    let found = OWN | notes | (conn.unit.id << note::READER_SHIFT);
    put_new(&conn.unit, (&conn.trace_id, conn.span_id), now, found)
}

/// The response to the request has begun that `place` is about; as with goroutines, its task's calls are still the request's, until the task's end. False:
/// the entry must go, because that end is not seen.
#[inline(always)]
pub(crate) fn keeps(unit: &UnitKey, place: *mut UnitContext) -> bool {
    let is_seen = || many::runtime_of(unit.tgid).is_some_and(is_followed);
    many::answers(place, (note::VOID, note::ANSWERED), is_seen)
}

/// What the task `unit` works for now.
#[inline(always)]
fn working(unit: &UnitKey, now: u64) -> Option<&'static UnitContext> {
    let known = entry(unit)?;
    let found = known.evidence;
    if found & note::VOID != 0 {
        count(Counter::Multiplexed, 1);
        return None;
    }
    let is_own = found & (EVIDENCE | note::ANSWERED) == OWN;
    let most = if is_own {
        CONTEXT_AGE_MAX_NS
    } else {
        SPAWNED_AGE_MAX_NS
    };
    if now.wrapping_sub(known.ktime_ns) > most {
        let _ = UNITS.remove(unit);
        count(Counter::ContextAged, 1);
        return None;
    }
    if found & EVIDENCE == SPAWN && !counts(unit, known) {
        return None;
    }
    Some(known)
}

/// Whether the task `unit`, which was made under a request, may still be trusted to work for it: not after the answer, because what it may get from others through
/// `Notify`, `watch`, `broadcast`, a `Semaphore` or another crate's channel is not seen, and a task that outlives its request is most often one that serves others.
#[inline(always)]
fn counts(unit: &UnitKey, known: &UnitContext) -> bool {
    if !is_unanswered(unit.tgid, known) {
        count(Counter::TaskAnswered, 1);
        return false;
    }
    if known.evidence & note::UNPROVEN != 0 {
        let made = entry(&key(unit.tgid, unit_kind::TASK_MADE, unit.id));
        let is_proven = made.is_some_and(|made| {
            entry(&key(unit.tgid, unit_kind::TASK_TYPE, made.trace_id[0])).is_some()
        });
        if !is_proven {
            count(Counter::TaskUnproven, 1);
            return false;
        }
    }
    if doubt::was_sent_elsewhere(unit.tgid, known) {
        count(Counter::TaskUncertain, 1);
        return false;
    }
    true
}

/// The context of the task `unit`: fills `ids` and returns 1 if there is one.
#[inline(never)]
pub(crate) fn context(unit: &UnitKey, now: u64, ids: &mut ExchangeIds) -> u64 {
    let Some(known) = working(unit, now) else {
        return 0;
    };
    many::give(unit, known, ids)
}

/// The id of the task whose header is at an address, and its vtable's address.
#[inline(always)]
fn named(header: u64) -> Option<(u64, u64, u64)> {
    let vtable = user_word(header.wrapping_add(VTABLE))?;
    let id_at = user_word(vtable.wrapping_add(ID_OFFSET)).filter(|at| *at < TASK_BYTES_MAX)?;
    let id = user_word(header.wrapping_add(id_at)).filter(|id| *id != 0)?;
    Some((id, vtable, id_at))
}

/// The task at `header` was made by the one that is polled on this thread.
#[inline(never)]
pub(crate) fn spawn(task: Task, tgid: u32, known: &Runtime, header: u64) -> u64 {
    let now = now();
    let by = key(tgid, unit_kind::TASK, running(task, known).unwrap_or(0));
    let Some(maker) = working(&by, now) else {
        return 0;
    };
    let Some((id, vtable, id_at)) = named(header) else {
        return 0;
    };
    let trailer = user_word(vtable.wrapping_add(TRAILER_OFFSET)).unwrap_or(0);
    if trailer <= id_at.wrapping_add(BOXED_BYTES) {
        return 0;
    }
    // A chain of tasks is as old as its first one.
    let since = if maker.evidence & EVIDENCE == SPAWN {
        maker.ktime_ns
    } else {
        now
    };
    let mut found = SPAWN | (maker.evidence & !note::NOTES);
    if entry(&key(tgid, unit_kind::TASK_TYPE, vtable)).is_none() {
        found |= note::UNPROVEN;
        let made = key(tgid, unit_kind::TASK_MADE, id);
        if put_new(&made, (&[vtable, 0], 0), now, 0) == 0 {
            return 0;
        }
    }
    let unit = key(tgid, unit_kind::TASK, id);
    put_new(&unit, (&maker.trace_id, maker.span_id), since, found);
    if !is_still(&by, maker) {
        let _ = UNITS.remove(unit);
    }
    1
}

/// The task at `header` has ended.
#[inline(never)]
pub(crate) fn end(tgid: u32, header: u64) -> u64 {
    let Some((id, ..)) = named(header) else {
        return 0;
    };
    let unit = key(tgid, unit_kind::TASK, id);
    if let Some(known) = entry(&unit) {
        let made = key(tgid, unit_kind::TASK_MADE, id);
        if known.evidence & note::UNPROVEN != 0
            && now().wrapping_sub(known.ktime_ns) <= SPAWNED_AGE_MAX_NS
            && let Some(of) = entry(&made)
        {
            let of = key(tgid, unit_kind::TASK_TYPE, of.trace_id[0]);
            put_new(&of, (&[0; 2], 0), 0, 0);
        }
        let _ = UNITS.remove(unit);
    }
    // Most have none; the entry may outlive the context.
    let _ = UNITS.remove(key(tgid, unit_kind::TASK_MADE, id));
    channel::ended(tgid, id);
    1
}

/// The current task connects: what it writes on that connection it writes for itself.
#[inline(always)]
pub(crate) fn connects(task: Task, conn: &mut Conn) {
    if is_tokio(task.tgid()) {
        many::locate(task, &mut conn.unit);
    }
}

#[inline(always)]
fn is_tokio(tgid: u32) -> bool {
    many::runtime_of(tgid).is_some_and(|known| known.class == runtime::TOKIO)
}

/// Whether the current task, if it is one of tokio's, writes on a connection that it did not make.
#[inline(never)]
pub(crate) fn is_anothers(task: Task, conn: &Conn) -> u64 {
    let Some(known) = many::runtime_of(task.tgid()) else {
        return 0;
    };
    u64::from(known.class == runtime::TOKIO && !is_its_own(task, known, conn))
}

#[inline(always)]
fn is_its_own(task: Task, known: &Runtime, conn: &Conn) -> bool {
    // A number, not an option: what a failed read left undefined would be compared, which the verifier refuses.
    let id = running(task, known).unwrap_or(0);
    conn.unit.kind == unit_kind::TASK && id == conn.unit.id
}

/// Whether the request is unanswered that the task `known` was made for.
#[inline(always)]
fn is_unanswered(tgid: u32, known: &UnitContext) -> bool {
    let reader = key(tgid, unit_kind::TASK, known.evidence >> note::READER_SHIFT);
    entry(&reader).is_some_and(|reader| {
        reader.span_id == known.span_id
            && reader.evidence & (EVIDENCE | note::ANSWERED | note::VOID) == OWN
    })
}

//! Async functions: each goes on for the request for which it began to wait, in whosever turn that is.
//!
//! In: an async function waits (`await`), goes on, returns; a promise is settled; microtasks are about to run; the collector has moved objects. Out: the
//! request of what runs now, where that is an async function that is known. Always holds: an async function's object is entered or deleted each
//! time it waits, and taken out when it goes on, so what is found there is its own; V8 counts the microtasks that have run, so that what went on is what
//! still runs as long as that number is the same. Refuses: an async function that settles a promise by hand is nobody's from then on, because
//! it may serve others (a loop over a queue of jobs); and what goes on after the answer.
//!
//! ```text
//!            await in a request's callback, or in            collected: moved, the new address
//!            an async function of the request's             ┌───────┐
//!   running ─────────────────────────────────────► waiting ─┴───────┴─► running: ids given out are the request's
//!      │  ▲                                           │                     │
//!      │  └───────────── goes on, its microtask ──────┘                     │ settles a promise: nobody's
//!      └─ returns; another microtask                                        ▼
//! ```
//!
//! On a thread that reads from a broker, async functions of no known request that are called by one that was there before (a worker's loop) get a number, those that it calls until it waits
//! again the same one, and hand it on to those that they call: who says what became of a message has the number of those that worked on it.
//!
//! Facts (V8 11.3, 12.4, 13.6 in Node 20.20, 22.23, 24.21; disassembly, gdb): see `enrich::units::node::awaits` of the agent, which reads them from each file. What
//! the collector moved has the new address, without its tag, in place of its map until `GarbageCollectionEpilogueInSafepoint` is over.

use agent_common::{
    abi::{
        kin_number,
        node::{Environment, WAITING as PLACES, Wait, WaitKey, Waiting, turn},
        node_variant,
    },
    counters::Counter,
    limits::KIN_AGE_MAX_NS,
};

use super::{
    cause::resolve,
    existing,
    intervals::{clear, copy_cause, remember},
    is_open, probed, read_ids,
};
use crate::{
    ids::now,
    maps::{WAITING, WAITS, count},
    unit::many::user_word,
    walk::Task,
};

/// Places looked at for a free one.
const TRIES: u64 = 8;
/// A page of V8's heap begins at a multiple of this.
const PAGE: u64 = 1 << 18;
/// Flag of a page from which the collector has moved all that lives.
const FROM_PAGE: u64 = 8;
/// In the lowest bit of a pointer to an object.
const TAG: u64 = 1;

static NOBODY: Waiting = Waiting::EMPTY;

/// Whether what runs is the async function that went on last.
#[inline(always)]
pub(super) fn is_running(environment: &Environment) -> bool {
    environment.active.is_named()
        && user_word(environment.finished) == Some(environment.active_finished)
}

/// Whether what runs is the async function that went on last, also one that is not known.
#[inline(always)]
pub(super) fn is_same_microtask(environment: &Environment) -> bool {
    environment.finished != 0
        && environment.active_object != 0
        && user_word(environment.finished) == Some(environment.active_finished)
}

/// The number of what an async function that has none calls until it waits again.
#[inline(always)]
pub(super) fn number(environment: &mut Environment) -> u64 {
    if environment.group == 0 || environment.group_finished != environment.active_finished {
        environment.group = u64::from(kin_number(now()));
        environment.group_finished = environment.active_finished;
    }
    environment.group
}

/// What was given out since the last that is settled is the running async function's.
#[inline(always)]
fn close(environment: &mut Environment) {
    let active = &raw const environment.active;
    remember(environment, active, 1);
}

/// Microtasks of `queue` are about to run: what was given out until now, the turn's own callback and its ticks gave out.
#[inline(always)]
pub(super) fn drains(task: Task, environment: &mut Environment, queue: u64) {
    if environment.finished == 0
        && let Some(known) = probed(task)
        && known.variant & node_variant::AWAITS != 0
    {
        let [.., finished, _] = known.offsets;
        environment.finished = queue + u64::from(finished);
    }
    if environment.kind == turn::LIST || environment.drained != 0 || environment.cause.sure == 0 {
        return;
    }
    if read_ids(environment) == 0 {
        return;
    }
    let cause = &raw const environment.cause;
    remember(environment, cause, 1);
    environment.drained = environment.mark;
}

/// An async function waits; its object is `object`.
#[inline(always)]
pub(crate) fn awaits(object: u64) -> Option<()> {
    let thread = Task::current().pid_tgid();
    let environment = existing(thread)?;
    if environment.finished == 0 || read_ids(environment) == 0 {
        return None;
    }
    let is_known = resolve::<true>(environment) != 0 && environment.found.sure != 0;
    let is_running = is_running(environment);
    if is_running {
        close(environment);
    }
    let key = WaitKey { thread, object };
    // It has waited before, and has no number.
    let is_nobodys =
        !is_running && object == environment.active_object && is_same_microtask(environment);
    let found = &mut environment.found;
    let is_numbered = found.span_id == 0 && found.server != 0 && !is_nobodys;
    if is_numbered {
        found.trace_id = [0; 2];
        found.via = 0;
        found.ktime_ns = now();
        // What it gave out before it waited, others may look up.
        let found = &raw const *found;
        remember(environment, found, 1);
    }
    if is_numbered || (is_known && is_open(&environment.found)) {
        enter(environment, &key);
    } else {
        take(&key);
    }
    Some(())
}

/// An async function goes on.
#[inline(always)]
pub(crate) fn resumes(context: u64) -> Option<()> {
    let task = Task::current();
    let thread = task.pid_tgid();
    let environment = existing(thread)?;
    if environment.finished == 0 {
        return None;
    }
    clear(&mut environment.active);
    environment.active_object = 0;
    let known = probed(task)?;
    let [.., object, _, _] = known.offsets;
    let key = WaitKey {
        thread,
        object: user_word(context + u64::from(object))?,
    };
    environment.active_finished = user_word(environment.finished)?;
    environment.active_object = key.object;
    {
        let wait = WAITS.get_ptr(key)?;
        // SAFETY: only this thread's programs write and delete its entries.
        copy_cause(&mut environment.active, unsafe { &(*wait).cause });
    }
    take(&key);
    if read_ids(environment) != 0 {
        // What ran in between is not known, but in whose turn.
        let cause = &raw const environment.cause;
        remember(environment, cause, 0);
    }
    Some(())
}

/// An async function returns, or throws.
#[inline(always)]
pub(crate) fn returns() -> Option<()> {
    let environment = existing(Task::current().pid_tgid())?;
    if is_running(environment) && read_ids(environment) != 0 {
        close(environment);
    }
    Some(())
}

/// A promise is settled by the function that `new Promise` hands out. What goes on in the same function may be for whomever it served.
#[inline(always)]
pub(crate) fn settles() -> Option<()> {
    let environment = existing(Task::current().pid_tgid())?;
    if is_running(environment) {
        if read_ids(environment) != 0 {
            close(environment);
        }
        clear(&mut environment.active);
    }
    Some(())
}

/// The object waits, for the request that was found.
#[inline(never)]
fn enter(environment: &mut Environment, key: &WaitKey) -> u64 {
    let found = &raw const environment.found;
    if let Some(wait) = WAITS.get_ptr_mut(key) {
        // SAFETY: only this thread's programs write and delete its entries.
        unsafe { copy_cause(&mut (*wait).cause, &*found) };
        return 1;
    }
    let Some(waiting) = waiting(key.thread) else {
        return 0;
    };
    let first = waiting.next;
    // BOUND: TRIES.
    for tried in 0..TRIES {
        let place = core::hint::black_box(first + tried) % PLACES as u64;
        let Some(free) = object_at(waiting, place) else {
            return 0;
        };
        if *free != 0 {
            continue;
        }
        // SAFETY: a field of a map value.
        let cause = unsafe { *found };
        if WAITS.insert(key, Wait { cause, place }, 0).is_err() {
            break;
        }
        *free = key.object;
        waiting.next = place + 1;
        return 1;
    }
    count(Counter::WaitsFull, 1);
    0
}

/// The object does not wait any more, or for nobody who is known.
#[inline(never)]
fn take(key: &WaitKey) -> u64 {
    let Some(wait) = WAITS.get_ptr(key) else {
        return 0;
    };
    // SAFETY: only this thread's programs write and delete its entries.
    let place = unsafe { (*wait).place };
    if let Some(waiting) = WAITING.get_ptr_mut(key.thread)
        // SAFETY: as above.
        && let Some(object) = object_at(unsafe { &mut *waiting }, place)
        && *object == key.object
    {
        *object = 0;
    }
    let _ = WAITS.remove(key);
    1
}

/// The thread's list, made if need be.
#[inline(always)]
fn waiting(thread: u64) -> Option<&'static mut Waiting> {
    let mut place = WAITING.get_ptr_mut(thread);
    if place.is_none() {
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it would be copied to the stack, where there is no room"
        )]
        let inserted = WAITING.insert(thread, &NOBODY, 0);
        if inserted.is_err() {
            count(Counter::WaitsFull, 1);
            return None;
        }
        place = WAITING.get_ptr_mut(thread);
    }
    // SAFETY: only this thread's programs write its entry, one at a time: they run in its own calls.
    place.map(|place| unsafe { &mut *place })
}

#[inline(always)]
fn object_at(waiting: &mut Waiting, place: u64) -> Option<&mut u64> {
    if place >= PLACES as u64 {
        return None;
    }
    // SAFETY: the place is in the array.
    Some(unsafe { &mut *waiting.objects.as_mut_ptr().add(place as usize) })
}

/// The collector has moved what lives.
#[inline(always)]
pub(crate) fn collected() -> Option<()> {
    let task = Task::current();
    let thread = task.pid_tgid();
    let known = probed(task)?;
    let [.., flags] = known.offsets;
    // SAFETY: only this thread's programs write its entry.
    let waiting = unsafe { &mut *WAITING.get_ptr_mut(thread)? };
    // BOUND: PLACES.
    for place in 0..PLACES as u64 {
        let object = match object_at(waiting, core::hint::black_box(place)) {
            Some(object) if *object != 0 => *object,
            _ => continue,
        };
        let now = follow(thread, object, u64::from(flags), place);
        if let Some(place) = object_at(waiting, core::hint::black_box(place)) {
            *place = now;
        }
    }
    Some(())
}

/// Where the object at `place` of the list is now, 0: nobody waits for it.
#[inline(never)]
fn follow(thread: u64, object: u64, flags: u64, place: u64) -> u64 {
    let old = WaitKey { thread, object };
    let Some(wait) = WAITS.get_ptr(old) else {
        return 0;
    };
    // SAFETY: only this thread's programs write and delete its entries.
    let wait = unsafe { &*wait };
    // Another one was moved to where this one was: it had died.
    if wait.place != place {
        return 0;
    }
    let moved = whither(object, flags);
    if moved != object {
        if moved != 0 {
            let key = WaitKey {
                thread,
                object: moved,
            };
            let _ = WAITS.insert(key, *wait, 0);
        }
        let _ = WAITS.remove(old);
        return moved;
    }
    let is_wanted = if wait.cause.span_id == 0 {
        now().wrapping_sub(wait.cause.ktime_ns) <= KIN_AGE_MAX_NS
    } else {
        is_open(&wait.cause)
    };
    if is_wanted {
        return object;
    }
    let _ = WAITS.remove(old);
    0
}

/// Where the object is now, 0: it died, or that cannot be read.
#[inline(always)]
fn whither(object: u64, flags: u64) -> u64 {
    let Some(map) = user_word(object - TAG) else {
        count(Counter::WaitsUnread, 1);
        return 0;
    };
    if map & TAG == 0 {
        return map | TAG;
    }
    match user_word((object & !(PAGE - 1)) + flags) {
        Some(flags) if flags & FROM_PAGE == 0 => object,
        _ => 0,
    }
}

/// The thread ends.
#[inline(never)]
pub(crate) fn ends(thread: u64) -> u64 {
    let Some(waiting) = WAITING.get_ptr_mut(thread) else {
        return 0;
    };
    // SAFETY: the thread runs nothing else any more.
    let waiting = unsafe { &mut *waiting };
    // BOUND: PLACES.
    for place in 0..PLACES as u64 {
        if let Some(object) = object_at(waiting, core::hint::black_box(place))
            && *object != 0
        {
            let _ = WAITS.remove(WaitKey {
                thread,
                object: *object,
            });
        }
    }
    let _ = WAITING.remove(thread);
    1
}

//! Whether a request is alone on its thread: then nobody else goes on in its turns.
//!
//! In: requests read and answered, calls made and replied to, turns that begin. Out: the request that is alone, or why none is. Always holds: who
//! waits for something that a request's turns settle (a lock, a promise, a place in a queue) either was there before it, as an unanswered request or a
//! call without a reply, or came to wait in a turn that is not its own; both end it. A request whose connection was closed without an answer may
//! still be worked for, and counts for a while. Refuses: to be sure where more are open than are listed.
//!
//! Not seen: what an answered request left waiting in memory only, for an event; and a timer of no request that joins a promise by `then`, makes nothing and
//! awaits nothing.

use agent_common::{
    abi::{
        conn_flag, direction,
        node::{Environment, LISTED, Open, Unlisted, lost, turn},
        role,
    },
    counters::Counter,
    limits::ASYNC_AGE_MAX_NS,
};

use super::intervals::{copy_cause, find};
use crate::{ids::now, maps::CONNS};

/// Places of [`Environment::unlisted`].
const REQUESTS: usize = 0;
const CALLS: usize = 1;

/// In place of a socket's address: no reply, but something of the request's that comes again.
const AGAIN_VIA: u64 = 2;

/// Whether the request that was found is alone.
#[inline(always)]
pub(crate) fn is(environment: &Environment) -> bool {
    environment.found.span_id == environment.alone
}

/// No request is alone any more.
#[inline(always)]
pub(crate) fn lose(environment: &mut Environment, why: u64) {
    if environment.alone != 0 {
        environment.alone = 0;
        environment.lost = why;
    }
}

/// The reason why a call of the request that was found is refused.
#[inline(always)]
pub(crate) fn refusal(environment: &Environment) -> Counter {
    if environment.found.span_id != environment.newest {
        return Counter::TurnCrowded;
    }
    match environment.lost {
        lost::FOREIGN => Counter::TurnForeign,
        lost::FULL => Counter::TurnUnlisted,
        _ => Counter::TurnCrowded,
    }
}

/// A request was read. What that means is worked out when its turn begins: programs that see bytes have enough to do for the verifier.
#[inline(always)]
pub(crate) fn comes(environment: &mut Environment, server: u64, span_id: u64, now: u64) {
    environment.alone = 0;
    environment.newest = span_id;
    if environment.arrived.span_id != 0 {
        unlist(environment, REQUESTS, now);
    }
    let arrived = &mut environment.arrived;
    // SAFETY: a field of a map value; the address may be a pointer to the verifier, which may be kept.
    unsafe { core::ptr::write_volatile(&raw mut arrived.server, server) };
    arrived.span_id = span_id;
    arrived.ktime_ns = now;
}

/// The turn of the request that was read begins.
#[inline(never)]
pub(crate) fn arrives(environment: &mut Environment) -> u64 {
    let Open {
        server,
        span_id,
        ktime_ns: now,
    } = environment.arrived;
    environment.arrived.span_id = 0;
    environment.lost = lost::NOT;
    find_open(environment, now);
    find_calls(environment, now);
    are_unlisted(environment, REQUESTS, now);
    are_unlisted(environment, CALLS, now);
    // SAFETY: a field of a map value; volatile, because the functions above wrote it.
    if unsafe { core::ptr::read_volatile(&raw const environment.lost) } == lost::NOT {
        environment.alone = span_id;
    }
    // BOUND: LISTED.
    for place in 0..LISTED {
        let open = open_at(environment, place);
        if open.span_id == 0 {
            open.server = server;
            open.span_id = span_id;
            open.ktime_ns = now;
            return 1;
        }
    }
    unlist(environment, REQUESTS, now);
    0
}

/// A request is answered.
#[inline(never)]
pub(crate) fn answered(environment: &mut Environment, span_id: u64) -> u64 {
    // BOUND: LISTED.
    for place in 0..LISTED {
        let open = open_at(environment, place);
        if open.span_id == span_id {
            open.span_id = 0;
            return 1;
        }
    }
    is_over(environment, REQUESTS);
    0
}

/// A call was made on the client connection `sk`.
#[inline(never)]
pub(crate) fn called(environment: &mut Environment, sk: u64) -> u64 {
    // BOUND: LISTED.
    for place in 0..LISTED {
        let call = call_at(environment, place);
        if *call == 0 {
            // SAFETY: a word of a map value; see `comes`.
            unsafe { core::ptr::write_volatile(call, sk) };
            return 1;
        }
    }
    unlist(environment, CALLS, now());
    0
}

/// The reply to a call begins.
#[inline(never)]
pub(crate) fn replied(environment: &mut Environment, sk: u64) -> u64 {
    // BOUND: LISTED.
    for place in 0..LISTED {
        let call = call_at(environment, place);
        if *call == sk {
            *call = 0;
            return 1;
        }
    }
    is_over(environment, CALLS);
    0
}

/// A turn of something that is no list begins.
#[inline(always)]
pub(crate) fn runs(environment: &mut Environment) {
    let alone = environment.alone;
    if alone == 0 || environment.cause.span_id == alone {
        return;
    }
    let id = environment.resource;
    let cause = &raw mut environment.cause;
    // What was made in its turns is its own, also when it comes again: a connection that closes.
    if environment.kind == turn::OTHER
        && let Some(interval) = find(environment, id)
        && interval.cause.span_id == alone
    {
        let from = &raw const interval.cause;
        // SAFETY: two parts of the same map value.
        unsafe { copy_cause(&mut *cause, &*from) };
        environment.kind = turn::REPLY;
        if environment.cause.via == 0 {
            environment.cause.via = AGAIN_VIA;
        }
        return;
    }
    lose(environment, lost::FOREIGN);
}

#[inline(always)]
fn open_at(environment: &mut Environment, place: usize) -> &mut Open {
    // SAFETY: callers count to LISTED.
    unsafe { &mut *environment.open.as_mut_ptr().add(place) }
}

#[inline(always)]
fn call_at(environment: &mut Environment, place: usize) -> &mut u64 {
    // SAFETY: as above.
    unsafe { &mut *environment.calls.as_mut_ptr().add(place) }
}

/// Sets why no request is alone. Through memory, so that the verifier meets one state.
#[inline(always)]
fn is_because(environment: &mut Environment, why: u64) {
    // SAFETY: a field of a map value.
    unsafe { core::ptr::write_volatile(&raw mut environment.lost, why) };
}

/// Looks for a request that is open. Those that are not are forgotten.
#[inline(never)]
fn find_open(environment: &mut Environment, now: u64) -> u64 {
    // BOUND: LISTED.
    for place in 0..LISTED {
        let open = open_at(environment, place);
        if open.span_id == 0 {
            continue;
        }
        if is_waiting(open, now) {
            is_because(environment, lost::CROWDED);
            break;
        }
        open.span_id = 0;
    }
    0
}

/// Whether a request may still be worked for.
#[inline(always)]
fn is_waiting(open: &mut Open, now: u64) -> bool {
    if let Some(place) = CONNS.get_ptr(open.server) {
        // SAFETY: single words of a map value.
        let (span_id, flags) = unsafe {
            (
                core::ptr::read_volatile(&raw const (*place).span_id),
                core::ptr::read_volatile(&raw const (*place).flags),
            )
        };
        if span_id == open.span_id {
            open.ktime_ns = now;
            return flags & conn_flag::RESPONDED == 0;
        }
    }
    // Closed without an answer.
    now.wrapping_sub(open.ktime_ns) < ASYNC_AGE_MAX_NS
}

/// Looks for a call without a reply. Those that have one, or none for long, are forgotten.
#[inline(never)]
fn find_calls(environment: &mut Environment, now: u64) -> u64 {
    // BOUND: LISTED.
    for place in 0..LISTED {
        let call = call_at(environment, place);
        if *call == 0 {
            continue;
        }
        if is_outstanding(*call, now) {
            is_because(environment, lost::CROWDED);
            break;
        }
        *call = 0;
    }
    0
}

#[inline(always)]
fn is_outstanding(sk: u64, now: u64) -> bool {
    let Some(place) = CONNS.get_ptr(sk) else {
        return false;
    };
    // SAFETY: single words of a map value.
    let (role, direction, begun_ns) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*place).role),
            core::ptr::read_volatile(&raw const (*place).last_direction),
            core::ptr::read_volatile(&raw const (*place).begun_ns),
        )
    };
    role == role::CLIENT
        && direction == direction::TX
        && now.wrapping_sub(begun_ns) < ASYNC_AGE_MAX_NS
}

#[inline(always)]
fn unlisted_at(environment: &mut Environment, which: usize) -> &mut Unlisted {
    // SAFETY: callers name one of two places.
    unsafe { &mut *environment.unlisted.as_mut_ptr().add(which) }
}

#[inline(always)]
fn unlist(environment: &mut Environment, which: usize, now: u64) {
    let unlisted = unlisted_at(environment, which);
    unlisted.count += 1;
    unlisted.ktime_ns = now;
}

/// One that is not listed is over.
#[inline(always)]
fn is_over(environment: &mut Environment, which: usize) {
    let unlisted = unlisted_at(environment, which);
    if unlisted.count > 0 {
        unlisted.count -= 1;
    }
}

/// Looks for some that are not listed. Those that ended without a word are forgotten after a while.
#[inline(always)]
fn are_unlisted(environment: &mut Environment, which: usize, now: u64) {
    let unlisted = unlisted_at(environment, which);
    if unlisted.count == 0 {
        return;
    }
    if now.wrapping_sub(unlisted.ktime_ns) < ASYNC_AGE_MAX_NS {
        is_because(environment, lost::FULL);
    } else {
        unlisted.count = 0;
    }
}

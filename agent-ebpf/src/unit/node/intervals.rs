//! Intervals of async ids: for which request an id was given out.
//!
//! In: an interval that is over; an id. Out: its cause. Always holds: ids only grow, so the ring is sorted; what was overwritten
//! is not found. State goes through map memory, so that the verifier meets one state in each round of the search.
//!
//! Node keeps ids as doubles. Their bits are compared as they are; only a distance is worked out in numbers.

use agent_common::abi::node::{Cause, Environment, INTERVALS, Interval};

use crate::ids::copy;

const RING: u64 = INTERVALS as u64;
/// Rounds of a search: 2^10 > RING.
const ROUNDS: usize = 10;

/// The interval at a place of the ring. black_box keeps the compiler from adding in another order than the verifier can follow.
#[inline(always)]
fn at(environment: &mut Environment, place: u64) -> Option<&mut Interval> {
    let place = core::hint::black_box(place);
    if place >= RING {
        return None;
    }
    // SAFETY: the place is in the array.
    Some(unsafe { &mut *environment.intervals.as_mut_ptr().add(place as usize) })
}

/// Copies a cause word by word, see [`copy`].
#[inline(always)]
pub(crate) fn copy_cause(to: &mut Cause, from: &Cause) {
    copy(&mut to.trace_id, &from.trace_id);
    // SAFETY: fields of two references.
    unsafe {
        core::ptr::write_volatile(&raw mut to.span_id, from.span_id);
        core::ptr::write_volatile(&raw mut to.server, from.server);
        core::ptr::write_volatile(&raw mut to.via, from.via);
        core::ptr::write_volatile(&raw mut to.ktime_ns, from.ktime_ns);
        core::ptr::write_volatile(&raw mut to.sure, from.sure);
    }
}

/// Nobody's.
#[inline(always)]
pub(crate) fn clear(cause: &mut Cause) {
    cause.span_id = 0;
    cause.server = 0;
}

/// A positive whole number from the bits of its double.
#[inline(always)]
fn whole(bits: u64) -> u64 {
    /// Exponent of 1.0, and the bits of a mantissa.
    const ONE: u64 = 1023;
    const MANTISSA: u64 = 52;
    let exponent = (bits >> MANTISSA).wrapping_sub(ONE);
    if exponent > MANTISSA {
        return 0;
    }
    let mantissa = (bits & ((1 << MANTISSA) - 1)) | (1 << MANTISSA);
    mantissa >> (MANTISSA - exponent)
}

/// Remembers that the ids that were given out since `mark` are of `cause`, one of the environment's own; `sure` says as much of them.
#[inline(always)]
pub(crate) fn remember(environment: &mut Environment, cause: *const Cause, sure: u64) {
    let (low, high) = (environment.mark, environment.fields[2]);
    environment.mark = high;
    if high <= low {
        return;
    }
    let made = environment.made;
    if let Some(place) = at(environment, made % RING) {
        // SAFETY: fields of a map value.
        unsafe {
            if !(*cause).is_named() {
                return;
            }
            core::ptr::write_volatile(&raw mut place.low, low);
            core::ptr::write_volatile(&raw mut place.high, high);
            core::ptr::write_volatile(&raw mut place.used, 0);
            copy_cause(&mut place.cause, &*cause);
            core::ptr::write_volatile(&raw mut place.cause.sure, sure);
        }
        environment.made = made + 1;
    }
}

/// Whether an id of an interval was used.
#[inline(always)]
pub(crate) fn is_used(interval: &Interval, id: u64) -> bool {
    (interval.used >> place_of(interval, id)) & 1 != 0
}

/// Where an interval marks an id as used. The ids beyond share the last place.
#[inline(always)]
fn place_of(interval: &Interval, id: u64) -> u64 {
    let distance = whole(id).wrapping_sub(whole(interval.low)).wrapping_sub(1);
    if distance > 63 { 63 } else { distance }
}

/// The interval an id is in. None: it was given out for no known request, or that is forgotten.
#[inline(always)]
pub(crate) fn find(environment: &mut Environment, id: u64) -> Option<&mut Interval> {
    let place = locate(environment, id);
    if place == 0 {
        return None;
    }
    at(environment, place - 1)
}

/// Whether what was searched last may have been in an interval that is forgotten.
#[inline(always)]
pub(crate) fn is_forgotten(environment: &Environment) -> bool {
    environment.made > RING && environment.search[0] == 0
}

/// One more than the place of the interval `id` is in, or 0.
#[inline(never)]
fn locate(environment: &mut Environment, id: u64) -> u64 {
    let made = environment.made;
    let kept = if made < RING { made } else { RING };
    let oldest = made - kept;
    environment.search = [0, kept];
    // BOUND: ROUNDS; each halves what is searched.
    for _ in 0..ROUNDS {
        // SAFETY: words of a map value; volatile, so that they go through memory.
        let [from, to] = unsafe { core::ptr::read_volatile(&raw const environment.search) };
        if from >= to {
            break;
        }
        let middle = from + (to - from) / 2;
        let low = match at(environment, (oldest + middle) % RING) {
            Some(interval) => interval.low,
            None => break,
        };
        if low < id {
            environment.search[0] = middle + 1;
        } else {
            environment.search[1] = middle;
        }
    }
    let above = environment.search[0];
    if above == 0 {
        return 0;
    }
    let place = (oldest + above - 1) % RING;
    match at(environment, place) {
        Some(interval) if interval.high >= id => place + 1,
        _ => 0,
    }
}

/// Marks an id of an interval as used. Returns 1 if it was before.
#[inline(always)]
pub(crate) fn use_up(interval: &mut Interval, id: u64) -> u64 {
    let place = place_of(interval, id);
    let was = (interval.used >> place) & 1;
    interval.used |= 1 << place;
    was
}

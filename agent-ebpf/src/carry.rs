//! Contexts on their way to other hosts: what an exchange's ids say of its context, and the options that arrived.
//!
//! In: a client or server exchange that begins. Out: its span id in the form that can be carried, its context's bits; for a
//! server the ids that an option named for exactly its request's first byte. Always holds: an option is taken once, and
//! options for bytes before the request that is read are dropped. Refuses: options of which a part was overwritten meanwhile.

use agent_common::{
    abi::{Arrival, Conn, Words, evidence, option_state, said},
    carried::{context, span_of},
    counters::Counter,
    offsets::sampled as roots,
};

use crate::{
    ids::copy,
    maps::{AGENTS, ARRIVED, count},
    settings::setting,
};

/// Whether contexts are carried to other hosts at all: a constant to the verifier.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    setting!(option) != 0 || setting!(header) != 0
}

/// The same for options.
#[inline(always)]
pub(crate) fn has_options() -> bool {
    setting!(option) != 0
}

/// [`context::SAMPLED`] or 0: what the sampler will say in user space (`agent_trace::config::Sampler`).
#[inline(always)]
pub(crate) fn sampled(trace_id: &Words, parent: Option<bool>) -> u16 {
    if setting!(sampled_by_parent) != 0
        && let Some(is_sampled) = parent
    {
        return if is_sampled { context::SAMPLED } else { 0 };
    }
    let is_sampled = match setting!(sampled_roots) {
        roots::NEVER => false,
        roots::ALWAYS => true,
        _ => {
            let low = u64::from(setting!(sampled_bound_low));
            let bound = u64::from(setting!(sampled_bound_high)) << 32 | low;
            trace_id[1].to_be() >> 1 < bound
        }
    };
    if is_sampled { context::SAMPLED } else { 0 }
}

/// A client exchange has its trace, its parent and a random span id: what is known of its context, and a span id that fits into
/// an option.
#[inline(always)]
pub(crate) fn shape_client(conn: &mut Conn) {
    if !is_on() {
        return;
    }
    conn.context = if conn.evidence == evidence::NONE {
        context::CERTAIN | sampled(&conn.trace_id, None)
    } else {
        // The parent is a server exchange: its id says it, see `shape_server`.
        conn.parent_span_id as u16 & context::BITS
    };
    if conn.option & option_state::AGREED != 0 && conn.context & context::CERTAIN == 0 {
        count(Counter::OptionUncertain, 1);
    }
    conn.span_id = span_of(conn.trace_id, conn.span_id);
    conn.option_tries = 0;
    conn.injected = 0;
}

/// A server exchange's context is known: its id says what.
#[inline(always)]
pub(crate) fn shape_server(conn: &mut Conn) {
    if is_on() {
        let id = conn.span_id & !u64::from(context::BITS) | u64::from(conn.context);
        conn.span_id = if id == 0 { 1 << 63 } else { id };
    }
}

/// Whether contexts can be carried to anybody: an agent of another host was heard of, or headers are for all.
#[inline(always)]
pub(crate) fn has_agents() -> bool {
    setting!(header) != 0 || AGENTS.get(0).is_some_and(|seen| *seen != 0)
}

/// Another agent announced itself.
#[inline(always)]
pub(crate) fn heard() {
    if let Some(seen) = AGENTS.get_ptr_mut(0) {
        // SAFETY: one word, which only ever becomes 1.
        unsafe { core::ptr::write_volatile(seen, 1) };
    }
}

/// A copy of an option that arrived, if it is whole.
#[inline(always)]
fn read(place: *const Arrival) -> Option<Arrival> {
    // SAFETY: fields of a map value, each read once; the sum tells when another processor wrote in between.
    let copied = unsafe {
        Arrival {
            trace_id: [
                core::ptr::read_volatile(&raw const (*place).trace_id[0]),
                core::ptr::read_volatile(&raw const (*place).trace_id[1]),
            ],
            span_id: core::ptr::read_volatile(&raw const (*place).span_id),
            position: core::ptr::read_volatile(&raw const (*place).position),
            said: core::ptr::read_volatile(&raw const (*place).said),
            check: core::ptr::read_volatile(&raw const (*place).check),
        }
    };
    (copied.check == copied.sum()).then_some(copied)
}

/// Takes one option off; returns 1 if it was the one for the byte at `seq`.
#[inline(always)]
fn take_one(conn: &mut Conn, place: *mut Arrival, seq: u32) -> u64 {
    let Some(arrival) = read(place) else { return 0 };
    let distance = arrival.position.wrapping_sub(seq) as i32;
    if distance > 0 {
        return 0;
    }
    // SAFETY: one word of a map value.
    unsafe { core::ptr::write_volatile(&raw mut (*place).check, 0) };
    if distance < 0 {
        count(Counter::OptionUnmatched, 1);
        return 0;
    }
    copy(&mut conn.trace_id, &arrival.trace_id);
    conn.parent_span_id = arrival.span_id;
    conn.evidence = evidence::OPTION;
    conn.said = arrival.said as u8;
    let is_sampled = arrival.said & u32::from(said::SAMPLED) != 0;
    // Who is not certain sends none.
    conn.context = context::CERTAIN | sampled(&arrival.trace_id, Some(is_sampled));
    1
}

/// A server read a request whose first byte is at `seq`: puts trace and parent into `conn` and returns 1 if an option named
/// them.
#[inline(never)]
pub(crate) fn take(conn: &mut Conn, sk: u64, seq: u32) -> u64 {
    let Some(place) = ARRIVED.get_ptr_mut(sk) else {
        return 0;
    };
    // SAFETY: places inside of a map value.
    let (first, second) = unsafe { (&raw mut (*place).options[0], &raw mut (*place).options[1]) };
    // Both are looked at: what is behind is dropped.
    take_one(conn, first, seq) | take_one(conn, second, seq)
}

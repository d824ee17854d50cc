//! What tasks sent to channels of which it is not known who receives from them.
//!
//! In: such a message, and the request of its sender. Out: whether a task that was made under a request may have got one of another's. Always holds: each
//! is seen by who asks later, on whatever CPU it was sent; user space makes the entry before it says that a process' tasks are followed, so that
//! nothing can fail here. Refuses: a process without the entry, and to look while one is written: then there is doubt.
//!
//! The entry of a process: {[the last sender's span, when], how often it was written (odd: it is being written), when others last did, when somebody sent that
//! could not be entered}.

use agent_common::abi::{UnitContext, UnitKey, unit_kind};

use super::key;
use crate::{
    ids,
    maps::UNITS,
    unit::word::{load, replace, store},
};

/// Places of the entry's words.
struct Sent {
    last: *mut u64,
    when: *mut u64,
    written: *mut u64,
    others: *mut u64,
    anybody: *mut u64,
}

#[inline(always)]
fn sent_by(tgid: u32) -> Option<Sent> {
    let unit: UnitKey = key(tgid, unit_kind::TASK_SENT, 0);
    let place = UNITS.get_ptr_mut(unit)?;
    // SAFETY: fields of a map value.
    let (last, when, written, others, anybody) = unsafe {
        (
            &raw mut (*place).trace_id[0],
            &raw mut (*place).trace_id[1],
            &raw mut (*place).span_id,
            &raw mut (*place).ktime_ns,
            &raw mut (*place).evidence,
        )
    };
    Some(Sent {
        last,
        when,
        written,
        others,
        anybody,
    })
}

/// Something was sent, for the request with a span id or for none, and who receives it is not known.
#[inline(always)]
pub(super) fn sent_to_unknown(tgid: u32, span_id: u64) -> u64 {
    let Some(sent) = sent_by(tgid) else { return 0 };
    let written = load(sent.written);
    if written & 1 != 0 || !replace(sent.written, written, written + 1) {
        // Another one writes: whose this is cannot be entered, so it is everybody's.
        grow(sent.anybody);
        return 1;
    }
    let (last, when, now) = (load(sent.last), load(sent.when), ids::now());
    if last != span_id {
        store(sent.others, when);
        store(sent.last, span_id);
    }
    store(sent.when, now);
    store(sent.written, written + 2);
    1
}

/// Sets a time to now, if it is not later already.
#[inline(always)]
fn grow(word: *mut u64) {
    let was = load(word);
    let now = ids::now();
    if was < now && !replace(word, was, now) {
        // Another one did the same just before: its time is no later than this one.
        store(word, ids::now());
    }
}

/// Whether something of another request was sent to a receiver that is not known since the task was made that `known` is about.
#[inline(always)]
pub(super) fn was_sent_elsewhere(tgid: u32, known: &UnitContext) -> bool {
    let Some(sent) = sent_by(tgid) else {
        return true;
    };
    let written = load(sent.written);
    let (last, when, others) = (load(sent.last), load(sent.when), load(sent.others));
    let anybody = load(sent.anybody);
    if written & 1 != 0 || load(sent.written) != written {
        return true;
    }
    let of_others = if last == known.span_id { others } else { when };
    of_others > known.ktime_ns || anybody > known.ktime_ns
}

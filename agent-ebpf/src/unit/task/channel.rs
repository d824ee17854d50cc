//! What tokio's tasks send each other through channels, and tasks that write for others.
//!
//! In: a task waits at an `AtomicWaker`, or sends to the channel that has it. Out: for whom a task writes a request on a connection that others use as
//! well. Always holds: `mpsc`'s `send` puts its value and then calls `AtomicWaker::wake`, once each, whether somebody waits or not; `recv` calls
//! `register_by_ref` whenever it finds nothing (1.24 to 1.54). Refuses: channels of other crates, which are not seen.
//!
//! hyper's client has a task for each HTTP/1 connection, which takes requests from an `mpsc` channel, one at a time: who wants to send the next one is let
//! only when the connection's task has found the channel empty (`want`). So each request that such a task writes is the one message sent since the last
//! one was written. The message may be taken, and written, before the sender's `wake`: the request is a root then, and that `wake`, when it comes, is no
//! message of the next request: messages and requests are counted. Was more than one sent, a request was given up before it was written, or the task works in
//! another way: whose it is is not known. (Two that send at the very same time may be counted as one; hyper lets one send at a time.)
//!
//! What else a receiver does with what others send: a task that was made under a request has that request's context no more once another's task sends to
//! it. While the receiver is not known (it has not waited yet), any of the process' tasks may be it ([`was_sent_elsewhere`]).
//!
//! Entries: of a channel {trace, span, messages, evidence | notes | receiver}; of a receiver {[its channel, its connection], requests written, when it wrote
//! last, notes}; of what was sent to unknown receivers {[last sender's span, when], -, when others last did, -}.

use agent_common::{
    abi::{
        Conn, ExchangeIds, Runtime, SocketKey, UnitContext, UnitKey, evidence, protocol,
        task_note as note, task_note::NO_TASK, unit_kind,
    },
    counters::Counter,
};

use super::{EVIDENCE, OWN, SPAWN, entry, is_its_own, is_unanswered, key, running, working};
use crate::{
    ids::{copy, now},
    maps::{UNITS, count},
    unit::many::{put_new, runtime_of},
    walk::Task,
};

/// How late the `wake` of a message may be that was written already. It follows in the same function.
const LATE_MAX_NS: u64 = 1_000_000_000;

/// A word of a map value, read as it is now.
#[inline(always)]
fn load(word: *const u64) -> u64 {
    // SAFETY: a word of a map value, whose place its callers have from the map.
    unsafe { core::ptr::read_volatile(word) }
}

#[inline(always)]
fn store(word: *mut u64, value: u64) {
    // SAFETY: as in `load`.
    unsafe { core::ptr::write_volatile(word, value) }
}

/// The running task waits at the waker at an address: of a channel, or of a timer.
#[inline(never)]
pub(crate) fn wait(task: Task, tgid: u32, known: &Runtime, waker: u64) -> u64 {
    let id = running(task, known).unwrap_or(NO_TASK);
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    let place = UNITS
        .get_ptr_mut(channel)
        .filter(|place| load(notes_of(*place)) >> note::READER_SHIFT == id);
    if place.is_none() {
        put_new(&channel, (&[0; 2], 0), 0, id << note::READER_SHIFT);
    }
    if id == NO_TASK {
        return 0;
    }
    let receiver = key(tgid, unit_kind::TASK_RECEIVER, id);
    let before = UNITS.get_ptr_mut(receiver);
    let at = before.map_or(0, |before| load(channel_of(before)));
    match (place, before) {
        (Some(place), Some(before)) if at == waker => idle(place, before),
        _ if at == waker || !is_in_use(tgid, at, id) => {
            put_new(&receiver, (&[waker, 0], 0), 0, 0);
        }
        _ => {}
    }
    waits_after_the_answer(tgid, id);
    1
}

/// The place of a value's evidence.
#[inline(always)]
fn notes_of(place: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*place).evidence }
}

/// The place of a receiver's channel.
#[inline(always)]
fn channel_of(receiver: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*receiver).trace_id[0] }
}

/// The place of a receiver's connection.
#[inline(always)]
fn connection_of(receiver: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*receiver).trace_id[1] }
}

/// The place of when a receiver wrote last; of how much was sent to a channel.
#[inline(always)]
fn time_of(place: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*place).ktime_ns }
}

/// The place of how many requests a receiver wrote.
#[inline(always)]
fn written_by(place: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*place).span_id }
}

/// How many messages were sent to a channel and not written by its receiver: below 0 when one was written before it was seen to be sent.
#[inline(always)]
fn balance(channel: *mut UnitContext, receiver: *mut UnitContext) -> i64 {
    load(time_of(channel)).wrapping_sub(load(written_by(receiver))) as i64
}

/// The receiver found nothing in its channel, or a message that it writes at once. If it does so twice, what was sent before was given up or is not
/// written.
#[inline(always)]
fn idle(channel: *mut UnitContext, receiver: *mut UnitContext) {
    let notes = notes_of(channel);
    let found = load(notes);
    if balance(channel, receiver) <= 0 {
        return;
    }
    if found & note::IDLE != 0 {
        store(written_by(receiver), load(time_of(channel)));
        store(notes, found & !note::IDLE);
    } else {
        store(notes, found | note::IDLE);
    }
}

/// Whether something was sent to the channel at `waker` since the task `id` receives from it.
#[inline(always)]
fn is_in_use(tgid: u32, waker: u64, id: u64) -> bool {
    waker != 0
        && entry(&key(tgid, unit_kind::TASK_CHANNEL, waker)).is_some_and(|channel| {
            channel.evidence >> note::READER_SHIFT == id && channel.evidence & note::SENT != 0
        })
}

/// The task `id` waits. One that was made under a request that was answered since may do so once, which is two calls (when it begins and when it
/// is over): a loop that goes on then is no part of the request.
#[inline(always)]
fn waits_after_the_answer(tgid: u32, id: u64) {
    let unit = key(tgid, unit_kind::TASK, id);
    let Some(place) = UNITS.get_ptr_mut(unit) else {
        return;
    };
    let found = load(notes_of(place));
    if found & EVIDENCE != SPAWN || entry(&unit).is_some_and(|known| is_unanswered(tgid, known)) {
        return;
    }
    if found & note::WAITS == note::WAITS {
        let _ = UNITS.remove(unit);
        count(Counter::TaskHandedOver, 1);
    } else {
        store(notes_of(place), found + note::WAITED);
    }
}

/// The running task, or nobody that is known, sent to the channel with the waker at an address.
#[inline(never)]
pub(crate) fn send(task: Task, tgid: u32, known: &Runtime, waker: u64) -> u64 {
    let now = now();
    let sender = running(task, known).and_then(|id| working(&key(tgid, unit_kind::TASK, id), now));
    let span_id = sender.map_or(0, |sender| sender.span_id);
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    let Some(place) = UNITS.get_ptr_mut(channel) else {
        put_new(&channel, (&[0; 2], 0), 0, 0);
        return sent_to_unknown(tgid, span_id, now);
    };
    let found = load(notes_of(place));
    let receiver = found >> note::READER_SHIFT;
    if receiver == 0 {
        return sent_to_unknown(tgid, span_id, now);
    }
    if receiver == NO_TASK {
        store(notes_of(place), found | note::SENT);
        return 1;
    }
    end_others(&key(tgid, unit_kind::TASK, receiver), span_id);
    let receiver = UNITS.get_ptr_mut(key(tgid, unit_kind::TASK_RECEIVER, receiver));
    let Some(receiver) = receiver else { return 0 };
    if load(channel_of(receiver)) != waker {
        store(notes_of(receiver), note::SENT);
    }
    let before = balance(place, receiver);
    let is_late = before < 0 && now.wrapping_sub(load(time_of(receiver))) <= LATE_MAX_NS;
    let mut sent = load(time_of(place));
    if before <= 0 && !is_late {
        let of = sender.map_or(0, |sender| sender.evidence & EVIDENCE);
        let rest = found & !(EVIDENCE | note::IDLE);
        store(notes_of(place), rest | note::SENT | of);
        // SAFETY: fields of a map value.
        unsafe {
            if let Some(sender) = sender {
                copy(&mut (*place).trace_id, &sender.trace_id);
            }
            store(&raw mut (*place).span_id, span_id);
        }
        sent = load(written_by(receiver));
    }
    store(time_of(place), sent + 1);
    1
}

/// The task `unit` got something from a task that works for the request with the span id `from`, or for none.
#[inline(always)]
fn end_others(unit: &UnitKey, from: u64) {
    if entry(unit).is_some_and(|known| known.evidence & EVIDENCE == SPAWN && known.span_id != from)
    {
        let _ = UNITS.remove(unit);
        count(Counter::TaskHandedOver, 1);
    }
}

/// Something was sent, for the request with a span id or for none, and who receives it is not known.
#[inline(always)]
fn sent_to_unknown(tgid: u32, span_id: u64, now: u64) -> u64 {
    let unit = key(tgid, unit_kind::TASK_SENT, 0);
    let (of, others) = match entry(&unit) {
        Some(before) if before.trace_id[0] == span_id => (span_id, before.ktime_ns),
        Some(before) => (span_id, before.trace_id[1]),
        None => (span_id, 0),
    };
    put_new(&unit, (&[of, now], 0), others, 0)
}

/// Whether something of another request was sent to a receiver that is not known since the task was made that `known` is about.
#[inline(always)]
pub(super) fn was_sent_elsewhere(tgid: u32, known: &UnitContext) -> bool {
    entry(&key(tgid, unit_kind::TASK_SENT, 0)).is_some_and(|sent| {
        let when = if sent.trace_id[0] == known.span_id {
            sent.ktime_ns
        } else {
            sent.trace_id[1]
        };
        when > known.ktime_ns
    })
}

/// The task `id` has ended.
#[inline(always)]
pub(super) fn ended(tgid: u32, id: u64) {
    let receiver = key(tgid, unit_kind::TASK_RECEIVER, id);
    let Some(waker) = entry(&receiver).map(|known| known.trace_id[0]) else {
        return;
    };
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    if entry(&channel).is_some_and(|known| known.evidence >> note::READER_SHIFT == id) {
        let _ = UNITS.remove(channel);
    }
    let _ = UNITS.remove(receiver);
}

/// The running task begins to write a request on `conn`. `ids` is its own context, if it has one: becomes that of the request's task, or none. Returns whether
/// there is one.
#[inline(never)]
pub(crate) fn calls(
    task: Task,
    socket: &SocketKey,
    conn: &Conn,
    ids: &mut ExchangeIds,
    of: u8,
) -> u64 {
    let own = u64::from(ids.evidence);
    if own == OWN {
        return 1;
    }
    let tgid = task.tgid();
    let Some(known) = runtime_of(tgid) else {
        return 0;
    };
    let id = running(task, known).unwrap_or(0);
    let channel = entry(&key(tgid, unit_kind::TASK_RECEIVER, id)).map_or(0, |own| own.trace_id[0]);
    if is_its_own(task, known, conn) && !is_in_use(tgid, channel, id) {
        return u64::from(own == SPAWN);
    }
    ids.parent_span_id = 0;
    ids.evidence = evidence::NONE;
    if id == 0 || of != protocol::HTTP1 {
        return 0;
    }
    given(tgid, id, socket, ids)
}

/// The context of what was last sent to the task `id`, which writes a request.
#[inline(always)]
fn given(tgid: u32, id: u64, socket: &SocketKey, ids: &mut ExchangeIds) -> u64 {
    let Some(receiver) = UNITS.get_ptr_mut(key(tgid, unit_kind::TASK_RECEIVER, id)) else {
        return 0;
    };
    let waker = load(channel_of(receiver));
    let writes_to = load(connection_of(receiver));
    if writes_to != socket.ino {
        if writes_to != 0 {
            store(notes_of(receiver), note::SENT);
        }
        store(connection_of(receiver), socket.ino);
    }
    store(time_of(receiver), now());
    let Some(place) = UNITS.get_ptr_mut(key(tgid, unit_kind::TASK_CHANNEL, waker)) else {
        return 0;
    };
    let found = load(notes_of(place));
    if found >> note::READER_SHIFT != id {
        return 0;
    }
    let sent = balance(place, receiver);
    if sent > 1 {
        store(written_by(receiver), load(time_of(place)));
    } else {
        store(written_by(receiver), load(written_by(receiver)) + 1);
    }
    let is_only = sent == 1 && load(notes_of(receiver)) & note::SENT == 0;
    if !is_only {
        count(Counter::TaskUnsaid, 1);
        return 0;
    }
    // SAFETY: fields of a map value, here and below.
    let span_id = load(unsafe { &raw const (*place).span_id });
    if span_id == 0 {
        return 0;
    }
    // SAFETY: as above.
    copy(&mut ids.trace_id, unsafe { &(*place).trace_id });
    ids.parent_span_id = span_id;
    ids.evidence = found as u8;
    1
}

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
//! it. While the receiver is not known (it has not waited yet, has ended, or there was no room for it), any of the process' tasks may be it
//! ([`super::doubt`]).
//!
//! Entries ([`CHANNELS`]): of a channel {trace, span, messages, evidence | notes | receiver}; of a receiver {[its channel, its connection], requests written |
//! messages when it last found nothing << 32, when it wrote last, notes}. A channel's is written anew as a whole by who sends or receives, and read by
//! [`look`]; a receiver's by pointer by its own task, while which nobody deletes it.

use agent_common::{
    abi::{
        Conn, ExchangeIds, Runtime, SocketKey, UnitContext, UnitKey, Words, evidence, protocol,
        task_note as note, task_note::NO_TASK, unit_kind,
    },
    counters::Counter,
};

use super::{
    EVIDENCE, OWN, SPAWN, doubt::sent_to_unknown, entry, is_its_own, key, running, working,
};
use crate::{
    ids::{copy, now},
    maps::{CHANNELS, UNITS, count},
    unit::{
        many::{is_still, put_in, runtime_of},
        word::{load, replace, store},
    },
    walk::Task,
};

/// How late the `wake` of a message may be that was written already. It follows in the same function.
const LATE_MAX_NS: u64 = 1_000_000_000;
/// How often a channel is read that changes meanwhile.
const LOOKS_MAX: usize = 3;

/// Sets the entry of a channel or a receiver. Returns 0 if there was no room.
#[inline(always)]
fn put(unit: &UnitKey, of: (&Words, u64), time: u64, notes: u64) -> u64 {
    put_in(&CHANNELS, Counter::ChannelsFull, unit, of, time, notes)
}

/// A channel's entry.
#[derive(Clone, Copy)]
struct Channel {
    trace_id: Words,
    span_id: u64,
    messages: u64,
    notes: u64,
}

/// Reads a channel's entry, all of it at one time. None: there is none, or it changes now.
#[inline(always)]
fn look(channel: &UnitKey) -> Option<Channel> {
    let found = words(CHANNELS.get_ptr_mut(channel)?);
    // Each change is in other memory. (Places are not compared: LLVM then leaves out that the second is not null, which 6.1 does not accept.)
    let again = words(CHANNELS.get_ptr_mut(channel)?);
    let is_same = again.messages == found.messages
        && again.notes == found.notes
        && again.span_id == found.span_id
        && again.trace_id[0] == found.trace_id[0]
        && again.trace_id[1] == found.trace_id[1];
    is_same.then_some(found)
}

#[inline(always)]
fn words(place: *mut UnitContext) -> Channel {
    // SAFETY: fields of a map value.
    let (first, second, span) = unsafe {
        (
            &raw const (*place).trace_id[0],
            &raw const (*place).trace_id[1],
            &raw const (*place).span_id,
        )
    };
    Channel {
        trace_id: [load(first), load(second)],
        span_id: load(span),
        messages: load(time_of(place)),
        notes: load(notes_of(place)),
    }
}

/// The running task waits at the waker at an address: of a channel, or of a timer.
#[inline(never)]
pub(crate) fn wait(task: Task, tgid: u32, known: &Runtime, waker: u64) -> u64 {
    let id = running(task, known).unwrap_or(NO_TASK);
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    let place = CHANNELS
        .get_ptr_mut(channel)
        .filter(|place| load(notes_of(*place)) >> note::READER_SHIFT == id);
    let receiver = key(tgid, unit_kind::TASK_RECEIVER, id);
    if place.is_none() && put(&channel, (&[0; 2], 0), 0, id << note::READER_SHIFT) == 0 {
        if let Some(before) = CHANNELS.get_ptr_mut(receiver) {
            store(notes_of(before), note::SENT);
        }
        return 0;
    }
    if id == NO_TASK {
        return 0;
    }
    let before = CHANNELS.get_ptr_mut(receiver);
    let at = before.map_or(0, |before| load(channel_of(before)));
    match (place, before) {
        (Some(place), Some(before)) if at == waker => idle(load(time_of(place)), before),
        _ if at == waker || !is_in_use(tgid, at, id) => {
            put(&receiver, (&[waker, 0], 0), 0, 0);
        }
        _ => {}
    }
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

/// The place of how many requests a receiver wrote, and of when it was idle.
#[inline(always)]
fn written_at(place: *mut UnitContext) -> *mut u64 {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*place).span_id }
}

/// How many requests a receiver wrote.
#[inline(always)]
fn written_by(receiver: *mut UnitContext) -> u32 {
    load(written_at(receiver)) as u32
}

/// A receiver has written so many requests.
#[inline(always)]
fn set_written(receiver: *mut UnitContext, written: u32) {
    let place = written_at(receiver);
    store(place, load(place) >> 32 << 32 | u64::from(written));
}

/// How many messages were sent to a channel and not written by its receiver: below 0 when one was written before it was seen to be sent.
#[inline(always)]
fn balance(messages: u64, receiver: *mut UnitContext) -> i32 {
    (messages as u32).wrapping_sub(written_by(receiver)) as i32
}

/// The receiver found nothing in its channel, or a message that it writes at once. If it does so twice, what was sent before was given up or is not
/// written.
#[inline(always)]
fn idle(messages: u64, receiver: *mut UnitContext) {
    if balance(messages, receiver) <= 0 {
        return;
    }
    let place = written_at(receiver);
    let found = load(place);
    let (messages, idle_at) = (messages as u32, (found >> 32) as u32);
    let written = if idle_at == messages {
        messages
    } else {
        found as u32
    };
    store(place, u64::from(messages) << 32 | u64::from(written));
}

/// Whether something was sent to the channel at `waker` since the task `id` receives from it.
#[inline(always)]
fn is_in_use(tgid: u32, waker: u64, id: u64) -> bool {
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    waker != 0
        && CHANNELS.get_ptr_mut(channel).is_some_and(|place| {
            let notes = load(notes_of(place));
            notes >> note::READER_SHIFT == id && notes & note::SENT != 0
        })
}

/// The running task, or nobody that is known, sent to the channel with the waker at an address.
#[inline(never)]
pub(crate) fn send(task: Task, tgid: u32, known: &Runtime, waker: u64) -> u64 {
    let now = now();
    let sender = key(tgid, unit_kind::TASK, running(task, known).unwrap_or(0));
    let (mut trace_id, mut span_id, mut of) = ([0; 2], 0, 0);
    if let Some(known) = working(&sender, now) {
        copy(&mut trace_id, &known.trace_id);
        span_id = known.span_id;
        of = known.evidence & EVIDENCE;
        if !is_still(&sender, known) {
            span_id = 0;
        }
    }
    let channel = key(tgid, unit_kind::TASK_CHANNEL, waker);
    let Some(place) = CHANNELS.get_ptr_mut(channel) else {
        return sent_to_unknown(tgid, span_id);
    };
    let notes = load(notes_of(place));
    let reader = notes >> note::READER_SHIFT;
    if reader == NO_TASK {
        // No other entry has these words.
        replace(notes_of(place), notes, notes | note::SENT);
        return 1;
    }
    end_others(&key(tgid, unit_kind::TASK, reader), span_id);
    let Some(found) = look(&channel).filter(|found| found.notes >> note::READER_SHIFT == reader)
    else {
        return sent_to_unknown(tgid, span_id);
    };
    let receiver = CHANNELS.get_ptr_mut(key(tgid, unit_kind::TASK_RECEIVER, reader));
    let Some(receiver) = receiver else {
        return sent_to_unknown(tgid, span_id);
    };
    if load(channel_of(receiver)) != waker {
        // A channel whose entry this were by now would be one without a receiver: doubt.
        store(notes_of(receiver), note::SENT);
    }
    let before = balance(found.messages, receiver);
    let is_late = before < 0 && now.wrapping_sub(load(time_of(receiver))) <= LATE_MAX_NS;
    let notes = found.notes | note::SENT;
    if before <= 0 && !is_late {
        let messages = u64::from(written_by(receiver)) + 1;
        put(
            &channel,
            (&trace_id, span_id),
            messages,
            notes & !EVIDENCE | of,
        )
    } else {
        let of = (&found.trace_id, found.span_id);
        put(&channel, of, found.messages + 1, notes)
    }
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

/// The task `id` has ended.
#[inline(always)]
pub(super) fn ended(tgid: u32, id: u64) {
    let receiver = key(tgid, unit_kind::TASK_RECEIVER, id);
    let Some(place) = CHANNELS.get_ptr_mut(receiver) else {
        return;
    };
    let channel = key(tgid, unit_kind::TASK_CHANNEL, load(channel_of(place)));
    if CHANNELS
        .get_ptr_mut(channel)
        .is_some_and(|place| load(notes_of(place)) >> note::READER_SHIFT == id)
    {
        let _ = CHANNELS.remove(channel);
    }
    let _ = CHANNELS.remove(receiver);
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
    let channel = CHANNELS
        .get_ptr_mut(key(tgid, unit_kind::TASK_RECEIVER, id))
        .map_or(0, |own| load(channel_of(own)));
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
    let Some(receiver) = CHANNELS.get_ptr_mut(key(tgid, unit_kind::TASK_RECEIVER, id)) else {
        return 0;
    };
    let writes_to = load(connection_of(receiver));
    if writes_to != socket.ino {
        if writes_to != 0 {
            store(notes_of(receiver), note::SENT);
        }
        store(connection_of(receiver), socket.ino);
    }
    store(time_of(receiver), now());
    let channel = key(tgid, unit_kind::TASK_CHANNEL, load(channel_of(receiver)));
    let mut found = look(&channel);
    // BOUND: LOOKS_MAX.
    for _ in 1..LOOKS_MAX {
        if found.is_some() {
            break;
        }
        found = look(&channel);
    }
    let Some(found) = found else {
        // Which of its messages it wrote is not known any more.
        store(notes_of(receiver), note::SENT);
        count(Counter::TaskUnsaid, 1);
        return 0;
    };
    if found.notes >> note::READER_SHIFT != id {
        return 0;
    }
    let sent = balance(found.messages, receiver);
    if sent > 1 {
        set_written(receiver, found.messages as u32);
    } else {
        set_written(receiver, written_by(receiver).wrapping_add(1));
    }
    let is_only = sent == 1 && load(notes_of(receiver)) & note::SENT == 0;
    if !is_only {
        count(Counter::TaskUnsaid, 1);
        return 0;
    }
    if found.span_id == 0 {
        return 0;
    }
    copy(&mut ids.trace_id, &found.trace_id);
    ids.parent_span_id = found.span_id;
    ids.evidence = found.notes as u8;
    1
}

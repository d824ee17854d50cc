//! What a client's connection has said so far, and the events it makes of it.
//!
//! In: calls of `command` and `reply`, which know what was said. Out: events. Always holds: each list has at most `in_flight` entries, the
//! oldest leaves first. Refuses: an event for what a library sends to itself.

use std::collections::VecDeque;

use super::library;
use super::pending::{Expect, Pending};
use crate::queue::job::{self, Envelope};
use crate::queue::recent::Recent;
use crate::queue::{
    Delivered, Event, HASHED_BYTES, Key, Keyer, Message, NAME_MAX, Sent, Settle, System,
};
use crate::tracecontext::Traceparent;

/// Where events go.
pub(super) type Out<'a> = &'a mut dyn FnMut(Event);

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) keyer: Keyer,
    in_flight: usize,
    /// Answers that are awaited.
    pub(super) pending: Pending,
    /// Between `MULTI` and `EXEC`: commands so far, and what the answers to some of them will mean.
    pub(super) transaction: Option<(u64, Vec<(u64, Expect)>)>,
    /// The answers are known to belong to the commands: the connection was seen from its beginning, or it was proved since.
    pub(super) is_aligned: bool,
    /// It subscribed to channels, so that in RESP2 arrays may be pushes.
    pub(super) is_subscriber: bool,
    operations: u32,
    deliveries: u64,
    /// Deliveries that wait for their ack, by a key of the message.
    unsettled: Recent<u64>,
    /// Jobs that were taken out of a set of delayed ones: if they are put somewhere next, they are moved.
    moving: VecDeque<Key>,
    /// RQ: the job this connection said it works on.
    claimed: Option<Key>,
    /// RQ: the job this connection said it ended; it says so twice.
    done: Option<Key>,
    /// RQ: the job whose description was written last.
    named: Option<(Key, String)>,
    /// Operations whose answers will not be told apart; said with the next events.
    pub(super) unanswered: Vec<u32>,
    /// BullMQ: the queue of the scripts on this connection, if it is one.
    pub(super) bullmq: Option<Option<Box<[u8]>>>,
    /// Celery: the delivery tag that was looked up to be given back.
    pub(super) restoring: Option<Box<[u8]>>,
}

/// A message that was read from the wire, as far as it was kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload<'a> {
    pub(super) seen: &'a [u8],
    pub(super) len: u64,
}

/// A key's first bytes, as they are kept and hashed on both sides.
pub(super) fn short(key: &[u8]) -> &[u8] {
    key.get(..NAME_MAX).unwrap_or(key)
}

impl State {
    pub(super) fn new(keyer: Keyer, in_flight: usize, is_aligned: bool) -> Self {
        Self {
            keyer,
            in_flight: in_flight.max(1),
            pending: Pending::new(in_flight),
            transaction: None,
            is_aligned,
            is_subscriber: false,
            operations: 0,
            deliveries: 0,
            unsettled: Recent::new(in_flight),
            moving: VecDeque::new(),
            claimed: None,
            done: None,
            named: None,
            unanswered: Vec::new(),
            bullmq: None,
            restoring: None,
        }
    }

    pub(super) fn held(&self) -> usize {
        let transaction = self.transaction.as_ref().map_or(0, |(_, list)| {
            let each = list.iter().map(|(_, expect)| expect.held());
            list.capacity() * size_of::<(u64, Expect)>() + each.sum::<usize>()
        });
        self.pending.held()
            + transaction
            + self.unsettled.held()
            + self.moving.capacity() * size_of::<Key>()
            + self.unanswered.capacity() * size_of::<u32>()
            + self.named.as_ref().map_or(0, |(_, name)| name.len())
            + self
                .bullmq
                .iter()
                .flatten()
                .map(|name| name.len())
                .sum::<usize>()
            + self.restoring.as_ref().map_or(0, |tag| tag.len())
    }

    /// Which command an answer belongs to is not known any more.
    pub(super) fn lose_step(&mut self) {
        self.await_nothing();
        if let Some((_, list)) = self.transaction.take() {
            let operations = list.iter().filter_map(|(_, expect)| expect.operation());
            self.unanswered.extend(operations);
        }
        self.is_aligned = false;
    }

    /// What is awaited will not be told apart.
    pub(super) fn await_nothing(&mut self) {
        self.unanswered.extend(self.pending.operations());
        self.pending.clear();
    }

    /// Says which operations' answers will not be told apart.
    pub(super) fn tell(&mut self, out: Out<'_>) {
        for operation in self.unanswered.drain(..) {
            out(Event::Unanswered { operation });
        }
    }

    /// A command is complete, and its answer will mean this.
    pub(super) fn expect(&mut self, expect: Expect) {
        let Some((commands, list)) = &mut self.transaction else {
            self.pending.push(expect);
            return;
        };
        let at = *commands;
        *commands += 1;
        if expect != Expect::Nothing && list.len() < self.in_flight {
            list.push((at, expect));
        }
        // `+QUEUED`.
        self.pending.push(Expect::Nothing);
    }

    /// A number for an operation.
    pub(super) fn operation(&mut self) -> u32 {
        self.operations = self.operations.wrapping_add(1);
        self.operations
    }

    /// The client sends a message.
    pub(super) fn send(
        &mut self,
        (operation, name): (u32, &'static str),
        (key, payload): (&[u8], Payload<'_>),
        envelope: Option<Envelope>,
        is_later: bool,
        out: Out<'_>,
    ) {
        let key = short(key);
        let is_delayed = is_later || envelope.as_ref().is_some_and(|it| it.is_later);
        let destination = library::destination(key, envelope.as_ref());
        let message = job::message(&self.keyer, key, payload.seen, payload.len, envelope);
        let sent = Sent {
            operation,
            name,
            destination,
            is_delayed,
            // A list without a library's jobs may be anything: the last visitors, a log.
            is_candidate: message.job.is_none() && name.contains("push"),
            message,
            ..Sent::default()
        };
        self.sent(sent, out);
    }

    /// The same of a message whose keys are made already.
    pub(super) fn sent(&mut self, mut sent: Sent, out: Out<'_>) {
        let Some(job) = &mut sent.message.job else {
            out(Event::Sent(sent));
            return;
        };
        if job.system == System::Rq {
            if let Some((_, name)) = self.named.take_if(|(key, _)| *key == job.key) {
                job.name = name;
            }
            // RQ's payload is the id: hashing it adds nothing.
            sent.message.keys.truncate(1);
        }
        let at = self.moving.iter().position(|key| *key == job.key);
        match at.and_then(|at| self.moving.remove(at)) {
            Some(_) => out(Event::Moved(sent)),
            None => out(Event::Sent(sent)),
        }
    }

    /// The client was given a message. `settled_by`: it waits for an ack under this key.
    pub(super) fn deliver(
        &mut self,
        name: &'static str,
        (key, payload): (&[u8], Payload<'_>),
        settled_by: Option<Key>,
        out: Out<'_>,
    ) {
        let key = short(key);
        if library::is_internal(key) {
            return;
        }
        let envelope = library::envelope(key, payload);
        let redelivered = envelope.as_ref().is_some_and(|it| it.is_redelivered);
        let is_later = envelope.as_ref().is_some_and(|it| it.is_later);
        let destination = library::destination(key, envelope.as_ref());
        let message = job::message(&self.keyer, key, payload.seen, payload.len, envelope);
        let delivered = Delivered {
            delivery: 0,
            name,
            destination,
            redelivered,
            message,
            ..Delivered::default()
        };
        let later = delivered
            .message
            .job
            .as_ref()
            .map(|job| (job.system, job.key));
        self.delivered(key, delivered, settled_by, out);
        // huey's worker puts what is not due into a set.
        if let Some((System::Huey, job)) = later.filter(|_| is_later) {
            self.is_moving(job);
        }
    }

    /// The same of a message whose keys are made already.
    pub(super) fn delivered(
        &mut self,
        key: &[u8],
        mut delivered: Delivered,
        settled_by: Option<Key>,
        out: Out<'_>,
    ) {
        if let Some(job) = &delivered.message.job {
            if library::is_waiting_room(job.system, key) {
                self.is_moving(job.key);
                return;
            }
            if job.system == System::Rq {
                delivered.message.keys.truncate(1);
            }
        }
        if let Some(key) = settled_by {
            self.deliveries += 1;
            delivered.delivery = self.deliveries;
            self.unsettled.insert(key.hash, delivered.delivery);
        }
        out(Event::Delivered(delivered));
    }

    /// The client says what became of what waits under this key.
    pub(super) fn settle(&mut self, key: Key, how: Settle, out: Out<'_>) {
        match self.unsettled.take(key.hash) {
            Some(delivery) => out(Event::Settled { delivery, how }),
            None => out(Event::SettledKey { key, how }),
        }
    }

    /// Whether something waits under this key on this connection.
    pub(super) fn is_unsettled(&self, key: Key) -> bool {
        self.unsettled.contains(key.hash)
    }

    /// A job was taken out of where it waited.
    pub(super) fn is_moving(&mut self, job: Key) {
        self.is_moved(job);
        if self.moving.len() >= self.in_flight {
            self.moving.pop_front();
        }
        self.moving.push_back(job);
    }

    /// A job is where it waits no more: it will not be put elsewhere.
    pub(super) fn is_moved(&mut self, job: Key) {
        self.moving.retain(|key| *key != job);
    }

    pub(super) fn named(&mut self, job: Key, name: String) {
        self.named = Some((job, name));
    }

    /// The client works on this job.
    pub(super) fn claim(&mut self, job: Key, out: Out<'_>) {
        self.done = None;
        if self.claimed != Some(job) {
            self.claimed = Some(job);
            out(Event::Claimed(job));
        }
    }

    pub(super) fn has_claimed(&self, job: Key) -> bool {
        self.claimed == Some(job)
    }

    /// The job that was claimed here ended; that is said once, however often the client does.
    pub(super) fn claim_ends(&mut self, job: Key, failed: bool, out: Out<'_>) {
        self.claimed.take_if(|claimed| *claimed == job);
        if self.done != Some(job) {
            self.done = Some(job);
            out(Event::Done { job, failed });
        }
    }
}

/// A message of a stream: its fields are hashed as one text, and the first that is an envelope or a context counts.
pub(super) fn entry<'a>(
    keyer: &Keyer,
    key: &[u8],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8], u64)>,
) -> Message {
    let mut text = Vec::new();
    let (mut len, mut is_cut, mut envelope) = (0, false, None);
    let mut carried = Envelope::new(System::Celery, String::new());
    for (name, value, value_len) in fields {
        if name.eq_ignore_ascii_case(b"traceparent") {
            carried.traceparent.add(value);
        } else if name.eq_ignore_ascii_case(b"tracestate") {
            carried.tracestate = Some(job::name_of(value));
        } else if envelope.is_none() {
            envelope = job::of_payload(value);
        }
        len += name.len() as u64 + value_len + 2;
        if !is_cut && text.len() < HASHED_BYTES {
            for word in [name, b"\0", value] {
                text.extend_from_slice(word);
            }
            // What was not seen must not be hashed as if it had been.
            is_cut = (value.len() as u64) < value_len;
            if !is_cut {
                text.push(0);
            }
        }
    }
    let mut message = job::message(keyer, key, &text, len, envelope);
    let carried = carried.finished();
    if carried.traceparent != Traceparent::Absent {
        message.traceparent = carried.traceparent;
        message.tracestate = carried.tracestate;
    }
    message
}

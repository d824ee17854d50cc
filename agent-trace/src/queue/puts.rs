//! What a client puts: exchanges from the write to the broker's answer.
//!
//! In: puts, places, answers. Out: exchanges that are over; what may be a message and is not yet known to be one ([`super::candidates`]).
//! Always holds: a put is known by its keys from its write on, because its consumer can have it before the broker answers. Refuses: to
//! await more answers than a limit: such puts are over at once.

use agent_common::abi::{SegmentRecord, protocol};
use agent_protocol::queue::{Key, Placed, Sent};

use super::posts::Put;
use super::settles::{Hand, kin_of};
use super::{Lane, Moved, Parcel};
use crate::conn::moved_ktime;
use crate::counters::Counter;
use crate::exchange::{Exchange, Outcome};
use crate::graph::{Origin, Side};
use crate::ids::derived_span;
use crate::semconv;
use crate::shared::Shared;
use crate::span::{Evidence, TraceId};

/// Most puts of one connection whose answers are awaited.
const AWAITED_MAX: usize = 1_024;

/// A put whose answer is to come.
pub(super) struct Awaited {
    operation: u32,
    keys: Vec<Key>,
    /// When its write was over.
    written_ns: u64,
    exchange: Box<Exchange>,
}

/// Whether the unit that writes messages is the one that was asked to put them. Clients of Kafka, NATS and MQTT share one connection among all
/// requests and write from a buffer, what others left there included (nats.go 1.55: `Flush`; franz-go 1.22: a goroutine that the first of them
/// made; 14 and 34 of 128 and 100 messages were another's); amqp091-go 1.16 flushes whole messages of others before its own. What a thread writes
/// it was told itself: a client's own thread has no context. Redis and PostgreSQL are spoken to by one at a time, but for Node.
const fn is_its_writers(protocol: u8, evidence: Evidence, count: usize) -> bool {
    match (protocol, evidence) {
        (_, Evidence::Thread)
        | (
            protocol::REDIS | protocol::POSTGRES,
            Evidence::Goroutine | Evidence::Spawn | Evidence::Context,
        ) => true,
        (protocol::REDIS | protocol::POSTGRES, _)
        | (protocol::AMQP, Evidence::Goroutine | Evidence::Spawn) => count == 1,
        _ => false,
    }
}

/// The thread and the Context that put what a write says: no thread where the Context may be that of a client's own loop, which writes for all.
pub(super) fn hand_of(protocol: u8, record: &SegmentRecord) -> (u32, u64) {
    match (kin_of(record), protocol) {
        (0, _) => (record.tid, 0),
        (kin, protocol::REDIS | protocol::POSTGRES) => (record.tid, kin),
        (kin, _) => (0, kin),
    }
}

/// The same write, as nobody's where it may be another's.
pub(super) fn of_its_writer<'a>(
    protocol: u8,
    count: usize,
    moved: &Moved<'a>,
    shared: &mut Shared,
) -> Moved<'a> {
    let mut moved = *moved;
    if let Some(ids) = &mut moved.ids
        && let Origin::Kernel(_, evidence) = ids.origin
        && count > 0
        && !is_its_writers(protocol, evidence, count)
    {
        shared.counters.one(Counter::MessageByClient);
        ids.origin = Origin::None;
        ids.trace = TraceId::default();
    }
    moved
}

impl Lane {
    pub(super) fn sent(&mut self, sent: Sent, nth: u32, moved: &Moved<'_>, shared: &mut Shared) {
        let record = moved.record;
        let Some(mut ids) = moved.ids else { return };
        if nth > 0 {
            ids.span = derived_span(ids.span, nth);
            if matches!(ids.origin, Origin::None) {
                // Of other callers than the first: a producer's own thread sends what many gave it (Kafka).
                ids.trace = TraceId::default();
            }
        }
        let (operation, is_answered) = (sent.operation, !sent.is_unanswered);
        let keys = sent.message.keys.clone();
        // (A worker's thread that acks has contexts of its own, which are nobody's.)
        let is_nobodys =
            ids.origin == Origin::None || shared.graph.contexts().is_nobodys(ids.origin);
        let again = match sent.is_again {
            true => shared.attempt_of(&keys),
            false if is_nobodys => shared.attempt_retried(&sent.message, record.process),
            false => None,
        };
        if let Some(attempt) = again {
            ids.origin = Origin::Kernel(attempt, Evidence::Message);
            ids.trace = TraceId::default();
        }
        let given_up = shared.given_up_by(&sent.message, record.process);
        let is_fan_out = !matches!(sent.name, "lpush" | "rpush" | "lpushx" | "rpushx" | "zadd");
        let header = shared.header(sent.message.traceparent);
        let is_candidate = sent.is_candidate && !shared.work.candidates.is_queue(&sent.destination);
        let parcel = Parcel {
            is_candidate,
            ..Parcel::sent(self.protocol, sent)
        };
        let early = shared.work.posts.put(&Put {
            keys: &keys,
            span: ids.span,
            at_ns: moved_ktime(record),
            job: parcel.job.as_ref().map(|job| job.name.as_str()),
            is_fan_out,
        });
        let mut exchange = self.exchange(ids, Side::Client, parcel, moved, shared);
        if !is_candidate {
            shared.confirm(&mut exchange, header);
        }
        if given_up.is_some() {
            let at_ns = moved_ktime(record);
            shared.settles(given_up, Hand::of(record), (true, true), at_ns);
        }
        shared.put_again(&keys, moved_ktime(record));
        if let Some(consumer) = early {
            shared.graph.is_of_message(consumer, ids.span);
        }
        if !is_answered || self.awaited.len() >= AWAITED_MAX {
            let end = record.head.ktime_ns;
            if is_candidate {
                shared.may_be_message(exchange, end);
                return;
            }
            shared.complete(exchange, Outcome::Complete, end, end);
            return;
        }
        self.awaited.push_back(Awaited {
            operation,
            keys,
            written_ns: record.head.ktime_ns,
            exchange,
        });
    }

    pub(super) fn placed(&mut self, placed: &Placed, shared: &mut Shared) {
        let mut of_operation = self
            .awaited
            .iter_mut()
            .filter(|awaited| awaited.operation == placed.operation);
        let Some(awaited) = of_operation.nth(placed.nth as usize) else {
            return;
        };
        if let Some(parcel) = &mut awaited.exchange.message {
            parcel.offset = placed.offset.or(parcel.offset);
            if parcel.id.is_none() {
                parcel.id.clone_from(&placed.id);
            }
        }
        awaited.keys.extend_from_slice(&placed.keys);
        let span = awaited.exchange.ids.span;
        let early = shared.work.posts.put(&Put {
            keys: &placed.keys,
            span,
            at_ns: awaited.exchange.start_ktime_ns,
            job: None,
            is_fan_out: true,
        });
        if let Some(consumer) = early {
            shared.graph.is_of_message(consumer, span);
        }
    }

    pub(super) fn answered(
        &mut self,
        operation: u32,
        error: Option<String>,
        record: &SegmentRecord,
        shared: &mut Shared,
    ) {
        let end = record.head.ktime_ns;
        self.each_awaited(operation, |mut awaited| {
            let outcome = match &error {
                None => Outcome::Complete,
                Some(_) => Outcome::Failed(semconv::ERROR_BROKER),
            };
            if let Some(parcel) = &mut awaited.exchange.message {
                parcel.error.clone_from(&error);
            }
            if parcel_is_candidate(&awaited.exchange) {
                if error.is_none() {
                    shared.may_be_message(awaited.exchange, end);
                }
                return;
            }
            shared.complete(awaited.exchange, outcome, end, end);
        });
    }

    /// Takes what one operation put. Answers come in the order of the puts, mostly, and those of one operation lie side by side: of a long
    /// pipeline only the first ones are looked at.
    fn each_awaited(&mut self, operation: u32, mut each: impl FnMut(Awaited)) {
        let is_it = |awaited: &Awaited| awaited.operation == operation;
        let mut is_first = false;
        while let Some(awaited) = self.awaited.pop_front_if(|awaited| is_it(awaited)) {
            is_first = true;
            each(awaited);
        }
        while !is_first && let Some(at) = self.awaited.iter().position(is_it) {
            let Some(awaited) = self.awaited.remove(at) else {
                return;
            };
            each(awaited);
        }
    }

    /// What was answered to the operation will never be known: it ends with its own write.
    pub(super) fn unanswered(&mut self, operation: u32, shared: &mut Shared) {
        self.each_awaited(operation, |awaited| {
            let end = awaited.written_ns;
            if parcel_is_candidate(&awaited.exchange) {
                shared.may_be_message(awaited.exchange, end);
            } else {
                shared.complete(awaited.exchange, Outcome::Complete, end, end);
            }
        });
    }

    /// The connection is gone: what the broker did not answer is not known to have reached it.
    pub(crate) fn finish(&mut self, error: &'static str, at_ns: u64, shared: &mut Shared) {
        for awaited in self.awaited.drain(..) {
            if parcel_is_candidate(&awaited.exchange) {
                shared.may_be_message(awaited.exchange, at_ns);
                continue;
            }
            shared.complete(awaited.exchange, Outcome::Failed(error), at_ns, at_ns);
        }
    }

    /// The tracer stops.
    pub(crate) fn abandon(&mut self, at_ns: u64, shared: &mut Shared) -> u64 {
        let mut count = 0;
        for awaited in self.awaited.drain(..) {
            if parcel_is_candidate(&awaited.exchange) {
                shared.may_be_message(awaited.exchange, at_ns);
                continue;
            }
            count += 1;
            shared.complete(awaited.exchange, Outcome::Unfinished, at_ns, at_ns);
        }
        count
    }
}

/// Whether it is a message only if somebody takes it.
fn parcel_is_candidate(exchange: &Exchange) -> bool {
    exchange
        .message
        .as_deref()
        .is_some_and(|parcel| parcel.is_candidate)
}

//! One connection of a broker's client: what it says becomes exchanges.
//!
//! In: segments of the connection. Out: exchanges of messages that were put (over with the broker's answer), and what deliveries, fetches
//! and acks say about work ([`work`]). Always holds: a put has the ids and the parent of the write that completed it, a delivery those of
//! the read that did; bounded. Refuses: bytes that are not of the protocol: the connection is given up.

mod again;
mod batches;
mod candidates;
mod held;
mod logs;
mod over_http;
mod parcel;
mod pipes;
mod posts;
mod puts;
mod readers;
mod scope;
mod settles;
mod trust;
mod units;
mod waiting;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

use agent_common::abi::{SegmentRecord, SocketKey, direction, evidence, protocol, segment_flag};
use agent_protocol::queue::{
    Conversation, Delivered, Event, Keyer, Limits, Settle, Way, amqp, kafka, mqtt, nats, postgres,
    redis,
};
use agent_protocol::stream::Begin;
use rustc_hash::FxHashMap;

pub(crate) use self::parcel::Parcel;
pub(crate) use self::pipes::on_pipe;
pub(crate) use self::settles::kin_of;
pub(crate) use self::work::Work;

use self::puts::Awaited;
use self::readers::Reader;
use self::scope::Scope;
use self::settles::{Hand, is_settlement};
use self::units::UnitKey;
use self::work::Taker;
use crate::conn::{moved_ktime, pieces, place};
use crate::counters::Counter;
use crate::exchange::{Endpoints, Exchange, Ids, Outcome, Wire};
use crate::graph::{Origin, Side};
use crate::ids::{derived_span, first_span};
use crate::position::Position;
use crate::semconv;
use crate::shared::Shared;
use crate::span::{Evidence, SpanId, TraceId};

/// Writes to a database after which a connection is given up when no table of any is known to be a queue.
const WRITES_MAX: u32 = 512;
/// Most deliveries of one connection that can still be settled.
const UNSETTLED_MAX: usize = 4_096;

/// See the module.
pub(crate) struct Lane {
    socket: SocketKey,
    protocol: u8,
    /// Of a protocol that is read here.
    talk: Option<Box<dyn Conversation + Send>>,
    rx: Position,
    tx: Position,
    events: Vec<Event>,
    awaited: VecDeque<Awaited>,
    /// Delivery numbers to consumers.
    unsettled: FxHashMap<u64, SpanId>,
    /// The job the client named with its latest write: what it reads next is in that job's context.
    claimed: Option<SpanId>,
    group: Option<String>,
    /// The client asks for messages; else its broker pushes them.
    is_pulled: bool,
    /// Consumers that are over when the next message comes.
    until_next: Vec<SpanId>,
    /// Writes so far.
    writes: u32,
}

/// What one segment's events have in common.
#[derive(Clone, Copy)]
struct Moved<'a> {
    record: &'a SegmentRecord,
    /// The kernel's ids; for reads only where the unit has a context.
    ids: Option<Ids>,
    unit: Option<UnitKey>,
    endpoints: Option<&'a Arc<Endpoints>>,
    /// It says what became of one message, not of several.
    is_of_one: bool,
}

impl Lane {
    /// The connection whose first segment is this; `None` for a protocol that is not read.
    pub(crate) fn new(record: &SegmentRecord, begin: Begin, shared: &Shared) -> Option<Self> {
        let limits = Limits::default();
        let keyer = Keyer::new(shared.config.message_secret());
        let talk: Box<dyn Conversation + Send> = match record.protocol {
            protocol::REDIS => Box::new(redis::Client::new(begin, limits, keyer)),
            protocol::AMQP => Box::new(amqp::Client::new(begin, limits, keyer)),
            protocol::KAFKA => {
                let topics = shared.topics.clone();
                Box::new(kafka::Client::with_topics(begin, limits, keyer, topics))
            }
            protocol::NATS => Box::new(nats::Client::new(begin, limits, keyer)),
            protocol::POSTGRES => Box::new(postgres::Client::new(begin, limits, keyer)),
            protocol::MQTT => Box::new(mqtt::Client::new(begin, limits, keyer)),
            _ => return None,
        };
        Some(Self {
            talk: Some(talk),
            ..Self::without_talk(record.socket, record.protocol)
        })
    }

    fn without_talk(socket: SocketKey, protocol: u8) -> Self {
        Self {
            socket,
            protocol,
            talk: None,
            rx: Position::default(),
            tx: Position::default(),
            events: Vec::new(),
            awaited: VecDeque::new(),
            unsettled: FxHashMap::default(),
            claimed: None,
            group: None,
            is_pulled: false,
            until_next: Vec::new(),
            writes: 0,
        }
    }

    /// Nothing more can be read of it.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.is_hopeless())
    }

    /// It is a database's, and nothing said so far has to do with a queue.
    pub(crate) fn is_of_no_queue(&self, shared: &Shared) -> bool {
        self.protocol == protocol::POSTGRES
            && self.writes > WRITES_MAX
            && !shared.work.candidates.has_queues()
    }

    /// One segment.
    pub(crate) fn on_segment(
        &mut self,
        record: &SegmentRecord,
        payload: &[u8],
        endpoints: Option<&Arc<Endpoints>>,
        shared: &mut Shared,
    ) {
        if record.len == 0 {
            return;
        }
        let Some(talk) = &mut self.talk else { return };
        let (way, position) = if record.direction == direction::RX {
            (Way::ToClient, &mut self.rx)
        } else {
            (Way::ToBroker, &mut self.tx)
        };
        let (hole, skip) = place(position, record, shared);
        if hole.is_some() {
            // What became of a message may have been said there.
            shared.work.settles.waiting.give_up(record.process);
        }
        let scope = Scope::of(self.protocol, endpoints.map(Arc::as_ref));
        // A Context that works for nobody is named with what it reads, too, and has no context from it.
        let has_ids = record.flags & segment_flag::EXCHANGE != 0
            && (way == Way::ToBroker || record.exchange.evidence != evidence::KIN);
        let ids = Ids::of(&record.exchange).filter(|_| has_ids);
        if let (Way::ToClient, Some(ids)) = (way, &ids) {
            shared.graph.contexts().expect(ids.span);
        }
        let mut events = std::mem::take(&mut self.events);
        for piece in hole
            .into_iter()
            .chain(pieces(record, payload, skip).into_iter().flatten())
        {
            talk.push(way, piece, &mut |mut event| {
                scope.apply(&mut event);
                events.push(event);
            });
        }
        if way == Way::ToBroker {
            self.writes = self.writes.saturating_add(1);
        }
        let of_a_unit = has_ids.then_some(record.exchange.evidence);
        let moved = Moved {
            record,
            ids,
            unit: match of_a_unit {
                Some(evidence::THREAD) => Some(UnitKey::of_thread(record)),
                Some(evidence::GOROUTINE) => None,
                _ if way == Way::ToBroker => Some(UnitKey::of_thread(record)),
                _ => None,
            },
            endpoints,
            is_of_one: events.iter().filter(|event| is_settlement(event)).count() == 1,
        };
        match way {
            Way::ToBroker => self.wrote(&moved, &mut events, shared),
            Way::ToClient => self.was_read(&moved, &mut events, shared),
        }
        events.clear();
        self.events = events;
    }

    fn wrote(&mut self, moved: &Moved<'_>, events: &mut Vec<Event>, shared: &mut Shared) {
        let is_put = |event: &&Event| matches!(event, Event::Sent(_) | Event::Moved(_));
        let count = events.iter().filter(is_put).count();
        let moved = &puts::of_its_writer(self.protocol, count, moved, shared);
        let mut puts = 0;
        for event in events.drain(..) {
            match event {
                Event::Sent(sent) => {
                    shared.unit_writes(moved.unit);
                    self.sent(sent, puts, moved, shared);
                    puts += 1;
                }
                Event::Moved(sent) if shared.work.posts.knows(&sent.message.keys) => {}
                Event::Moved(sent) => {
                    self.sent(sent, puts, moved, shared);
                    puts += 1;
                }
                Event::Fetching => {
                    self.is_pulled = true;
                    let at_ns = moved_ktime(moved.record);
                    if self.protocol == protocol::POSTGRES {
                        shared.takes_from_table(moved.record.process, at_ns);
                    }
                    if self.protocol == protocol::KAFKA {
                        shared.fetches_ahead(moved.record.process, self.socket, at_ns);
                    } else {
                        shared.unit_fetches(moved.unit, (self.socket, self.protocol), at_ns);
                        match moved.ids.map(|ids| ids.origin) {
                            Some(Origin::Kernel(context, Evidence::Goroutine)) => {
                                shared.reader_fetches(context, at_ns);
                            }
                            Some(Origin::Kernel(context, Evidence::Thread)) => {
                                shared.work.batches.is_done(context, at_ns);
                            }
                            _ => {}
                        }
                    }
                }
                other => self.either(other, moved, shared),
            }
        }
    }

    fn was_read(&mut self, moved: &Moved<'_>, events: &mut Vec<Event>, shared: &mut Shared) {
        let batch = events
            .iter()
            .filter(|event| matches!(event, Event::Delivered(_)))
            .count();
        let context = moved.ids.map(|ids| ids.span);
        let before = SpanId(moved.record.exchange.parent_span_id.to_ne_bytes());
        // Who works for a message is known when its unit was given this one alone, and was done with what it had.
        let has_made = moved.record.exchange.evidence == evidence::SPAWN;
        let mut reader = match (context, moved.unit) {
            (Some(_), None) => Some(shared.reader(before, has_made)),
            _ => None,
        };
        let is_free = match (&reader, moved.unit) {
            (Some(reader), _) => reader.is_free(),
            (None, Some(unit)) if batch == 1 => shared.unit_takes(unit),
            _ => false,
        };
        let is_sure = batch == 1 && is_free;
        let is_own = reader.as_ref().is_none_or(Reader::is_done);
        if batch > 1 {
            shared.counters.one(Counter::MessagesTogether);
            shared.unit_mixes(moved.unit);
        }
        if batch > 0 {
            shared.next_came(&mut self.until_next, moved.record.head.ktime_ns);
        }
        let (mut nth, mut consumer) = (0, SpanId::default());
        let mut taken = Vec::new();
        for event in events.drain(..) {
            match event {
                Event::Delivered(delivered) => {
                    let ids = self.delivery_ids(moved, is_sure, nth);
                    if let Some(reader) = &mut reader {
                        reader.takes(ids.span);
                    }
                    consumer = self.delivered(delivered, ids, (is_sure, batch), moved, shared);
                    if !is_sure && moved.unit.is_some() {
                        taken.push(consumer);
                    }
                    nth += 1;
                }
                other => self.either(other, moved, shared),
            }
        }
        let Some(context) = context else { return };
        let now_ns = moved.record.head.ktime_ns;
        if !taken.is_empty() {
            shared.takes_batch(context, before, &taken, now_ns);
        } else if batch == 0
            && moved
                .unit
                .is_some_and(|unit| shared.work.held.has_any(unit))
        {
            shared.work.batches.read(context, before, now_ns);
        }
        if let Some(reader) = reader {
            shared.reader_is(context, reader, now_ns);
        }
        let contexts = shared.graph.contexts();
        if is_sure && !is_own && consumer != context {
            contexts.nobody(context);
        } else if is_sure && !is_own {
            contexts.give_to_made(context, now_ns);
        } else if is_sure {
            contexts.give(context, consumer);
        } else if batch > 0 {
            contexts.nobody(context);
        } else if let Some(consumer) = self.claimed.take() {
            contexts.give(context, consumer);
        } else {
            contexts.read(context, before, now_ns);
        }
    }

    /// What either side can complete.
    fn either(&mut self, event: Event, moved: &Moved<'_>, shared: &mut Shared) {
        let record = moved.record;
        let at_ns = moved_ktime(record);
        match event {
            Event::Answered { operation, error } => self.answered(operation, error, record, shared),
            Event::Unanswered { operation } => self.unanswered(operation, shared),
            Event::Placed(placed) => self.placed(&placed, shared),
            Event::Settled { delivery, how } => {
                let consumer = self.unsettled.remove(&delivery);
                let how_said = (moved.is_of_one, how == Settle::Ack);
                shared.settles(consumer, Hand::of(record), how_said, at_ns);
                if let Some(consumer) = consumer {
                    shared.settled(consumer, how, at_ns);
                }
            }
            Event::SettledKey { key, how } => {
                let consumer = shared.consumer_of(&key);
                let how_said = (moved.is_of_one, how == Settle::Ack);
                shared.settles(consumer, Hand::of(record), how_said, at_ns);
                shared.settled_key(key, how, at_ns);
            }
            Event::Claimed(job) => {
                if let Some(consumer) = shared.claimed(job, record.process, moved.unit, at_ns) {
                    self.claimed = Some(consumer);
                }
            }
            Event::Done { job, failed } => {
                let consumer = shared.consumer_of(&job);
                shared.settles(
                    consumer,
                    Hand::of(record),
                    (moved.is_of_one, !failed),
                    at_ns,
                );
                shared.done_with(job, failed, at_ns);
            }
            Event::Committed(committed) => shared.committed(record.process, &committed, at_ns),
            Event::Assigned(to) => shared.work.logs.assigned(record.process, &to, at_ns),
            Event::Group(group) => {
                shared.work.logs.has_group(record.process, &group, at_ns);
                self.group = Some(group);
            }
            Event::Unparsed(_) => shared.counters.one(Counter::MessageUnparsed),
            // Of the other direction: a conversation that was out of step.
            Event::Sent(_) | Event::Moved(_) | Event::Delivered(_) | Event::Fetching => {
                shared.counters.one(Counter::MessageUnparsed);
            }
        }
    }

    /// Ids of the `nth` delivery of a read: those of the context when that is its own.
    fn delivery_ids(&self, moved: &Moved<'_>, is_sure: bool, nth: u32) -> Ids {
        let record = moved.record;
        let first = moved.ids.unwrap_or_else(|| Ids {
            span: first_span(
                self.socket.sk,
                self.socket.ino,
                record.pos,
                record.head.ktime_ns,
            ),
            trace: TraceId::default(),
            origin: Origin::None,
        });
        Ids {
            span: if is_sure {
                first.span
            } else {
                derived_span(first.span, nth + 1)
            },
            trace: if is_sure {
                first.trace
            } else {
                TraceId::default()
            },
            origin: Origin::None,
        }
    }

    fn delivered(
        &mut self,
        mut delivered: Delivered,
        ids: Ids,
        (is_sure, batch): (bool, usize),
        moved: &Moved<'_>,
        shared: &mut Shared,
    ) -> SpanId {
        if delivered.message.group.is_none() {
            delivered.message.group = match &self.group {
                Some(group) => Some(group.clone()),
                None => self.group_elsewhere(&delivered, moved.record, shared),
            };
        }
        let header = shared.header(delivered.message.traceparent);
        let (number, keys) = (delivered.delivery, delivered.message.keys.clone());
        let parcel = Parcel::delivered(self.protocol, delivered, batch);
        let system = parcel.job.as_ref().map(|job| job.system);
        let exchange = self.exchange(ids, Side::Server, parcel, moved, shared);
        let taker = Taker {
            unit: moved.unit.filter(|_| is_sure),
            reader: moved.unit,
            read_by: UnitKey::of_thread(moved.record),
            socket: self.socket,
            is_numbered: number != 0,
        };
        let (consumer, is_open) = shared.takes_up(exchange, &keys, header, taker);
        if is_open && !self.is_pulled && work::ends_with_the_next(system, number) {
            self.until_next.push(ids.span);
        }
        if is_open && number != 0 {
            if self.unsettled.len() >= UNSETTLED_MAX {
                shared.counters.one(Counter::MessagesUnsettled);
                self.unsettled.clear();
            }
            self.unsettled.insert(number, ids.span);
        }
        consumer
    }

    fn exchange(
        &self,
        ids: Ids,
        side: Side,
        parcel: Parcel,
        moved: &Moved<'_>,
        shared: &mut Shared,
    ) -> Box<Exchange> {
        let record = moved.record;
        let (tid, kin) = puts::hand_of(self.protocol, record);
        let exchange = Exchange {
            endpoints: moved.endpoints.cloned(),
            wire: Wire::Broker,
            message: Some(Box::new(parcel)),
            tid,
            kin,
            ..Exchange::begun(
                ids,
                side,
                record.process,
                moved_ktime(record),
                shared.epoch_offset_ns,
            )
        };
        shared.place(exchange)
    }
}

/// What a settlement says about the work.
fn outcome_of(how: Settle) -> Outcome {
    match how {
        Settle::Ack => Outcome::Complete,
        Settle::Requeue => Outcome::Failed(semconv::ERROR_REQUEUED),
        Settle::Reject => Outcome::Failed(semconv::ERROR_REJECTED),
    }
}

//! What a thread that takes messages is at: whether the next one finds it done with those before.
//!
//! In: deliveries, acks, fetches and writes of threads. Out: whether a delivery alone is what its thread works for from now on. Always holds: a
//! thread that may still be at work on another message is trusted with none, until it asks for more or has settled all it took. Refuses:
//! nothing; bounded by the tracer's threads.
//!
//! ```text
//!   (none) --one message--> Working --settled--> Settled --one message--> Working
//!      ^                       |                    | writes something (it may have acked first and works now)
//!      |                       | another message    v
//!      |                       '----------------> Mixed <--several messages at once-- (any)
//!      '---- asks for a message, or has settled all ---'
//! ```

use agent_common::abi::{ProcessKey, SegmentRecord, SocketKey, protocol};
use agent_protocol::queue::{Committed, Settle};

use super::Parcel;
use super::work::{Open, system_of, works_in_turn};
use crate::exchange::Outcome;
use crate::shared::Shared;
use crate::span::SpanId;

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnitKey {
    pub(crate) process: ProcessKey,
    pub(crate) tid: u32,
}

impl UnitKey {
    /// The thread whose call it was.
    pub(crate) fn of_thread(record: &SegmentRecord) -> Self {
        Self {
            process: record.process,
            tid: record.tid,
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Working(SpanId),
    Settled(SpanId),
    Mixed,
}

/// The message of Kafka that a process has.
fn in_log(open: &Open, process: ProcessKey) -> Option<&Parcel> {
    let parcel = open.exchange.message.as_deref()?;
    (open.exchange.process == process && parcel.partition.is_some()).then_some(parcel)
}

impl Shared {
    /// The unit is about to be given one message. Returns whether it is free for it.
    pub(crate) fn unit_takes(&mut self, unit: UnitKey) -> bool {
        match self.work.units.get(&unit) {
            None | Some(At::Settled(_)) => true,
            Some(At::Working(_) | At::Mixed) => {
                self.unit_mixes(Some(unit));
                false
            }
        }
    }

    /// The unit has several messages: for which it works is not known.
    pub(crate) fn unit_mixes(&mut self, unit: Option<UnitKey>) {
        if let Some(unit) = unit {
            self.work.set_unit(unit, At::Mixed);
        }
    }

    /// The next message came on a connection whose messages are worked off one after the other, and nobody says when.
    pub(crate) fn next_came(&mut self, before: &mut Vec<SpanId>, at_ns: u64) {
        for consumer in before.drain(..) {
            self.end_work(consumer, Outcome::Complete, at_ns);
        }
    }

    /// The unit puts a message.
    pub(crate) fn unit_writes(&mut self, unit: Option<UnitKey>) {
        if let Some(unit) = unit
            && let Some(at) = self.work.units.get_mut(&unit)
            && matches!(at, At::Settled(_))
        {
            *at = At::Mixed;
        }
    }

    /// The unit asks for its next message, so it is done with those before; unless it will say of them what became of them, or they came from a
    /// broker of another kind (an AMQP consumer that pops a list of Redis while it works).
    pub(crate) fn unit_fetches(
        &mut self,
        unit: Option<UnitKey>,
        (socket, protocol): (SocketKey, u8),
        at_ns: u64,
    ) {
        let Some(unit) = unit else { return };
        let is_of_this = |open: &Open| {
            let parcel = open.exchange.message.as_deref();
            !open.is_numbered && parcel.is_some_and(|parcel| parcel.protocol == protocol)
        };
        match self.work.units.get(&unit).copied() {
            Some(At::Working(consumer) | At::Settled(consumer)) => {
                let open = self.work.open.get(&consumer);
                if open.is_none_or(is_of_this) {
                    let is_done = open.is_none_or(|open| works_in_turn(system_of(open)));
                    self.work.units.remove(&unit);
                    if is_done {
                        self.graph.contexts().end(consumer, at_ns);
                        self.end_work(consumer, Outcome::Complete, at_ns);
                    }
                }
            }
            Some(At::Mixed) if !self.work.held.has_numbered(unit) => {
                self.work.units.remove(&unit);
            }
            Some(At::Mixed) | None => {}
        }
        // Without a context of its own (an event loop): what came on this connection, and has no other end. Over HTTP all consumers of an event
        // loop read with one thread, and one's poll says nothing of another's.
        let is_a_thread = |open: &Open| protocol != protocol::SQS || open.reader == Some(unit);
        self.end_all(socket, at_ns, |open| {
            open.unit.is_none()
                && is_of_this(open)
                && is_a_thread(open)
                && open.exchange.process == unit.process
                && system_of(open).is_none_or(|system| works_in_turn(Some(system)))
        });
    }

    /// A client of Kafka asks for more, which it does ahead of the work on what it has (kafka-python 3.0 and librdkafka 2.16 from a thread of their
    /// own): only of a group that never commits is that taken for an end, and of no thread does it tell that it is free.
    pub(crate) fn fetches_ahead(&mut self, process: ProcessKey, socket: SocketKey, at_ns: u64) {
        if self.work.committers.has(&process) {
            return;
        }
        self.end_all(socket, at_ns, |open| open.exchange.process == process);
    }

    /// A group is done with a partition up to an offset. What a process was given and did not commit may lie in its client, unread.
    pub(crate) fn committed(&mut self, process: ProcessKey, committed: &Committed, at_ns: u64) {
        self.work.committers.put(process, (), at_ns);
        self.work.logs.committed(process, committed, at_ns);
        let is_done = |open: &Open| {
            in_log(open, process).is_some_and(|parcel| {
                parcel.partition == Some(committed.partition)
                    && (committed.destination.is_empty()
                        || parcel.destination == committed.destination)
                    && parcel
                        .offset
                        .is_some_and(|offset| offset < committed.offset)
            })
        };
        for consumer in self.work.open_where(is_done) {
            self.settled(consumer, Settle::Ack, at_ns);
        }
        if self
            .work
            .open
            .values()
            .all(|open| in_log(open, process).is_none())
        {
            let open = &self.work.open;
            self.work.units.retain(|unit, at| match at {
                _ if unit.process != process => true,
                At::Working(consumer) => open.contains_key(consumer),
                At::Settled(_) => true,
                At::Mixed => false,
            });
        }
    }

    fn end_all(&mut self, socket: SocketKey, at_ns: u64, which: impl Fn(&Open) -> bool) {
        for consumer in self.work.open_at(socket, which) {
            self.end_work(consumer, Outcome::Complete, at_ns);
        }
    }

    /// The unit said that it is done with what it was handed.
    pub(crate) fn unit_is_ready(&mut self, unit: UnitKey, at_ns: u64) {
        if let Some(At::Working(consumer)) = self.work.units.get(&unit).copied() {
            self.work.units.remove(&unit);
            self.graph.contexts().end(consumer, at_ns);
            self.end_work(consumer, Outcome::Complete, at_ns);
        }
    }
}

//! What all connections of a tracer share: configuration, counters, the exchange table and the queues out of them.
//!
//! In: exchanges that are over. Out: queues the tracer works off at ticks. Always holds: each queue is bounded, and
//! what finds it full is counted. Refuses: nothing.

use std::collections::VecDeque;

use agent_common::abi::{ProcessKey, SocketKey};
use agent_protocol::queue::kafka::Topics;
use agent_protocol::stream::Limits;
use agent_protocol::tracecontext::{TraceContext, Traceparent};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::attempts::Attempts;
use crate::config::TracerConfig;
use crate::counters::{Counter, Counters};
use crate::done::Done;
use crate::exchange::{Entry, Exchange, Outcome};
use crate::graph::{Facts, Graph, Origin, Side};
use crate::keys::Keys;
use crate::message::Part;
use crate::queue::Work;
use crate::request_ids::RequestIds;
use crate::span::{Evidence, TraceId};
use crate::ticks::Ticks;
use crate::tracer::Command;

/// Exchanges kept for new ones: at full load some thousand end with one tick, and as many begin before the next.
const SPARE_MAX: usize = 8_192;

/// How many exchanges before it is used a spare one is asked for.
const AHEAD: usize = 4;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: TracerConfig,
    pub(crate) parser_limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) graph: Graph,
    pub(crate) commands: VecDeque<Command>,
    /// Exchanges whose spans are out, empty but for their buffers.
    #[allow(clippy::vec_box, reason = "what is kept is the allocations")]
    pub(crate) spare: Vec<Box<Exchange>>,
    /// Exchanges that are over.
    pub(crate) done: Done,
    /// Attempts that failed.
    pub(crate) attempts: Attempts,
    /// Correlation keys.
    pub(crate) keys: Keys,
    /// Ids that programs hand on.
    pub(crate) request_ids: RequestIds,
    /// Messages on their way, and the work on them.
    pub(crate) work: Work,
    /// Commands that schedulers began.
    pub(crate) ticks: Ticks,
    /// Names of Kafka's topics: clients ask for them on one connection and fetch on another.
    pub(crate) topics: Topics,
    /// Servers with queues over HTTP, by address and port.
    pub(crate) servers: FxHashSet<([u8; 16], u16)>,
    /// Sockets with bytes waiting for their request's record, and until when.
    pub(crate) parked: VecDeque<(u64, SocketKey)>,
    /// Bytes waiting so, over all connections.
    pub(crate) parked_bytes: usize,
    /// Sockets with a response whose end cannot be seen, and when to look at it.
    pub(crate) idle: VecDeque<(u64, SocketKey)>,
    /// Sockets that were closed, and since when.
    pub(crate) closing: VecDeque<(u64, SocketKey)>,
    /// Processes that ended a moment ago.
    pub(crate) exited: FxHashMap<ProcessKey, u64>,
    /// CLOCK_MONOTONIC of the latest tick, ns.
    pub(crate) now_ns: u64,
    /// Of the latest tick.
    pub(crate) epoch_offset_ns: u64,
}

impl Shared {
    /// Makes room for an exchange, where one was before if possible.
    pub(crate) fn place(&mut self, exchange: Exchange) -> Box<Exchange> {
        match self.spare.pop() {
            Some(mut place) => {
                if let Some(later) = self
                    .spare
                    .len()
                    .checked_sub(AHEAD)
                    .and_then(|at| self.spare.get(at))
                {
                    later.fetch();
                }
                let texts = std::mem::take(&mut place.texts);
                *place = Exchange { texts, ..exchange };
                place
            }
            None => Box::new(exchange),
        }
    }

    /// The exchange's span is made, or will not be made.
    pub(crate) fn take_back(&mut self, mut exchange: Box<Exchange>) {
        if self.spare.len() < SPARE_MAX && !exchange.texts.is_large() {
            exchange.texts.clear();
            exchange.endpoints = None;
            exchange.message = None;
            exchange.call = None;
            exchange.ticked = None;
            self.spare.push(exchange);
        }
    }

    /// The context that a `traceparent` names; one that breaks the rules is counted.
    pub(crate) fn header(&mut self, header: Traceparent) -> Option<TraceContext> {
        match header {
            Traceparent::Valid(context) => Some(context),
            Traceparent::Invalid(_) => {
                self.counters.one(Counter::TraceparentInvalid);
                None
            }
            Traceparent::Absent => None,
        }
    }

    /// The exchange's request is known: it can be a parent from here on. `header` is a valid `traceparent` in it.
    pub(crate) fn confirm(&mut self, exchange: &mut Exchange, header: Option<TraceContext>) {
        exchange.ignored = exchange
            .texts
            .get(Part::Path)
            .is_some_and(|path| self.config.ignores(path));
        if self.graph.contexts().is_late(exchange.ids.origin) {
            self.counters.one(Counter::JobOver);
            exchange.ids.origin = Origin::None;
            exchange.ids.trace = TraceId::default();
        }
        self.compare_ids(exchange, header);
        if exchange.side == Side::Server && exchange.ticked.is_none() {
            self.serves(exchange.process, exchange.start_ktime_ns);
        }
        let tick = (exchange.side == Side::Client)
            .then(|| self.ticks.of(exchange.process, exchange.start_ktime_ns))
            .flatten();
        if tick.is_none() && matches!(exchange.ids.origin, Origin::Kernel(_, Evidence::Tick)) {
            // The process has begun to serve, and the kernel side was not told yet.
            exchange.ids.origin = Origin::None;
            exchange.ids.trace = TraceId::default();
        }
        let facts = Facts {
            side: exchange.side,
            process: exchange.process,
            kernel_trace: exchange.ids.trace,
            origin: exchange.ids.origin,
            header,
            ignored: exchange.ignored,
            overlaps: exchange.overlaps,
            is_of_a_queue: exchange.message.is_some(),
            tick,
        };
        if let Some(request) = &mut exchange.request {
            self.keys
                .carry(exchange.ids.span, &mut request.extra, self.now_ns);
        }
        exchange.entry = self
            .graph
            .insert(exchange.ids.span, facts, &mut self.counters)
            .map_or(Entry::Refused, Entry::Entered);
        let is_orphan = exchange.side == Side::Client
            && header.is_none()
            && tick.is_none()
            && self.graph.has_no_parent(exchange.ids.origin);
        if is_orphan {
            self.may_be_for_a_message(exchange);
        }
    }

    /// Its request's ids: whom a call without a parent is for.
    fn compare_ids(&mut self, exchange: &mut Exchange, header: Option<TraceContext>) {
        let Some(request) = &exchange.request else {
            return;
        };
        let (ids, process) = (&mut self.request_ids, exchange.process);
        match exchange.side {
            Side::Server => ids.serves(process, exchange.ids.span, &request.extra, self.now_ns),
            Side::Client if header.is_none() && self.graph.has_no_parent(exchange.ids.origin) => {
                if let Some(server) = ids.served(process, &request.extra) {
                    exchange.ids.origin = Origin::Kernel(server, Evidence::RequestId);
                }
            }
            Side::Client => {}
        }
    }

    /// The exchange is over at `end_ktime_ns`; it was found out by a record of `record_ktime_ns`.
    pub(crate) fn complete(
        &mut self,
        mut exchange: Box<Exchange>,
        outcome: Outcome,
        end_ktime_ns: u64,
        record_ktime_ns: u64,
    ) {
        if exchange.entry == Entry::Pending {
            // Its head was never read. A response makes it worth a span all the same.
            if exchange.response.is_none()
                && exchange.message.is_none()
                && exchange.ticked.is_none()
                && !matches!(outcome, Outcome::Connect(_))
            {
                self.counters.one(Counter::RequestUnparsed);
                return;
            }
            self.confirm(&mut exchange, None);
        }
        let Entry::Entered(slot) = exchange.entry else {
            return;
        };
        match outcome {
            Outcome::Unseen => self.counters.one(Counter::ResponseUnseen),
            Outcome::Open
            | Outcome::Complete
            | Outcome::Failed(_)
            | Outcome::Unfinished
            | Outcome::Connect(_) => {}
        }
        self.call_ends(&mut exchange, outcome);
        exchange.outcome = outcome;
        exchange.end_ktime_ns = end_ktime_ns.max(exchange.start_ktime_ns);
        if exchange.epoch_offset_ns == 0 {
            exchange.epoch_offset_ns = self.epoch_offset_ns;
        }
        self.graph.close(slot, record_ktime_ns);
        self.done.put(record_ktime_ns, exchange);
    }
}

//! What all connections of a tracer share: configuration, counters, the exchange table and the queues out of them.
//!
//! In: exchanges that are over. Out: queues the tracer works off at ticks. Always holds: each queue is bounded, and
//! what finds it full is counted. Refuses: nothing.

use std::collections::VecDeque;

use agent_common::abi::{ProcessKey, SocketKey};
use agent_protocol::stream::Limits;
use rustc_hash::FxHashMap;

use crate::config::TracerConfig;
use crate::counters::{Counter, Counters};
use crate::exchange::{Entry, Exchange, Outcome};
use crate::graph::{Facts, Graph};
use crate::tracer::Command;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: TracerConfig,
    pub(crate) parser_limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) graph: Graph,
    pub(crate) commands: VecDeque<Command>,
    /// Exchanges that are over, with the time from which on they wait for their parents' records.
    pub(crate) done: VecDeque<(u64, Box<Exchange>)>,
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
    /// The exchange's request is known: it can be a parent from here on.
    pub(crate) fn confirm(&mut self, exchange: &Exchange) -> Entry {
        let facts = Facts {
            side: exchange.side,
            process: exchange.process,
            kernel_trace: exchange.ids.trace,
            origin: exchange.ids.origin,
            header: exchange
                .request
                .as_ref()
                .and_then(|head| match head.traceparent {
                    agent_protocol::tracecontext::Traceparent::Valid(context) => Some(context),
                    _ => None,
                }),
            ignored: exchange
                .request
                .as_ref()
                .is_some_and(|head| self.config.ignores(head.target.path())),
            overlaps: exchange.overlaps,
        };
        if self
            .graph
            .insert(exchange.ids.span, facts, &mut self.counters)
        {
            Entry::Entered
        } else {
            Entry::Refused
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
            if exchange.response.is_none() && !matches!(outcome, Outcome::Connect(_)) {
                self.counters.one(Counter::RequestUnparsed);
                return;
            }
            exchange.entry = self.confirm(&exchange);
        }
        if exchange.entry == Entry::Refused {
            return;
        }
        match outcome {
            Outcome::Unseen => self.counters.one(Counter::ResponseUnseen),
            Outcome::Open
            | Outcome::Complete
            | Outcome::Failed(_)
            | Outcome::Unfinished
            | Outcome::Connect(_) => {}
        }
        exchange.outcome = outcome;
        exchange.end_ktime_ns = end_ktime_ns.max(exchange.start_ktime_ns);
        if exchange.epoch_offset_ns == 0 {
            exchange.epoch_offset_ns = self.epoch_offset_ns;
        }
        self.graph.close(exchange.ids.span, record_ktime_ns);
        self.done.push_back((record_ktime_ns, exchange));
    }
}

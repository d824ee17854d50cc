//! What was put into lists and tables that may be queues: a list of the last visitors is none, until somebody takes from it.
//!
//! In: puts that nobody knows to be messages; deliveries. Out: the puts that were messages, when they are known to be. Always holds: a list
//! or table from which a message was taken is a queue from then on; bounded, the oldest goes first. Refuses: spans for the rest.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::exchange::{Exchange, Outcome};
use crate::shared::Shared;
use crate::span::SpanId;

/// Most puts that may be messages.
const HELD_MAX: usize = 8_192;
/// Most lists and tables that are known to be queues.
const QUEUES_MAX: usize = 1_024;

/// See the module.
#[derive(Default)]
pub(crate) struct Candidates {
    held: FxHashMap<SpanId, Box<Exchange>>,
    held_by_age: VecDeque<SpanId>,
    /// The same that were taken before their puts were answered.
    wanted: FxHashSet<SpanId>,
    wanted_by_age: VecDeque<SpanId>,
    /// Lists and tables that are queues.
    queues: FxHashSet<String>,
}

impl Candidates {
    /// Whether somebody takes messages from there.
    pub(crate) fn is_queue(&self, destination: &str) -> bool {
        self.queues.contains(destination)
    }

    /// Whether anything of that kind is a queue.
    pub(crate) fn has_queues(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Keeps what was put and is a message if somebody takes it.
    fn hold(&mut self, exchange: Box<Exchange>) {
        let span = exchange.ids.span;
        if self.held.insert(span, exchange).is_none() {
            self.held_by_age.push_back(span);
        }
        if self.held_by_age.len() > HELD_MAX
            && let Some(oldest) = self.held_by_age.pop_front()
        {
            self.held.remove(&oldest);
        }
    }

    /// Somebody took what this exchange put, whose end is not known yet.
    fn want(&mut self, span: SpanId) {
        if self.wanted.insert(span) {
            self.wanted_by_age.push_back(span);
        }
        if self.wanted_by_age.len() > HELD_MAX
            && let Some(oldest) = self.wanted_by_age.pop_front()
        {
            self.wanted.remove(&oldest);
        }
    }
}

impl Shared {
    /// Somebody took what `producer` put: where that was no message before, it is one now, and its list or table a queue.
    pub(super) fn is_message(&mut self, producer: SpanId, consumer: &Exchange) {
        self.is_from_queue(consumer);
        match self.work.candidates.held.remove(&producer) {
            Some(put) => {
                self.work
                    .candidates
                    .held_by_age
                    .retain(|span| *span != producer);
                self.put_was_message(put, consumer.start_ktime_ns);
            }
            None if self.graph.knows(producer) => {}
            None => self.work.candidates.want(producer),
        }
    }

    /// Messages are taken from where this one came from.
    pub(super) fn is_from_queue(&mut self, consumer: &Exchange) {
        if let Some(parcel) = consumer.message.as_deref()
            && self.work.candidates.queues.len() < QUEUES_MAX
        {
            self.work
                .candidates
                .queues
                .insert(parcel.destination.clone());
        }
    }

    fn put_was_message(&mut self, mut put: Box<Exchange>, at_ns: u64) {
        self.confirm(&mut put, None);
        let end = put.end_ktime_ns;
        self.complete(put, Outcome::Complete, end, at_ns);
    }

    /// What may be a message was put, and that is over.
    pub(crate) fn may_be_message(&mut self, mut put: Box<Exchange>, at_ns: u64) {
        put.end_ktime_ns = at_ns;
        if self.work.candidates.wanted.remove(&put.ids.span) {
            self.put_was_message(put, at_ns);
        } else {
            self.work.candidates.hold(put);
        }
    }
}

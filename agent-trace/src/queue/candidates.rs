//! What was put into lists and tables that may be queues: a list of the last visitors is none, until somebody takes from it.
//!
//! In: puts that nobody knows to be messages; deliveries. Out: the puts that were messages, when they are known to be. Always holds: a list
//! or table from which a message was taken is a queue from then on; bounded, the oldest goes first. Refuses: spans for the rest.

use rustc_hash::FxHashSet;

use crate::aged::{Aged, FOR_EVER};
use crate::exchange::{Exchange, Outcome};
use crate::shared::Shared;
use crate::span::SpanId;

/// Most puts that may be messages.
const HELD_MAX: usize = 8_192;
/// Most lists and tables that are known to be queues.
const QUEUES_MAX: usize = 1_024;

/// See the module.
pub(crate) struct Candidates {
    held: Aged<SpanId, Box<Exchange>>,
    /// The same that were taken before their puts were answered.
    wanted: Aged<SpanId, ()>,
    /// Lists and tables that are queues.
    queues: FxHashSet<String>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            held: Aged::new(HELD_MAX, FOR_EVER),
            wanted: Aged::new(HELD_MAX, FOR_EVER),
            queues: FxHashSet::default(),
        }
    }
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
}

impl Shared {
    /// Somebody took what `producer` put: where that was no message before, it is one now, and its list or table a queue.
    pub(super) fn is_message(&mut self, producer: SpanId, consumer: &Exchange) {
        self.is_from_queue(consumer);
        let candidates = &mut self.work.candidates;
        if let Some(put) = candidates.held.take(&producer) {
            self.put_was_message(put, consumer.start_ktime_ns);
        } else if !self.graph.knows(producer) {
            // Its end is not known yet.
            candidates.wanted.put(producer, (), consumer.start_ktime_ns);
        }
    }

    /// Messages are taken from where this one came from.
    pub(super) fn is_from_queue(&mut self, consumer: &Exchange) {
        let queues = &mut self.work.candidates.queues;
        if let Some(parcel) = consumer.message.as_deref()
            && queues.len() < QUEUES_MAX
            && !queues.contains(&parcel.destination)
        {
            queues.insert(parcel.destination.clone());
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
        let candidates = &mut self.work.candidates;
        if candidates.wanted.take(&put.ids.span).is_some() {
            self.put_was_message(put, at_ns);
        } else {
            candidates.held.put(put.ids.span, put, at_ns);
        }
    }
}

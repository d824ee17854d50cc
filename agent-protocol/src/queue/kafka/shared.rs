//! What the two directions of a connection know of each other.
//!
//! In: requests as they are read. Out: the request an answer belongs to. Always holds: bounded by `Limits::in_flight`; the oldest is
//! forgotten first. Refuses: answers whose correlation id no request waits for.

use std::collections::{HashMap, VecDeque};

use super::topics::{Topic, Topics};
use crate::queue::{Keyer, Limits};

/// A partition of a produce request.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) operation: u32,
    /// Messages that were given, with their offsets after the batch's first.
    pub(super) deltas: Vec<i32>,
}

/// What a request asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Produce(Vec<Part>),
    Fetch,
    Metadata,
}

/// A request whose answer will be read.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) correlation: i32,
    pub(super) version: i16,
    pub(super) asked: Asked,
}

/// A partition, as fetches name it.
pub(super) type Place = (Vec<u8>, i32);

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keyer: Keyer,
    pub(super) limits: Limits,
    pub(super) topics: Topics,
    pub(super) pending: VecDeque<Pending>,
    /// Where the client fetches from, by the topic's name or id as it says it: brokers send whole batches, also what lies before.
    pub(super) positions: HashMap<Place, i64>,
    pub(super) group: String,
    /// A fetch means that the client is idle.
    pub(super) tells_fetches: bool,
    operations: u32,
    parts: usize,
}

impl Shared {
    pub(super) fn new(limits: Limits, keyer: Keyer, topics: Topics) -> Self {
        Self {
            keyer,
            limits,
            topics,
            pending: VecDeque::new(),
            positions: HashMap::new(),
            group: String::new(),
            tells_fetches: false,
            operations: 0,
            parts: 0,
        }
    }

    pub(super) fn operation(&mut self) -> u32 {
        self.operations = self.operations.wrapping_add(1);
        self.operations
    }

    pub(super) fn await_answer(&mut self, pending: Pending) {
        while self.pending.len() >= self.limits.in_flight {
            self.forget();
        }
        self.pending.push_back(pending);
    }

    /// Adds a partition to the last produce request, unless too many are held.
    pub(super) fn add_part(&mut self, part: Part) {
        while self.parts >= self.limits.in_flight && self.pending.len() > 1 {
            self.forget();
        }
        let can = self.parts < self.limits.in_flight;
        if let Some(Pending {
            asked: Asked::Produce(parts),
            ..
        }) = self.pending.back_mut()
            && can
        {
            parts.push(part);
            self.parts += 1;
        }
    }

    /// The last partition of the last produce request.
    pub(super) fn last_part(&mut self, operation: u32) -> Option<&mut Part> {
        match &mut self.pending.back_mut()?.asked {
            Asked::Produce(parts) => parts.last_mut().filter(|part| part.operation == operation),
            _ => None,
        }
    }

    fn forget(&mut self) {
        if let Some(Pending {
            asked: Asked::Produce(parts),
            ..
        }) = self.pending.pop_front()
        {
            self.parts -= parts.len();
        }
    }

    pub(super) fn is_awaited(&self, correlation: i32) -> bool {
        self.pending
            .iter()
            .any(|pending| pending.correlation == correlation)
    }

    /// The request that is answered. Brokers answer in order: what was asked before it never will be.
    pub(super) fn answered(&mut self, correlation: i32) -> Option<Pending> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.correlation == correlation)?;
        for _ in 0..index {
            self.forget();
        }
        let pending = self.pending.pop_front()?;
        if let Asked::Produce(parts) = &pending.asked {
            self.parts -= parts.len();
        }
        Some(pending)
    }

    /// The last request turned out to be one whose answer says nothing.
    pub(super) fn forget_last(&mut self, correlation: i32) {
        if self
            .pending
            .back()
            .is_some_and(|pending| pending.correlation == correlation)
        {
            self.pending.pop_back();
        }
    }

    pub(super) fn fetches(&mut self, word: Vec<u8>, partition: i32, offset: i64) {
        let place = (word, partition);
        if self.positions.len() < self.limits.in_flight || self.positions.contains_key(&place) {
            self.positions.insert(place, offset);
        }
    }

    pub(super) fn held(&self) -> usize {
        let deltas: usize = self
            .pending
            .iter()
            .map(|pending| match &pending.asked {
                Asked::Produce(parts) => parts.iter().map(|part| part.deltas.len()).sum(),
                _ => 0,
            })
            .sum();
        self.pending.len() + self.parts + deltas + self.positions.len()
    }
}

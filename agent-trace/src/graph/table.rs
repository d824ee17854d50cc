//! Exchanges that can be parents: open ones, and closed ones for a while.
//!
//! In: exchanges as they are confirmed and closed. Out: each by its [`Slot`], or by its span id. Always holds: at most
//! `limit` of them, the closed one that is oldest goes first; a slot belongs to one exchange until that one is forgotten,
//! and is given to another one then. Refuses: an exchange when all others are open.
//!
//! Nodes lie in the order of their slots, which are used again in the order they were closed: at full load one node after
//! the other is read and written, not one at a random place among megabytes. Only the index from ids to slots is hashed.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{Decision, Facts};
use crate::ahead;
use crate::span::SpanId;

/// How many insertions before it is used a free slot is asked for.
const AHEAD: usize = 4;

/// Where an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// An exchange in the table.
pub(super) struct Node {
    pub(super) id: SpanId,
    pub(super) facts: Facts,
    pub(super) decision: Option<Decision>,
    /// It is over and not to be forgotten yet.
    pub(super) is_kept: bool,
}

/// See the module.
pub(super) struct Table {
    limit: usize,
    nodes: Vec<Node>,
    /// By the id's bytes as a number.
    index: FxHashMap<u64, Slot>,
    /// Closed exchanges, oldest first, with the time of closing.
    closed: VecDeque<(u64, Slot)>,
    /// Slots of exchanges that were forgotten.
    free: Vec<Slot>,
}

/// What came of an insertion.
pub(super) enum Insertion {
    Done(Slot),
    /// The id is taken.
    Duplicate,
    /// All exchanges are open.
    Full,
}

const fn number(id: SpanId) -> u64 {
    u64::from_ne_bytes(id.0)
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            nodes: Vec::new(),
            index: FxHashMap::default(),
            closed: VecDeque::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, id: SpanId, facts: Facts) -> Insertion {
        if self.index.contains_key(&number(id)) {
            return Insertion::Duplicate;
        }
        if self.index.len() >= self.limit && !self.make_room() {
            return Insertion::Full;
        }
        let node = Node {
            id,
            facts,
            decision: None,
            is_kept: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let later = self.free.len().checked_sub(AHEAD);
                if let Some(place) = later
                    .and_then(|at| self.free.get(at))
                    .and_then(|later| self.nodes.get(later.0 as usize))
                {
                    ahead::fetch((&raw const *place).cast(), size_of::<Node>());
                }
                if let Some(place) = self.nodes.get_mut(slot.0 as usize) {
                    *place = node;
                }
                slot
            }
            None => {
                self.nodes.push(node);
                Slot(self.nodes.len() as u32 - 1)
            }
        };
        self.index.insert(number(id), slot);
        Insertion::Done(slot)
    }

    /// The exchange of this slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(slot.0 as usize)
    }

    /// The exchange of this slot.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        self.nodes.get_mut(slot.0 as usize)
    }

    /// The slot of the exchange with this id.
    pub(super) fn find(&self, id: SpanId) -> Option<Slot> {
        self.index.get(&number(id)).copied()
    }

    /// The exchange is over: from here on it can be forgotten. To be told once of each.
    pub(super) fn close(&mut self, slot: Slot, ktime_ns: u64) {
        self.closed.push_back((ktime_ns, slot));
    }

    /// Forgets exchanges closed before that time.
    pub(super) fn forget_before(&mut self, ktime_ns: u64) {
        // Each is looked at once: what is kept goes to the end.
        for _ in 0..self.closed.len() {
            if self.closed.front().is_none_or(|&(at, _)| at >= ktime_ns) {
                break;
            }
            self.forget_oldest();
        }
    }

    /// Forgets some exchanges at once: each is at a random place of the index, and a processor waits for many such places
    /// no longer than for one.
    fn make_room(&mut self) -> bool {
        let forgotten = self.forget_oldest();
        for _ in 0..self.limit / 1_024 {
            self.forget_oldest();
        }
        forgotten
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((at_ns, slot)) = self.closed.pop_front() else {
            return false;
        };
        if self.get(slot).is_some_and(|node| node.is_kept) {
            let latest_ns = self
                .closed
                .back()
                .map_or(at_ns, |(latest_ns, _)| *latest_ns);
            self.closed.push_back((latest_ns, slot));
            return !self.closed.is_empty();
        }
        if let Some(node) = self.nodes.get(slot.0 as usize) {
            self.index.remove(&number(node.id));
        }
        self.free.push(slot);
        true
    }
}

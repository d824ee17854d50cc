//! Attempts at the same thing: which one was the attempt before, and how many there were.
//!
//! In: attempts, in the order of their ends, each with its chain: who tries what. Out: the attempt before, when it had
//! failed and was over. Always holds: a success ends a chain; of attempts that ran beside each other none is said to
//! be the other's repetition; chains are bounded in number and age. Refuses: to say what belongs to one chain; that is in
//! [`Chain`], whose maker puts everything into it that makes two attempts the same.
//!
//! ```text
//!   (none) ──failed──▶ Failed(n = 0) ──failed, began after its end──▶ Failed(n + 1)
//!                        ├──success, began after its end──▶ (none)
//!                        └──anything that began before its end──▶ Beside: nothing is linked, until it is too old
//! ```

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::counters::{Counter, Counters};
use crate::span::{SpanId, TraceId};

/// Age of its last attempt at which a chain is forgotten, ns.
const KEEP_NS: u64 = 300_000_000_000;

/// Who tries what: a keyed hash of all that two attempts must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chain(pub(crate) u64);

/// One attempt that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) span: SpanId,
    pub(crate) trace: TraceId,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) failed: bool,
}

/// The attempt before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) span: SpanId,
    pub(crate) trace: TraceId,
    pub(crate) ended_ns: u64,
    /// Which repetition the new attempt is: 1 for the second attempt.
    pub(crate) count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    span: SpanId,
    trace: TraceId,
    ended_ns: u64,
    count: u32,
    beside: bool,
}

/// See the module.
pub(crate) struct Attempts {
    limit: usize,
    chains: FxHashMap<Chain, Last>,
    /// An entry for each attempt that was put into `chains`.
    by_age: VecDeque<(u64, Chain)>,
}

impl Attempts {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            chains: FxHashMap::default(),
            by_age: VecDeque::new(),
        }
    }

    /// No chain is open: an attempt that did not fail need not be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Takes an attempt, and says which one it repeats.
    pub(crate) fn note(
        &mut self,
        chain: Chain,
        attempt: Attempt,
        counters: &mut Counters,
    ) -> Option<Before> {
        let mut before = None;
        if let Some(last) = self.chains.get_mut(&chain) {
            if last.beside || attempt.began_ns < last.ended_ns {
                last.beside = true;
                last.ended_ns = last.ended_ns.max(attempt.ended_ns);
                counters.one(Counter::AttemptsBeside);
                return None;
            }
            before = Some(Before {
                span: last.span,
                trace: last.trace,
                ended_ns: last.ended_ns,
                count: last.count.saturating_add(1),
            });
        }
        if attempt.failed {
            let last = Last {
                span: attempt.span,
                trace: attempt.trace,
                ended_ns: attempt.ended_ns,
                count: before.map_or(0, |before| before.count),
                beside: false,
            };
            self.keep(chain, last, counters);
        } else if before.is_some() {
            self.chains.remove(&chain);
        }
        before
    }

    fn keep(&mut self, chain: Chain, last: Last, counters: &mut Counters) {
        self.chains.insert(chain, last);
        self.by_age.push_back((last.ended_ns, chain));
        while self.by_age.len() > self.limit {
            if self.forget_oldest() {
                counters.one(Counter::AttemptsFull);
            }
        }
    }

    /// Forgets chains that are too old. Meant to be called every few seconds.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        while self
            .by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(KEEP_NS) < now_ns)
        {
            self.forget_oldest();
        }
    }

    /// Whether a chain went with the oldest entry: it did not if it has gone on since, or is over.
    fn forget_oldest(&mut self) -> bool {
        let Some((at, chain)) = self.by_age.pop_front() else {
            return false;
        };
        let is_last = self
            .chains
            .get(&chain)
            .is_some_and(|last| last.ended_ns == at || last.beside);
        if is_last {
            self.chains.remove(&chain);
        }
        is_last
    }
}

#[cfg(test)]
mod tests;

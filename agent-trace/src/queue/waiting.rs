//! Calls that wait for their unit's word, and all spans below them.
//!
//! In: calls of processes that have messages; exchanges that are over. Out: the calls of a unit that settles; exchanges whose wait is over. Always
//! holds: nothing waits longer than [`WAIT_MAX_NS`], nor when its process has no such message left; what waits can be named as a parent; bounded.
//! Refuses: more calls or exchanges than a limit: these are roots at once.

use std::collections::VecDeque;

use agent_common::abi::ProcessKey;
use rustc_hash::{FxHashMap, FxHashSet};

use super::settles::{By, Hand};
use crate::exchange::Exchange;
use crate::graph::Slot;
use crate::span::SpanId;

/// Most calls that wait.
const CALLS_MAX: usize = 8_192;
/// Most exchanges that are over and wait.
const HELD_MAX: usize = 8_192;
/// How long a call waits from its begin, ns: work that lasts longer than this after a call leaves it a root.
const WAIT_MAX_NS: u64 = 60_000_000_000;

/// A call without a parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) span: SpanId,
    pub(super) slot: Slot,
    pub(super) hand: Hand,
    pub(super) began_ns: u64,
    /// Whose it is, if its process proves to call for nothing else.
    pub(super) consumer: Option<SpanId>,
}

/// An exchange that is over, its place in the exchange table and the time of the record that ended it.
pub(super) type Over = (Slot, u64, Box<Exchange>);

/// Messages of a process whose worker will tell.
#[derive(Clone, Copy, Default)]
struct Count {
    by_thread: u32,
    by_context: u32,
}

impl Count {
    fn of(&mut self, by: By) -> &mut u32 {
        match by {
            By::Thread => &mut self.by_thread,
            By::Context => &mut self.by_context,
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    at_work: FxHashMap<ProcessKey, Count>,
    calls: FxHashMap<ProcessKey, Vec<Call>>,
    spans: FxHashSet<SpanId>,
    /// In the order in which they began to wait.
    by_age: VecDeque<(u64, ProcessKey, SpanId)>,
    held: FxHashMap<SpanId, Vec<Over>>,
    held_count: usize,
    free: VecDeque<Over>,
}

impl Waiting {
    /// A process has one more message.
    pub(super) fn takes_up(&mut self, process: ProcessKey, by: By) {
        *self.at_work.entry(process).or_default().of(by) += 1;
    }

    /// One of these is over.
    pub(super) fn is_over(&mut self, process: ProcessKey, by: By) {
        let Some(count) = self.at_work.get_mut(&process) else {
            return;
        };
        let left = count.of(by);
        *left = left.saturating_sub(1);
        if count.by_thread == 0 && count.by_context == 0 {
            self.at_work.remove(&process);
            self.take(process, |call| call.consumer.is_none());
        }
    }

    /// Whether the process has messages whose worker will tell so.
    pub(super) fn has_messages(&mut self, process: ProcessKey, by: By) -> bool {
        let count = self.at_work.get_mut(&process);
        count.is_some_and(|count| *count.of(by) > 0)
    }

    /// A call begins. Returns whether there was room for it, if it has to wait.
    pub(super) fn begin(&mut self, by: By, call: Call) -> bool {
        let process = call.hand.thread.process;
        if !self.has_messages(process, by) {
            return true;
        }
        if self.spans.len() >= CALLS_MAX {
            return false;
        }
        self.spans.insert(call.span);
        self.calls.entry(process).or_default().push(call);
        if self.by_age.len() >= 2 * CALLS_MAX {
            // One that waits long must not keep the places of all that did not.
            let spans = &self.spans;
            self.by_age.retain(|(_, _, span)| spans.contains(span));
        }
        self.by_age.push_back((call.began_ns, process, call.span));
        true
    }

    /// Takes the calls of a process of which this holds: they do not wait any more.
    pub(super) fn take(&mut self, process: ProcessKey, is_it: impl Fn(&Call) -> bool) -> Vec<Call> {
        let Some(calls) = self.calls.get_mut(&process) else {
            return Vec::new();
        };
        let taken: Vec<Call> = calls.extract_if(.., |call| is_it(call)).collect();
        if calls.is_empty() {
            self.calls.remove(&process);
        }
        for call in &taken {
            self.is_free(call.span);
        }
        taken
    }

    /// The calls of the process.
    pub(super) fn of_process(&mut self, process: ProcessKey) -> &mut [Call] {
        self.calls
            .get_mut(&process)
            .map_or(&mut [], Vec::as_mut_slice)
    }

    /// No call of the process waits any more.
    pub(super) fn give_up(&mut self, process: ProcessKey) {
        for call in self.calls.remove(&process).unwrap_or_default() {
            self.is_free(call.span);
        }
    }

    /// Those that have waited for too long do not wait any more; returns how many these were.
    pub(super) fn give_up_old(&mut self, now_ns: u64, all: bool) -> u64 {
        let mut late = 0;
        while let Some(&(began_ns, process, span)) = self.by_age.front() {
            let waits = self.spans.contains(&span);
            if waits && !all && began_ns.saturating_add(WAIT_MAX_NS) > now_ns {
                break;
            }
            self.by_age.pop_front();
            if !waits {
                continue;
            }
            late += u64::from(!all);
            if let Some(calls) = self.calls.get_mut(&process) {
                calls.retain(|call| call.span != span);
                if calls.is_empty() {
                    self.calls.remove(&process);
                }
            }
            self.is_free(span);
        }
        late
    }

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether this call waits.
    pub(super) fn has(&self, span: SpanId) -> bool {
        self.spans.contains(&span)
    }

    /// What is over waits with the call above it; given back where there is no room.
    pub(super) fn hold(&mut self, call: SpanId, over: Over) -> Option<Box<Exchange>> {
        if self.held_count >= HELD_MAX {
            return Some(over.2);
        }
        self.held_count += 1;
        self.held.entry(call).or_default().push(over);
        None
    }

    /// The next one whose wait is over.
    pub(super) fn next_free(&mut self) -> Option<Over> {
        self.free.pop_front()
    }

    fn is_free(&mut self, call: SpanId) {
        self.spans.remove(&call);
        let held = self.held.remove(&call).unwrap_or_default();
        self.held_count = self.held_count.saturating_sub(held.len());
        self.free.extend(held);
    }
}

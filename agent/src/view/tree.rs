//! Collects finished spans by trace and draws each trace once it is quiet.
//!
//! In: spans in any order, ticks of CLOCK_MONOTONIC. Out: text to take away. Always holds: every span is drawn once;
//! spans of a trace that was already drawn come as a "late" part under the same trace id; held traces and spans stay
//! within their limits, beyond them the oldest trace is drawn early. Refuses: nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use agent_trace::frame::ProcessFacts;
use agent_trace::span::{Span, TraceId};

use super::waterfall::{Extent, Row, draw, is_parent_open};

/// A trace with its root is complete when this long nothing came, ns.
const QUIET_WITH_ROOT_NS: u64 = 500_000_000;
/// The same without a root, or while the parent of one of its spans is still at work (a job).
const QUIET_WITHOUT_ROOT_NS: u64 = 5_000_000_000;
/// Drawn traces that are remembered, to know late spans.
const DRAWN_MAX: usize = 10_000;

/// Bounds of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Traces held at once.
    pub traces: usize,
    /// Spans held at once.
    pub spans: usize,
}

/// One trace while it is collected.
///
/// ```text
///            push                 quiet, or a limit
///  (absent) ------> collecting ------------------> drawn --(push)--> collecting (late)
///                     ^    | push                    |
///                     +----+                         +--(10,000 traces later)--> (absent)
/// ```
struct Trace {
    id: TraceId,
    rows: Vec<Row>,
    /// Tick at which the latest span came.
    touched_ns: u64,
    has_root: bool,
    /// The extent drawn before, when these are late spans.
    earlier: Option<Extent>,
}

/// The view.
pub struct TreeView {
    limits: TreeLimits,
    color: bool,
    now_ns: u64,
    /// Traces by age; the key only grows.
    traces: BTreeMap<u64, Trace>,
    keys: HashMap<TraceId, u64>,
    next_key: u64,
    spans: usize,
    drawn: HashMap<TraceId, Extent>,
    drawn_order: VecDeque<TraceId>,
    out: String,
}

impl TreeView {
    /// An empty view; `color` for terminals.
    #[must_use]
    pub fn new(limits: TreeLimits, color: bool) -> Self {
        Self {
            limits,
            color,
            now_ns: 0,
            traces: BTreeMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            spans: 0,
            drawn: HashMap::new(),
            drawn_order: VecDeque::new(),
            out: String::new(),
        }
    }

    /// Takes a span.
    pub fn push(&mut self, span: &Span, facts: &Arc<ProcessFacts>) {
        let id = span.trace_id;
        let key = match self.keys.get(&id) {
            Some(key) => *key,
            None => self.open(id),
        };
        let row = Row::new(span, facts);
        if let Some(trace) = self.traces.get_mut(&key) {
            trace.has_root |= row.is_root();
            trace.touched_ns = self.now_ns;
            trace.rows.push(row);
            self.spans += 1;
        }
        while self.traces.len() > self.limits.traces || self.spans > self.limits.spans {
            let Some(oldest) = self.traces.keys().next().copied() else {
                break;
            };
            self.draw(oldest);
        }
    }

    /// Time passes: draws the traces that have become quiet, in the order they began.
    pub fn tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        let quiet: Vec<u64> = self
            .traces
            .iter()
            .filter(|(_, trace)| {
                let quiet_ns = self.now_ns - trace.touched_ns;
                let may_be_whole =
                    || trace.earlier.is_some() || trace.has_root && !is_parent_open(&trace.rows);
                quiet_ns >= QUIET_WITHOUT_ROOT_NS
                    || quiet_ns >= QUIET_WITH_ROOT_NS && may_be_whole()
            })
            .map(|(key, _)| *key)
            .collect();
        for key in quiet {
            self.draw(key);
        }
    }

    /// Draws everything that is left.
    pub fn finish(&mut self) {
        while let Some(key) = self.traces.keys().next().copied() {
            self.draw(key);
        }
    }

    /// The text since the last call. The caller writes it soon: it is the only part without a bound of its own.
    pub fn take_output(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn open(&mut self, id: TraceId) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.keys.insert(id, key);
        let trace = Trace {
            id,
            rows: Vec::new(),
            touched_ns: self.now_ns,
            has_root: false,
            earlier: self.drawn.get(&id).copied(),
        };
        self.traces.insert(key, trace);
        key
    }

    fn draw(&mut self, key: u64) {
        let Some(trace) = self.traces.remove(&key) else {
            return;
        };
        self.keys.remove(&trace.id);
        self.spans = self.spans.saturating_sub(trace.rows.len());
        if trace.earlier.is_none() {
            self.drawn.insert(trace.id, Extent::of(&trace.rows));
            self.drawn_order.push_back(trace.id);
            if self.drawn_order.len() > DRAWN_MAX
                && let Some(forgotten) = self.drawn_order.pop_front()
            {
                self.drawn.remove(&forgotten);
            }
        }
        draw(
            &mut self.out,
            trace.id,
            trace.rows,
            trace.earlier,
            self.color,
        );
    }
}

#[cfg(test)]
mod tests;

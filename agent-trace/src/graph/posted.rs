//! Traces of exchanges that others may name long after the table forgot them: producers, whose messages wait, and attempts of a job.
//!
//! In: decisions. Out: trace and sampling by span id. Always holds: at most [`POSTED_MAX`], for at most [`KEEP_NS`]; the oldest goes first.
//! Refuses: nothing.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::span::{SpanId, TraceId};

/// Most of them (about 5 MiB).
const POSTED_MAX: usize = 65_536;
/// How long, ns: a job that waits for longer than a day is a root.
const KEEP_NS: u64 = 86_400_000_000_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Posted {
    known: FxHashMap<SpanId, (TraceId, bool)>,
    by_age: VecDeque<(u64, SpanId)>,
}

impl Posted {
    /// The exchange is part of this trace, and sampled or not.
    pub(crate) fn put(&mut self, span: SpanId, trace: TraceId, sampled: bool, now_ns: u64) {
        if self.known.insert(span, (trace, sampled)).is_none() {
            self.by_age.push_back((now_ns, span));
        }
        if self.by_age.len() > POSTED_MAX {
            self.forget_oldest();
        }
    }

    /// Trace, and whether it is sampled.
    pub(crate) fn get(&self, span: SpanId) -> Option<(TraceId, bool)> {
        self.known.get(&span).copied()
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        while self
            .by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(KEEP_NS) < now_ns)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, span)) = self.by_age.pop_front() {
            self.known.remove(&span);
        }
    }
}

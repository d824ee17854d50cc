//! Threads that took several messages at once: for which of them they work is not known, but that it is one of these.
//!
//! In: reads that brought several messages, or one more while the thread may be at work on another; what the thread reads after them. Out: the
//! messages that a call without a parent may be for. Always holds: the one that it is for is among those that are named (one that was acked may
//! be at work still); bounded. Refuses: other units than threads, which give each other work; more than [`NAMED_MAX`], which says nothing.

use std::sync::Arc;

use agent_common::limits::CONTEXT_AGE_MAX_NS;

use crate::aged::Aged;
use crate::graph::Origin;
use crate::shared::Shared;
use crate::span::{Evidence, SpanId};

/// Most messages that a call is linked to.
const NAMED_MAX: usize = 16;
/// Most contexts of threads with batches.
const BATCHES_MAX: usize = 16_384;
/// Messages that a thread took.
#[derive(Clone)]
struct Batch {
    /// None: too many.
    messages: Arc<[SpanId]>,
    /// When the thread asked for more, which it does when it is done with these.
    done_ns: Option<u64>,
}

/// See the module. By the context that the kernel side made when the thread read; kept as long as the kernel side keeps one.
pub(crate) struct Batches(Aged<SpanId, Batch>);

impl Default for Batches {
    fn default() -> Self {
        Self(Aged::new(BATCHES_MAX, CONTEXT_AGE_MAX_NS))
    }
}

impl Batches {
    /// What a thread with this context may be at work on.
    fn open(&self, context: SpanId) -> Option<&Batch> {
        self.0.get(&context).filter(|batch| batch.done_ns.is_none())
    }

    /// The thread read something that is no message; before that its context was `before`.
    pub(super) fn read(&mut self, context: SpanId, before: SpanId, now_ns: u64) {
        if let Some(batch) = self.open(before).cloned() {
            self.0.put(context, batch, now_ns);
        }
    }

    /// The thread asks for more: what it had is done.
    pub(super) fn is_done(&mut self, context: SpanId, at_ns: u64) {
        if let Some(batch) = self.0.get_mut(&context) {
            batch.done_ns.get_or_insert(at_ns);
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.0.sweep(now_ns);
    }
}

impl Shared {
    /// The thread that has `context` now, and had `before`, took these messages.
    pub(super) fn takes_batch(
        &mut self,
        context: SpanId,
        before: SpanId,
        taken: &[SpanId],
        now_ns: u64,
    ) {
        let batches = &mut self.work.batches;
        let mut messages = match batches.open(before) {
            Some(batch) if batch.messages.is_empty() => {
                return batches.read(context, before, now_ns);
            }
            Some(batch) => batch.messages.to_vec(),
            None => Vec::from_iter(self.graph.contexts().at_work(before)),
        };
        messages.extend_from_slice(taken);
        if messages.len() > NAMED_MAX {
            messages.clear();
        }
        let batch = Batch {
            messages: messages.into(),
            done_ns: None,
        };
        batches.0.put(context, batch, now_ns);
    }

    /// The messages one of which a call with this origin is for, if it has no parent.
    pub(crate) fn batch_of(&self, origin: Origin, began_ns: u64) -> Option<Arc<[SpanId]>> {
        let Origin::Kernel(context, Evidence::Thread) = origin else {
            return None;
        };
        let batch = self.work.batches.0.get(&context)?;
        let is_at_work = batch.done_ns.is_none_or(|done_ns| began_ns < done_ns);
        is_at_work.then(|| Arc::clone(&batch.messages))
    }
}

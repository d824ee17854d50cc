//! The bounded queue between the tracer and the senders; spans in it are already encoded.
//!
//! In: spans, from any thread, without waiting. Out: whole requests ([`Batch`]). Always holds: spans and bytes held
//! (queued and in flight) stay within their bounds. Refuses: a span that finds it full: the newest is dropped, as the
//! SDK's batch processor does, so what is delivered after an outage begins with whole traces. Every drop is counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::Span;
use bytes::Bytes;
use tokio::sync::Notify;

use super::counters::{Drop, ExportCounters};
use super::encode;
use crate::config;

/// A request ends here even if more spans would fit: gRPC servers refuse messages over 4 MiB by default.
pub const BATCH_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Resources one open batch may have; a host with more processes in one second gets more requests.
const GROUPS_MAX: usize = 1_024;

/// A whole `ExportTraceServiceRequest`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The encoded request.
    pub body: Bytes,
    /// Spans in it.
    pub spans: u64,
    /// Bytes of the queue's bound it holds.
    held_bytes: usize,
}

/// Spans of one Resource.
struct Group {
    facts: Arc<ProcessFacts>,
    spans: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// Groups of the batch that is being filled.
    open: Vec<Group>,
    open_spans: usize,
    open_bytes: usize,
    /// When the open batch got its first span.
    open_since: Option<Instant>,
    sealed: std::collections::VecDeque<Batch>,
    held_spans: usize,
    held_bytes: usize,
    /// No more spans are taken.
    closed: bool,
}

/// The queue.
pub struct Queue {
    state: Mutex<State>,
    ready: Notify,
    bounds: config::Queue,
    extra: Vec<(String, ResourceValue)>,
    counters: Arc<ExportCounters>,
}

/// What a sender does next.
pub(super) enum Next {
    /// Send this.
    Batch(Batch),
    /// Nothing yet; look again when notified or after this time.
    Wait(Option<Duration>),
    /// Closed and empty.
    End,
}

impl Queue {
    /// An empty queue. `extra` are the attributes of `[resource]`.
    pub fn new(
        bounds: config::Queue,
        extra: Vec<(String, ResourceValue)>,
        counters: Arc<ExportCounters>,
    ) -> Self {
        Self {
            state: Mutex::new(State::default()),
            ready: Notify::new(),
            bounds,
            extra,
            counters,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave a half-written state that matters: counts at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a span; `false` when it was dropped (and counted).
    pub fn push(&self, span: &Span, facts: &Arc<ProcessFacts>) -> bool {
        let mut state = self.lock();
        if state.closed {
            self.counters.add_dropped(Drop::Closed, 1);
            return false;
        }
        if state.held_spans >= self.bounds.max_spans || state.held_bytes >= self.bounds.max_bytes {
            self.counters.add_dropped(Drop::QueueFull, 1);
            return false;
        }
        let state = &mut *state;
        let index = match state
            .open
            .iter()
            .rposition(|group| Arc::ptr_eq(&group.facts, facts))
        {
            Some(index) => index,
            None => {
                state.open.push(Group {
                    facts: Arc::clone(facts),
                    spans: Vec::new(),
                });
                state.open.len() - 1
            }
        };
        let Some(group) = state.open.get_mut(index) else {
            return false;
        };
        let before = group.spans.len();
        encode::span(&mut group.spans, span);
        let added = group.spans.len() - before;
        state.open_spans += 1;
        state.open_bytes += added;
        state.held_spans += 1;
        state.held_bytes += added;
        let first = state.open_since.is_none();
        if first {
            state.open_since = Some(Instant::now());
        }
        let full = state.open_spans >= self.bounds.max_batch_spans
            || state.open_bytes >= BATCH_BYTES_MAX
            || state.open.len() >= GROUPS_MAX;
        if full {
            self.seal(state);
        }
        if full || first {
            self.ready.notify_one();
        }
        true
    }

    /// Turns the open groups into a request.
    fn seal(&self, state: &mut State) {
        if state.open_spans == 0 {
            return;
        }
        let mut body = Vec::with_capacity(state.open_bytes + state.open.len() * 2_048);
        for group in state.open.drain(..) {
            encode::resource_spans(&mut body, &group.facts, &self.extra, &group.spans);
        }
        let held_bytes = body.len();
        state.held_bytes = state.held_bytes.saturating_sub(state.open_bytes) + held_bytes;
        state.sealed.push_back(Batch {
            body: Bytes::from(body),
            spans: state.open_spans as u64,
            held_bytes,
        });
        state.open_spans = 0;
        state.open_bytes = 0;
        state.open_since = None;
    }

    /// The next thing to do for a sender; seals the open batch when it is old enough.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.lock();
        let age = state
            .open_since
            .map(|since| now.saturating_duration_since(since));
        if age.is_some_and(|age| age >= self.bounds.schedule_delay) || state.closed {
            self.seal(&mut state);
        }
        if let Some(batch) = state.sealed.pop_front() {
            if !state.sealed.is_empty() || state.open_spans > 0 {
                self.ready.notify_one();
            }
            return Next::Batch(batch);
        }
        if state.closed {
            return Next::End;
        }
        Next::Wait(age.map(|age| self.bounds.schedule_delay.saturating_sub(age)))
    }

    /// Waits until there may be something to do.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Lets the next waiting sender look.
    pub(super) fn wake_next(&self) {
        self.ready.notify_one();
    }

    /// The batch has reached its end, sent or dropped: its room is free again.
    pub(super) fn release(&self, batch: &Batch) {
        let mut state = self.lock();
        state.held_spans = state.held_spans.saturating_sub(batch.spans as usize);
        state.held_bytes = state.held_bytes.saturating_sub(batch.held_bytes);
    }

    /// Takes no more spans; senders end once everything held is delivered.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
        self.ready.notify_one();
    }

    /// Spans and bytes held now, queued and in flight.
    pub fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.held_spans, state.held_bytes)
    }
}

//! What became of every span that was offered for export.
//!
//! In: counts from the queue and the senders. Out: rows for the self-metrics and the summary. Always holds: offered =
//! sent + dropped (all reasons) + held. Refuses: reasons outside the table below.

use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::{Kind, Row};

macro_rules! drops {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a span was not delivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Drop { $($(#[doc = $doc])+ $variant,)+ }
        impl Drop {
            /// All reasons, in the order of their slots.
            pub const ALL: &'static [Drop] = &[$(Drop::$variant,)+];
            /// The `reason` attribute.
            pub const fn name(self) -> &'static str { match self { $(Drop::$variant => $name,)+ } }
            /// The sentence for people.
            pub const fn meaning(self) -> &'static str { match self { $(Drop::$variant => concat!($($doc),+),)+ } }
        }
    };
}

drops! {
    /// Spans that found the export queue full, because the backend is down or slower than the host.
    QueueFull = "queue_full",
    /// Spans of batches the backend refused for good (an answer the specification calls not retryable).
    Refused = "backend_refused",
    /// Spans the backend rejected one by one (partial success).
    Rejected = "backend_rejected",
    /// Spans of batches that were retried until the time for one batch was over.
    GaveUp = "gave_up",
    /// Spans that could not be delivered before the agent had to end.
    Shutdown = "shutdown",
    /// Spans offered after the agent began to end.
    Closed = "closed",
}

/// The exporter's counters. Relaxed atomics: each is exact, the set is not a snapshot of one instant.
#[derive(Debug, Default)]
pub struct ExportCounters {
    sent: AtomicU64,
    retries: AtomicU64,
    requests: AtomicU64,
    dropped: [AtomicU64; Drop::ALL.len()],
}

impl ExportCounters {
    /// Counts spans the backend accepted.
    pub(super) fn add_sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts an attempt that will be repeated.
    pub(super) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request, whatever its outcome.
    pub(super) fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts spans that will never be delivered.
    pub(super) fn add_dropped(&self, reason: Drop, spans: u64) {
        if let Some(slot) = self.dropped.get(reason as usize) {
            slot.fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// Spans the backend accepted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Attempts that were repeated.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Spans dropped for `reason`.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped
            .get(reason as usize)
            .map_or(0, |slot| slot.load(Ordering::Relaxed))
    }

    /// Spans dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        Drop::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }

    /// All rows, zero ones too.
    pub fn rows(&self) -> Vec<Row> {
        let count = |metric, value, meaning| Row {
            metric,
            kind: Kind::Counter,
            reason: None,
            value,
            meaning,
        };
        let mut rows = vec![
            count(
                "suture.export.spans.sent",
                self.sent(),
                "Spans the backend accepted.",
            ),
            count(
                "suture.export.requests",
                self.requests.load(Ordering::Relaxed),
                "Export requests, whatever their outcome.",
            ),
            count(
                "suture.export.retries",
                self.retries(),
                "Export requests that had to be repeated.",
            ),
        ];
        rows.extend(Drop::ALL.iter().map(|reason| Row {
            metric: "suture.export.spans.dropped",
            kind: Kind::Counter,
            reason: Some(reason.name()),
            value: self.dropped(*reason),
            meaning: reason.meaning(),
        }));
        rows
    }
}

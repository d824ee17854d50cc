//! A moment's values of everything the agent counts about itself.
//!
//! In: rows from the kernel's counters, the tracer's and the exporter's. Out: OTLP metrics (`self_metrics`) and the
//! summary on exit (`summary`). Always holds: a provider gives the same rows each time, zero ones too, so that a metric
//! exists before its first event. Refuses: names made at run time.

use std::sync::Arc;

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Metric name, begins with `suture.`.
    pub metric: &'static str,
    /// Counter or gauge; the same for all rows of a metric.
    pub kind: Kind,
    /// The `reason` attribute, for metrics that are split by reason.
    pub reason: Option<&'static str>,
    /// Value now.
    pub value: u64,
    /// The sentence for people; ` ` at its start is left out.
    pub meaning: &'static str,
}

/// Makes a snapshot; called from the metrics thread and at exit, must not block.
pub type SnapshotProvider = Arc<dyn Fn() -> Vec<Row> + Send + Sync>;

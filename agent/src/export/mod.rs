//! Sends finished spans and the agent's own metrics to an OpenTelemetry backend.
//!
//! In: spans with the facts of their process; snapshots of the agent's counters. Out: OTLP/gRPC or OTLP/HTTP. Always
//! holds: making spans never waits for sending them, memory is bounded, every loss is counted with a reason. Refuses:
//! targets that cannot be used, at start-up.

mod counters;
mod encode;
mod exporter;
mod exports;
mod grpc;
mod http;
mod log;
mod queue;
mod retry;
mod self_metrics;
mod snapshot;
mod summary;
mod thread;
mod tls;
mod transport;
mod wire;

pub use counters::{Drop, ExportCounters};
pub use encode::{
    SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, STATUS_ERROR, flags, kind_number, resource_attributes,
    span as encode_span,
};
pub use exporter::{ExporterHandle, TraceExporter};
pub use exports::Exports;
pub use queue::BATCH_BYTES_MAX;
pub use retry::RetryPolicy;
pub use self_metrics::SelfMetrics;
pub use snapshot::{Kind, Row, SnapshotProvider};
pub use summary::summary;
pub use thread::ExportThread;

/// Requests in flight at once, so that a backend 100 ms away still takes 160,000 spans/s.
pub const CONCURRENT_REQUESTS: usize = 4;
/// `user-agent` of export requests.
pub(crate) const USER_AGENT: &str = concat!("suture/", env!("CARGO_PKG_VERSION"));

/// Export cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The address cannot be used.
    #[error("export cannot start: {0}")]
    Target(String),
    /// TLS files cannot be used.
    #[error("export cannot start: {0}")]
    Tls(String),
    /// No thread.
    #[error("export cannot start: the export thread cannot be made: {0}")]
    Thread(String),
    /// The self-metrics' exporter cannot be built.
    #[error("export of the agent's own metrics cannot start: {0}")]
    Metrics(String),
}

//! All export of one run: spans and self-metrics, on one thread.
//!
//! In: the settings, the snapshot provider of the other parts. Out: a handle for spans; at the end the final counts.
//! Always holds: with no endpoint set nothing is started. Refuses: settings that cannot work, at start-up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ExportError;
use super::counters::ExportCounters;
use super::exporter::{ExporterHandle, TraceExporter};
use super::retry::RetryPolicy;
use super::self_metrics::SelfMetrics;
use super::snapshot::{Kind, Row, SnapshotProvider};
use super::thread::ExportThread;
use crate::config::Config;

/// Part of the time for ending that is kept for the last metrics.
const METRICS_SHARE: Duration = Duration::from_millis(1_500);

/// Running export.
pub struct Exports {
    traces: Option<TraceExporter>,
    metrics: Option<SelfMetrics>,
    thread: Option<ExportThread>,
    snapshots: SnapshotProvider,
}

impl Exports {
    /// Starts what the settings ask for. `others` gives the rows of the kernel's and the tracer's counters; the
    /// exporter's own are added.
    ///
    /// # Errors
    /// TLS files, headers or addresses that cannot be used; exit code 2.
    pub fn start(config: &Config, others: SnapshotProvider) -> Result<Self, ExportError> {
        let (traces, metrics) = (config.export.traces(), config.export.metrics());
        if traces.is_none() && metrics.is_none() {
            return Ok(Self {
                traces: None,
                metrics: None,
                thread: None,
                snapshots: others,
            });
        }
        let thread = ExportThread::start()?;
        let queue = &config.export.queue;
        let traces = traces
            .map(|target| {
                TraceExporter::start(
                    &thread,
                    &target,
                    queue,
                    config.resource.clone(),
                    RetryPolicy::default(),
                )
            })
            .transpose()?;
        let snapshots = match &traces {
            Some(exporter) => with_own_rows(others, exporter.counters(), exporter.handle()),
            None => others,
        };
        let metrics = metrics
            .map(|target| {
                let interval = config.export.metric_interval;
                SelfMetrics::start(
                    &thread,
                    &target,
                    interval,
                    &config.agent_resource,
                    &snapshots,
                )
            })
            .transpose()?;
        Ok(Self {
            traces,
            metrics,
            thread: Some(thread),
            snapshots,
        })
    }

    /// Where spans go; `None` when no endpoint is set.
    #[must_use]
    pub fn traces(&self) -> Option<ExporterHandle> {
        self.traces.as_ref().map(TraceExporter::handle)
    }

    /// All rows now, the exporter's too.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Row> {
        (self.snapshots)()
    }

    /// Delivers what is held, sends the last metrics, ends the thread; takes at most `within` (and half a second for
    /// threads to notice). Returns the final rows. Blocks the calling thread.
    pub fn shutdown(self, within: Duration) -> Vec<Row> {
        let started = Instant::now();
        if let (Some(traces), Some(thread)) = (self.traces, &self.thread) {
            let kept = if self.metrics.is_some() {
                METRICS_SHARE.min(within / 2)
            } else {
                Duration::ZERO
            };
            traces.shutdown(thread, within.saturating_sub(kept));
        }
        if let Some(metrics) = self.metrics {
            metrics.shutdown(
                within
                    .saturating_sub(started.elapsed())
                    .max(Duration::from_millis(100)),
            );
        }
        drop(self.thread);
        (self.snapshots)()
    }
}

fn with_own_rows(
    others: SnapshotProvider,
    counters: Arc<ExportCounters>,
    handle: ExporterHandle,
) -> SnapshotProvider {
    Arc::new(move || {
        let mut rows = others();
        rows.extend(counters.rows());
        let (spans, bytes) = handle.held();
        let gauge = |metric, value: usize, meaning| Row {
            metric,
            kind: Kind::Gauge,
            reason: None,
            value: value as u64,
            meaning,
        };
        rows.push(gauge(
            "suture.export.queue.spans",
            spans,
            "Spans waiting for the backend.",
        ));
        rows.push(gauge(
            "suture.export.queue.bytes",
            bytes,
            "Bytes of encoded spans waiting for the backend.",
        ));
        rows
    })
}

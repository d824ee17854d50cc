//! The agent's own counters as OTLP metrics (`suture.*`).
//!
//! In: a snapshot provider. Out: observable counters and gauges, one per metric name, with the `reason` attribute where
//! a metric is split by it, each `OTEL_METRIC_EXPORT_INTERVAL` (60 s) and once at the end. Always holds: all values of one export are of
//! one snapshot; sent over the same kind of connection as spans, from this process, so that the kernel's exclusion of the agent covers it.
//! Refuses: targets that cannot be used, at start-up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tonic::metadata::MetadataMap;

use super::encode::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};
use super::http::HttpTransport;
use super::snapshot::{Kind, Row, SnapshotProvider};
use super::thread::ExportThread;
use super::{ExportError, grpc};
use crate::config::{Compression, Protocol, Target};

/// Exports snapshots until it is shut down.
pub struct SelfMetrics {
    provider: SdkMeterProvider,
}

impl SelfMetrics {
    /// Starts exporting. `resource` are `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` of the agent.
    ///
    /// # Errors
    /// The target cannot be used.
    pub fn start(
        thread: &ExportThread,
        target: &Target,
        interval: Duration,
        resource: &[(String, String)],
        snapshots: &SnapshotProvider,
    ) -> Result<Self, ExportError> {
        let exporter = thread.enter(|| exporter(thread, target))?;
        let reader = PeriodicReader::builder(exporter)
            .with_interval(interval)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(agent_resource(resource))
            .build();
        let scope = InstrumentationScope::builder(SCOPE_NAME)
            .with_version(SCOPE_VERSION)
            .with_schema_url(SCHEMA_URL)
            .build();
        register(&provider.meter_with_scope(scope), snapshots);
        Ok(Self { provider })
    }

    /// Sends the last values; waits for at most `within`. Blocks the calling thread.
    pub fn shutdown(self, within: Duration) {
        let (done, ended) = std::sync::mpsc::channel();
        // The SDK's own waiting cannot be bounded, so it happens beside.
        let waiting = std::thread::Builder::new()
            .name("suture-metrics".to_owned())
            .spawn(move || {
                if let Err(error) = self.provider.shutdown() {
                    tracing::debug!("the last metrics were not sent: {error}");
                }
                let _ = done.send(()); // the receiver may have stopped waiting
            });
        if waiting.is_ok() {
            let _ = ended.recv_timeout(within); // late: the process ends anyway
        }
    }
}

fn agent_resource(attributes: &[(String, String)]) -> Resource {
    let named = attributes.iter().any(|(key, _)| key == "service.name");
    let name = (!named).then(|| KeyValue::new("service.name", SCOPE_NAME));
    let version = KeyValue::new("service.version", SCOPE_VERSION);
    let given = attributes
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes(std::iter::once(version).chain(name).chain(given))
        .build()
}

/// The snapshot that an export is made of. The SDK asks each instrument once for an export: one that asks again begins the next.
struct Collection {
    snapshots: SnapshotProvider,
    rows: Vec<Row>,
    asked: BTreeSet<&'static str>,
}

impl Collection {
    /// The rows of a metric.
    fn of(&mut self, metric: &'static str) -> impl Iterator<Item = &Row> {
        if self.asked.is_empty() || self.asked.contains(metric) {
            self.asked.clear();
            self.rows = (self.snapshots)();
        }
        self.asked.insert(metric);
        self.rows.iter().filter(move |row| row.metric == metric)
    }
}

/// One instrument per metric name; its callback reports that metric's rows.
fn register(meter: &Meter, snapshots: &SnapshotProvider) {
    let mut metrics: BTreeMap<&'static str, Row> = BTreeMap::new();
    for row in snapshots() {
        metrics.entry(row.metric).or_insert(row);
    }
    let collection = Arc::new(Mutex::new(Collection {
        snapshots: SnapshotProvider::clone(snapshots),
        rows: Vec::new(),
        asked: BTreeSet::new(),
    }));
    for (metric, first) in metrics {
        let collection = Arc::clone(&collection);
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            let mut collection = collection.lock().unwrap_or_else(PoisonError::into_inner);
            for row in collection.of(metric) {
                let reason = row.reason.map(|reason| KeyValue::new("reason", reason));
                observer.observe(row.value, reason.as_slice());
            }
        };
        // Metrics split by reason say what the reasons mean in the summary and in the documentation.
        let description = if first.reason.is_some() {
            ""
        } else {
            first.meaning.trim()
        };
        match first.kind {
            Kind::Counter => {
                let _registered = meter
                    .u64_observable_counter(metric)
                    .with_description(description)
                    .with_callback(observe)
                    .build();
            }
            Kind::Gauge => {
                let _registered = meter
                    .u64_observable_gauge(metric)
                    .with_description(description)
                    .with_callback(observe)
                    .build();
            }
        }
    }
}

fn exporter(thread: &ExportThread, target: &Target) -> Result<MetricExporter, ExportError> {
    let failed =
        |error: opentelemetry_otlp::ExporterBuildError| ExportError::Metrics(error.to_string());
    match target.protocol {
        Protocol::Grpc => {
            let builder = MetricExporter::builder()
                .with_tonic()
                .with_channel(grpc::channel(target)?)
                .with_timeout(target.timeout)
                .with_metadata(MetadataMap::from_headers(target.headers.clone()));
            match target.compression {
                Compression::Gzip => {
                    builder.with_compression(opentelemetry_otlp::Compression::Gzip)
                }
                Compression::None => builder,
            }
            .build()
            .map_err(failed)
        }
        Protocol::HttpProtobuf => {
            let client = MetricsClient {
                // The exporter compresses by itself, before it calls the client.
                transport: HttpTransport::new(target)?,
                handle: thread.handle().clone(),
                uri: target.uri.clone(),
                headers: target.headers.clone(),
            };
            let builder = MetricExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_endpoint(target.uri.to_string())
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_timeout(target.timeout);
            match target.compression {
                Compression::Gzip => {
                    builder.with_compression(opentelemetry_otlp::Compression::Gzip)
                }
                Compression::None => builder,
            }
            .build()
            .map_err(failed)
        }
    }
}

/// Sends the metrics' requests on the export thread: the SDK calls from a thread without a runtime.
#[derive(Clone)]
struct MetricsClient {
    transport: HttpTransport,
    handle: tokio::runtime::Handle,
    uri: Uri,
    headers: HeaderMap,
}

impl std::fmt::Debug for MetricsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsClient")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for MetricsClient {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *request.uri_mut() = self.uri.clone();
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let transport = self.transport.clone();
        let answer = self
            .handle
            .spawn(async move { transport.forward(request).await })
            .await?;
        answer.map_err(|failure| failure.message.into())
    }
}

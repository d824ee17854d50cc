//! `[export]` and the `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*` settings, resolved into one [`Target`] per signal.
//!
//! In: general settings and those of one signal. Out: what a transport needs. Always holds: a signal's own setting
//! beats the general one; without an endpoint there is no target, and nothing is sent. Refuses: an endpoint that does
//! not fit its protocol, certificates that cannot be read.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::endpoint::Endpoint;
use super::error::{ConfigError, Source};
use super::value::{Compression, Protocol};

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// The agent's own metrics.
    Metrics,
}

impl Signal {
    /// Path below a base endpoint (OTLP/HTTP).
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// Settings that exist in a general and in a signal's own form; `None` is "not set here".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalSettings {
    /// URL.
    pub endpoint: Option<Endpoint>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Headers sent with every request.
    pub headers: Option<HeaderMap>,
    /// Time for one attempt.
    pub timeout: Option<Duration>,
    /// Compression.
    pub compression: Option<Compression>,
    /// PEM file with the roots to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM file with the client's certificate chain (mTLS).
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the client's key.
    pub client_key: Option<PathBuf>,
    /// For endpoints without a scheme (gRPC): no TLS.
    pub insecure: Option<bool>,
}

/// Bounds and rhythm of the span queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// `OTEL_BSP_MAX_QUEUE_SIZE`: spans held at once, queued and in flight. Default 65,536: the SDK's 2,048 is meant for
    /// one process, a host at 40,000 spans/s fills it in 50 ms.
    pub max_spans: usize,
    /// `export.queue_bytes`: encoded bytes held at once. Default 32 MiB.
    pub max_bytes: usize,
    /// `OTEL_BSP_SCHEDULE_DELAY`: longest time a span waits for its batch to fill. Default 1 s.
    pub schedule_delay: Duration,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`: spans per request. Default 4,096. A request also ends at 3 MiB, because
    /// gRPC servers refuse messages over 4 MiB by default.
    pub max_batch_spans: usize,
    /// `OTEL_BSP_EXPORT_TIMEOUT`: longest time one batch is tried and retried before it is dropped. Default 5 min.
    pub give_up_after: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_spans: 65_536,
            max_bytes: 32 * 1024 * 1024,
            schedule_delay: Duration::from_secs(1),
            max_batch_spans: 4_096,
            give_up_after: Duration::from_secs(300),
        }
    }
}

/// All export settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// General form.
    pub general: SignalSettings,
    /// `OTEL_EXPORTER_OTLP_TRACES_*`.
    pub traces: SignalSettings,
    /// `OTEL_EXPORTER_OTLP_METRICS_*`.
    pub metrics: SignalSettings,
    /// Span queue.
    pub queue: Queue,
    /// `OTEL_METRIC_EXPORT_INTERVAL`. Default 60 s.
    pub metric_interval: Duration,
    /// `OTEL_SDK_DISABLED`: nothing is exported; the terminal view still works.
    pub disabled: bool,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            general: SignalSettings::default(),
            traces: SignalSettings::default(),
            metrics: SignalSettings::default(),
            queue: Queue::default(),
            metric_interval: Duration::from_secs(60),
            disabled: false,
        }
    }
}

/// PEM files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Roots to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// The client's certificate chain and key; both or none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where and how one signal is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Full URL of the requests; for gRPC scheme, host and port.
    pub uri: Uri,
    /// Protocol.
    pub protocol: Protocol,
    /// Headers sent with every request.
    pub headers: HeaderMap,
    /// Time for one attempt. Default 10 s.
    pub timeout: Duration,
    /// Compression. Default none.
    pub compression: Compression,
    /// PEM files, used when the URL is https.
    pub tls: TlsFiles,
}

impl OtlpSettings {
    /// Sets the general endpoint from a stronger layer: it also replaces weaker layers' per-signal endpoints.
    pub fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.general.endpoint = endpoint;
        self.traces.endpoint = None;
        self.metrics.endpoint = None;
    }

    /// The target of spans; `None` when no endpoint is set or export is disabled.
    #[must_use]
    pub fn traces(&self) -> Option<Target> {
        self.target(Signal::Traces).ok().flatten()
    }

    /// The target of the agent's own metrics.
    #[must_use]
    pub fn metrics(&self) -> Option<Target> {
        self.target(Signal::Metrics).ok().flatten()
    }

    /// Checks that every target can be resolved.
    ///
    /// # Errors
    /// The first one that cannot.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for signal in [Signal::Traces, Signal::Metrics] {
            self.target(signal)
                .map_err(|message| ConfigError::new(Source::Together, message))?;
        }
        Ok(())
    }

    fn target(&self, signal: Signal) -> Result<Option<Target>, String> {
        let own = match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        };
        let general = &self.general;
        let Some(endpoint) = own.endpoint.as_ref().or(general.endpoint.as_ref()) else {
            return Ok(None);
        };
        if self.disabled {
            return Ok(None);
        }
        let protocol = own
            .protocol
            .or(general.protocol)
            .unwrap_or_else(|| endpoint.usual_protocol());
        let insecure = own.insecure.or(general.insecure).unwrap_or(false);
        let uri = endpoint.uri(protocol, insecure, signal.path(), own.endpoint.is_some())?;
        let path = |own: &Option<PathBuf>, general: &Option<PathBuf>| {
            own.clone().or_else(|| general.clone())
        };
        let client = match (
            path(&own.client_certificate, &general.client_certificate),
            path(&own.client_key, &general.client_key),
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(
                    "a client certificate is set but no client key; set both or none".to_owned(),
                );
            }
            (None, Some(_)) => {
                return Err(
                    "a client key is set but no client certificate; set both or none".to_owned(),
                );
            }
        };
        Ok(Some(Target {
            uri,
            protocol,
            headers: own
                .headers
                .clone()
                .or_else(|| general.headers.clone())
                .unwrap_or_default(),
            timeout: own
                .timeout
                .or(general.timeout)
                .unwrap_or(Duration::from_secs(10)),
            compression: own
                .compression
                .or(general.compression)
                .unwrap_or(Compression::None),
            tls: TlsFiles {
                certificate: path(&own.certificate, &general.certificate),
                client,
            },
        }))
    }
}

/// Turns pairs into headers.
///
/// # Errors
/// Names the header that cannot be sent; never its value.
pub(super) fn headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let header = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
            .map_err(|_| format!("`{name}` is not a header name"))?;
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| format!("the value of header `{name}` has bytes no header may have"))?;
        value.set_sensitive(true);
        map.append(header, value);
    }
    Ok(map)
}

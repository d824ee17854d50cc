//! A real OTLP receiver: gRPC on one loopback port, HTTP/protobuf on another.
//!
//! In: exports of the agent (plain or gzip). Out: a flat list of [`ReceivedSpan`]s and [`MetricPoint`]s, with
//! waiting. Always holds: it answers as the OTLP specification says a backend answers, in the [`Mood`] it is told;
//! spans are collected only in the moods that accept them. Refuses: other paths (404) and unreadable bodies (400).

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response as HttpResponse, StatusCode as HttpStatus};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::otlp::{MetricPoint, kinds_of, points_of, spans_of};
use crate::scene::scaled;
use crate::span::{ReceivedSpan, listing};

/// How the backend behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Accept,
    /// Answers UNAVAILABLE / 503: the sender must try again later.
    Unavailable,
    /// Takes everything but this many spans, which it says it rejected: the sender must not send them again.
    Partial(i64),
    /// Takes everything and only counts it by service and kind: for loads no list could hold.
    Count,
    /// Takes the request and never answers.
    Silent,
}

#[derive(Default)]
struct Collected {
    spans: Vec<ReceivedSpan>,
    points: Vec<MetricPoint>,
    exports: u64,
    counts: BTreeMap<(String, i32), u64>,
    headers: Vec<(String, String)>,
    last_arrival: Option<Instant>,
    mood: Option<Mood>,
}

#[derive(Clone, Default)]
struct Shared(Arc<(Mutex<Collected>, Condvar)>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self) -> Mood {
        self.lock().mood.unwrap_or(Mood::Accept)
    }

    fn take(&self, spans: Vec<ReceivedSpan>, points: Vec<MetricPoint>) {
        let mut collected = self.lock();
        if !spans.is_empty() {
            collected.last_arrival = Some(Instant::now());
        }
        collected.spans.extend(spans);
        collected.points.extend(points);
        self.0.1.notify_all();
    }

    fn attempt(&self, headers: Vec<(String, String)>) {
        let mut collected = self.lock();
        collected.exports += 1;
        collected.headers = headers;
        self.0.1.notify_all();
    }

    fn count(&self, request: &ExportTraceServiceRequest) {
        let mut collected = self.lock();
        for (service, kind) in kinds_of(&request.resource_spans) {
            *collected.counts.entry((service, kind)).or_default() += 1;
        }
        collected.last_arrival = Some(Instant::now());
    }

    /// The answer's `partial_success`, or why there is none.
    async fn export(
        &self,
        request: &ExportTraceServiceRequest,
    ) -> Result<Option<ExportTracePartialSuccess>, Refusal> {
        match self.mood() {
            Mood::Accept => {
                self.take(spans_of(&request.resource_spans), Vec::new());
                Ok(None)
            }
            Mood::Count => {
                self.count(request);
                Ok(None)
            }
            Mood::Partial(rejected_spans) => {
                self.take(spans_of(&request.resource_spans), Vec::new());
                Ok(Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "told to reject".to_owned(),
                }))
            }
            Mood::Unavailable => Err(Refusal),
            Mood::Silent => std::future::pending().await,
        }
    }
}

/// The backend is unavailable.
struct Refusal;

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let text = |value: &tonic::metadata::AsciiMetadataValue| {
            value.to_str().unwrap_or("(not text)").to_owned()
        };
        let headers = request.metadata().iter().filter_map(|entry| match entry {
            tonic::metadata::KeyAndValueRef::Ascii(key, value) => {
                Some((key.as_str().to_owned(), text(value)))
            }
            tonic::metadata::KeyAndValueRef::Binary(..) => None,
        });
        self.attempt(headers.collect());
        match Shared::export(self, request.get_ref()).await {
            Ok(partial_success) => Ok(Response::new(ExportTraceServiceResponse {
                partial_success,
            })),
            Err(Refusal) => Err(Status::unavailable("told to be unavailable")),
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Shared {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(Vec::new(), points_of(&request.get_ref().resource_metrics));
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success: None,
        }))
    }
}

fn http_answer(status: HttpStatus, body: Vec<u8>) -> HttpResponse<Full<Bytes>> {
    let mut answer = HttpResponse::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/x-protobuf"),
    );
    answer
}

async fn serve_http(shared: Shared, request: HttpRequest<Incoming>) -> HttpResponse<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(key, value)| {
            (
                key.as_str().to_owned(),
                value.to_str().unwrap_or("(not text)").to_owned(),
            )
        })
        .collect();
    let gzip = headers
        .iter()
        .any(|(key, value)| key == "content-encoding" && value == "gzip");
    let Ok(body) = request.into_body().collect().await else {
        return http_answer(HttpStatus::BAD_REQUEST, Vec::new());
    };
    let mut bytes = body.to_bytes().to_vec();
    if gzip {
        let mut plain = Vec::new();
        if flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .is_err()
        {
            return http_answer(HttpStatus::BAD_REQUEST, Vec::new());
        }
        bytes = plain;
    }
    match path.as_str() {
        "/v1/traces" => {
            shared.attempt(headers);
            let Ok(message) = ExportTraceServiceRequest::decode(bytes.as_slice()) else {
                return http_answer(HttpStatus::BAD_REQUEST, Vec::new());
            };
            match shared.export(&message).await {
                Ok(partial_success) => http_answer(
                    HttpStatus::OK,
                    ExportTraceServiceResponse { partial_success }.encode_to_vec(),
                ),
                Err(Refusal) => http_answer(HttpStatus::SERVICE_UNAVAILABLE, Vec::new()),
            }
        }
        "/v1/metrics" => match ExportMetricsServiceRequest::decode(bytes.as_slice()) {
            Ok(message) => {
                shared.take(Vec::new(), points_of(&message.resource_metrics));
                http_answer(HttpStatus::OK, Vec::new())
            }
            Err(_) => http_answer(HttpStatus::BAD_REQUEST, Vec::new()),
        },
        _ => http_answer(HttpStatus::NOT_FOUND, Vec::new()),
    }
}

async fn accept_http(shared: Shared, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, std::convert::Infallible>(serve_http(shared, request).await) }
            });
            // A connection that breaks is the sender's business; what it sent before was counted.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// The running receiver. Its ports close when it is dropped.
pub struct Receiver {
    shared: Shared,
    grpc: SocketAddr,
    http: SocketAddr,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// Starts it on two free loopback ports.
    ///
    /// # Errors
    /// When no port can be bound or no thread started.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp-receiver")
            .enable_all()
            .build()
            .context("starting the receiver's runtime")?;
        let shared = Shared::default();
        let (grpc_listener, http_listener) = runtime.block_on(async {
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            anyhow::Ok((
                TcpListener::bind(any_port).await?,
                TcpListener::bind(any_port).await?,
            ))
        })?;
        let (grpc, http) = (grpc_listener.local_addr()?, http_listener.local_addr()?);
        let traces = TraceServiceServer::new(shared.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let metrics =
            MetricsServiceServer::new(shared.clone()).accept_compressed(CompressionEncoding::Gzip);
        runtime.spawn(
            Server::builder()
                .add_service(traces)
                .add_service(metrics)
                .serve_with_incoming(TcpListenerStream::new(grpc_listener)),
        );
        runtime.spawn(accept_http(shared.clone(), http_listener));
        Ok(Self {
            shared,
            grpc,
            http,
            runtime: Some(runtime),
        })
    }

    /// `http://127.0.0.1:PORT` of OTLP/gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// `http://127.0.0.1:PORT` of OTLP/HTTP, without `/v1/traces`.
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// From now on behaves like this.
    pub fn set_mood(&self, mood: Mood) {
        self.shared.lock().mood = Some(mood);
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.shared.lock().spans.clone()
    }

    /// All spans so far, which it forgets.
    pub fn take_spans(&self) -> Vec<ReceivedSpan> {
        std::mem::take(&mut self.shared.lock().spans)
    }

    /// What `at` says of all spans so far, without copying them.
    pub fn look<R>(&self, at: impl FnOnce(&[ReceivedSpan]) -> R) -> R {
        at(&self.shared.lock().spans)
    }

    /// All metric points so far.
    pub fn points(&self) -> Vec<MetricPoint> {
        self.shared.lock().points.clone()
    }

    /// Spans counted in [`Mood::Count`], by `service.name` and SpanKind as on the wire (2 SERVER, 3 CLIENT).
    pub fn counts(&self) -> BTreeMap<(String, i32), u64> {
        self.shared.lock().counts.clone()
    }

    /// Trace exports attempted so far, in whatever mood.
    pub fn exports(&self) -> u64 {
        self.shared.lock().exports
    }

    /// Headers (or gRPC metadata) of the last trace export.
    pub fn last_headers(&self) -> Vec<(String, String)> {
        self.shared.lock().headers.clone()
    }

    /// Forgets what came so far.
    pub fn clear(&self) {
        let mut collected = self.shared.lock();
        collected.spans.clear();
        collected.points.clear();
        collected.counts.clear();
    }

    /// Waits until `enough` holds of the spans, at most `timeout` times `SUTURE_TIME_SCALE`; then all spans.
    ///
    /// # Errors
    /// When the time is over; the message lists what came.
    pub fn wait_until(
        &self,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<ReceivedSpan>> {
        let deadline = Instant::now() + scaled(timeout);
        let mut collected = self.shared.lock();
        loop {
            if enough(&collected.spans) {
                return Ok(collected.spans.clone());
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                bail!(
                    "the spans waited for did not come in {timeout:?}: {}",
                    listing(&collected.spans)
                );
            };
            collected = self
                .shared
                .0
                .1
                .wait_timeout(collected, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until no span came for `quiet_for` times `SUTURE_TIME_SCALE` (at most 20 times as long); then all
    /// spans. This is how a scenario gives a surplus or duplicate span the time to show itself.
    pub fn settle(&self, quiet_for: Duration) -> Vec<ReceivedSpan> {
        let quiet_for = scaled(quiet_for);
        let begun = Instant::now();
        loop {
            let last = self.shared.lock().last_arrival.unwrap_or(begun).max(begun);
            let quiet = last.elapsed();
            if quiet >= quiet_for || begun.elapsed() >= quiet_for * 20 {
                return self.spans();
            }
            std::thread::sleep(quiet_for - quiet);
        }
    }

    /// The same, whatever other spans come: of a loop that never ends, of other programs of the host.
    pub fn settle_of(
        &self,
        is_one: impl Fn(&ReceivedSpan) -> bool,
        quiet_for: Duration,
    ) -> Vec<ReceivedSpan> {
        let quiet_for = scaled(quiet_for);
        let (begun, mut since) = (Instant::now(), Instant::now());
        let mut looked = 0;
        loop {
            // Each span is looked at once.
            let more = self.look(|spans| {
                let new = spans.get(looked..).unwrap_or_default();
                looked = spans.len();
                new.iter().filter(|span| is_one(span)).count()
            });
            if more > 0 {
                since = Instant::now();
            }
            let left = quiet_for.saturating_sub(since.elapsed());
            if left.is_zero() || begun.elapsed() >= quiet_for * 20 {
                return self.spans();
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

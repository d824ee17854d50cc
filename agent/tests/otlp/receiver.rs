//! An OTLP receiver over gRPC and HTTP that keeps what it gets and answers by a script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
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
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// One answer of the script; when the script is over, everything is accepted.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Taken, with this many spans rejected.
    Partial(i64, &'static str),
    /// A gRPC code, with a RetryInfo.
    Grpc(Code, Option<Duration>),
    /// An HTTP status, with a Retry-After.
    Http(u16, Option<&'static str>),
}

/// What arrived.
#[derive(Default)]
pub struct Kept {
    /// Requests that were accepted.
    pub requests: Vec<ExportTraceServiceRequest>,
    /// When each request, also refused ones, arrived.
    pub arrivals: Vec<Instant>,
    /// Headers of the last request.
    pub headers: http::HeaderMap,
    /// Metrics requests.
    pub metrics: Vec<ExportMetricsServiceRequest>,
    /// What to answer next.
    pub script: VecDeque<Answer>,
}

impl Kept {
    /// Spans accepted so far.
    pub fn spans(&self) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
        self.requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }
}

/// A receiver that runs until the test ends.
#[derive(Clone, Default)]
pub struct Receiver {
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    /// A receiver with a script.
    pub fn with(script: impl IntoIterator<Item = Answer>) -> Self {
        let receiver = Self::default();
        receiver.look(|kept| kept.script.extend(script));
        receiver
    }

    /// Looks at what arrived.
    pub fn look<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap())
    }

    /// Waits until `ready` holds.
    pub fn wait(&self, what: &str, mut ready: impl FnMut(&mut Kept) -> bool) {
        let started = Instant::now();
        while !self.look(&mut ready) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "never happened: {what}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Serves OTLP/gRPC on a new port.
    pub fn serve_grpc(&self, runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.serve_grpc_on(runtime, listener)
    }

    /// Serves OTLP/gRPC on a listener.
    pub fn serve_grpc_on(
        &self,
        runtime: &tokio::runtime::Runtime,
        listener: std::net::TcpListener,
    ) -> SocketAddr {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let receiver = self.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let traces = TraceServiceServer::new(receiver.clone())
                .accept_compressed(CompressionEncoding::Gzip);
            let metrics =
                MetricsServiceServer::new(receiver).accept_compressed(CompressionEncoding::Gzip);
            tonic::transport::Server::builder()
                .add_service(traces)
                .add_service(metrics)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        address
    }

    /// Serves OTLP/HTTP on a new port.
    pub fn serve_http(&self, runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.serve_http_on(runtime, listener)
    }

    /// Serves OTLP/HTTP on a listener.
    pub fn serve_http_on(
        &self,
        runtime: &tokio::runtime::Runtime,
        listener: std::net::TcpListener,
    ) -> SocketAddr {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let receiver = self.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(receiver.clone().speak_http(TokioIo::new(socket)));
            }
        });
        address
    }

    /// Serves one HTTP/2 connection with gRPC.
    pub async fn speak_grpc<S>(self, socket: S)
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    {
        let traces = hyper_util::service::TowerToHyperService::new(TraceServiceServer::new(self));
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(socket, traces)
            .await;
    }

    /// Serves one HTTP/1.1 connection.
    pub async fn speak_http<S>(self, socket: S)
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    {
        let service = service_fn(|request| {
            let receiver = self.clone();
            async move { Ok::<_, std::convert::Infallible>(receiver.answer_http(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(socket, service)
            .await;
    }

    async fn answer_http(&self, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let mut body = body.collect().await.unwrap().to_bytes();
        if head
            .headers
            .get("content-encoding")
            .is_some_and(|value| value == "gzip")
        {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain)
                .unwrap();
            body = plain.into();
        }
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        assert_eq!(head.method, http::Method::POST);
        if head.uri.path() == "/v1/metrics" {
            let request = ExportMetricsServiceRequest::decode(body).unwrap();
            self.look(|kept| {
                kept.headers = head.headers;
                kept.metrics.push(request);
            });
            return http::Response::new(Full::default());
        }
        assert_eq!(head.uri.path(), "/v1/traces");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        self.look(|kept| {
            kept.arrivals.push(Instant::now());
            kept.headers = head.headers;
            let mut response = http::Response::new(Full::default());
            match kept.script.pop_front() {
                Some(Answer::Http(status, retry_after)) => {
                    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                    if let Some(value) = retry_after {
                        response
                            .headers_mut()
                            .insert("retry-after", value.parse().unwrap());
                    }
                }
                Some(Answer::Partial(rejected, message)) => {
                    kept.requests.push(request);
                    *response.body_mut() = Full::from(partial(rejected, message).encode_to_vec());
                }
                Some(other) => panic!("{other:?} is no HTTP answer"),
                None => kept.requests.push(request),
            }
            response
        })
    }
}

fn partial(rejected: i64, message: &str) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: message.to_owned(),
        }),
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.look(|kept| {
            kept.arrivals.push(Instant::now());
            kept.headers = request.metadata().clone().into_headers();
            match kept.script.pop_front() {
                Some(Answer::Grpc(code, None)) => Err(Status::new(code, "scripted")),
                Some(Answer::Grpc(code, Some(wait))) => Err(Status::with_error_details(
                    code,
                    "scripted",
                    ErrorDetails::with_retry_info(Some(wait)),
                )),
                Some(Answer::Partial(rejected, message)) => {
                    kept.requests.push(request.into_inner());
                    Ok(Response::new(partial(rejected, message)))
                }
                Some(other) => panic!("{other:?} is no gRPC answer"),
                None => {
                    kept.requests.push(request.into_inner());
                    Ok(Response::new(ExportTraceServiceResponse::default()))
                }
            }
        })
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.look(|kept| {
            kept.headers = request.metadata().clone().into_headers();
            kept.metrics.push(request.into_inner());
        });
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

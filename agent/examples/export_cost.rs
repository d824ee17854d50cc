//! Measures what export costs: CPU time per span of the thread that offers spans and of the export thread.
//!
//! In: nothing (`cargo run --release -p agent --example export_cost [grpc|http] [gzip]`). Out: nanoseconds per span and
//! the share of a core at 40,000 spans/s. The backend runs in this process but on threads that are not counted.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: it stops at the first problem, and its output is its purpose"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::cli::RunArgs;
use agent::config::Config;
use agent::export::Exports;
use agent_common::abi::ProcessKey;
use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::{Evidence, Span, SpanId, SpanKind, Status, TraceId, Value};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::codec::CompressionEncoding;

const RATE: u64 = 40_000;
const SECONDS: u64 = 10;

struct Sink;

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A server span as the tracer makes it.
fn span(number: u64) -> Span {
    let text = |text: &'static str| Value::Str(Cow::Borrowed(text));
    let owned = |text: &str| Value::Str(Cow::Owned(text.to_owned()));
    Span {
        trace_id: TraceId([7; 16]),
        span_id: SpanId((number + 1).to_be_bytes()),
        parent_span_id: Some(SpanId([9; 8])),
        trace_state: None,
        parent_is_remote: true,
        evidence: Evidence::Socket,
        kind: SpanKind::Server,
        name: "GET /users/{id}".to_owned(),
        start_unix_ns: 1_700_000_000_000_000_000 + number * 25_000,
        end_unix_ns: 1_700_000_000_001_000_000 + number * 25_000,
        status: Status::Unset,
        attributes: vec![
            ("http.request.method", text("GET")),
            ("url.scheme", text("http")),
            ("url.path", owned("/users/12345678")),
            ("url.query", owned("page=REDACTED&sort=REDACTED")),
            ("http.response.status_code", Value::Int(200)),
            ("http.response.body.size", Value::Int(5_120)),
            ("http.request.body.size", Value::Int(0)),
            ("server.address", owned("shop.example.internal")),
            ("server.port", Value::Int(8_080)),
            ("client.address", owned("10.1.2.3")),
            ("network.peer.address", owned("10.1.2.3")),
            ("network.peer.port", Value::Int(51_234)),
            ("network.local.address", owned("10.1.2.4")),
            ("network.local.port", Value::Int(8_080)),
            ("network.protocol.name", text("http")),
            ("network.protocol.version", text("1.1")),
            (
                "user_agent.original",
                owned("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            ),
            ("suture.parent.evidence", text("socket")),
        ],
        links: Vec::new(),
        process: ProcessKey::default(),
    }
}

/// CPU time of the threads with this name, ns (first field of schedstat, Documentation/scheduler/sched-stats.rst).
fn cpu_ns(name: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += stat
                .split(' ')
                .next()
                .and_then(|ns| ns.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    sum
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let protocol = if args.iter().any(|arg| arg == "http") {
        "http/protobuf"
    } else {
        "grpc"
    };
    let compression = if args.iter().any(|arg| arg == "gzip") {
        "gzip"
    } else {
        "none"
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("sink")
        .enable_all()
        .build()
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        if protocol == "grpc" {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let service =
                TraceServiceServer::new(Sink).accept_compressed(CompressionEncoding::Gzip);
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
            return;
        }
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(
                    |request: http::Request<hyper::body::Incoming>| async move {
                        http_body_util::BodyExt::collect(request.into_body())
                            .await
                            .unwrap();
                        Ok::<_, std::convert::Infallible>(http::Response::new(
                            http_body_util::Full::<bytes::Bytes>::default(),
                        ))
                    },
                );
                let socket = hyper_util::rt::TokioIo::new(socket);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(socket, service)
                    .await;
            });
        }
    });

    let endpoint = format!("http://{address}");
    let config = Config::load_with(&RunArgs::default(), &|name| {
        Ok(match name {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if protocol == "grpc" => Some(endpoint.clone()),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(format!("{endpoint}/v1/traces")),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" => Some(compression.to_owned()),
            _ => None,
        })
    })
    .unwrap();
    let exports = Exports::start(&config, Arc::new(Vec::new)).unwrap();
    let handle = exports.traces().unwrap();
    let processes: Vec<_> = (0..8)
        .map(|tgid| {
            Arc::new(ProcessFacts {
                tgid,
                start_ns: 1,
                service_name: format!("service-{tgid}"),
                attributes: (0..15)
                    .map(|n| {
                        (
                            format!("process.attribute.{n}"),
                            ResourceValue::Str("value".repeat(4)),
                        )
                    })
                    .collect(),
            })
        })
        .collect();

    let started = Instant::now();
    let mut offering = Duration::ZERO;
    let mut number = 0;
    for tick in 0..SECONDS * 100 {
        let spans: Vec<_> = (0..RATE / 100)
            .map(|n| (span(number + n), n as usize % 8))
            .collect();
        number += RATE / 100;
        let before = Instant::now();
        for (span, process) in spans {
            handle.enqueue(span, Arc::clone(&processes[process]));
        }
        offering += before.elapsed();
        let next = Duration::from_millis(10 * (tick + 1));
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    let sending = cpu_ns("suture-export") + cpu_ns("tokio-rt-worker"); // the second: compression beside the loop
    let rows = exports.shutdown(Duration::from_secs(10));
    let sent = rows
        .iter()
        .find(|row| row.metric == "suture.export.spans.sent")
        .map_or(0, |row| row.value);
    let total = offering.as_nanos() as u64 + sending;
    println!(
        "{protocol} {compression}: {number} spans offered, {sent} sent; per span {} ns to encode, {} ns to send; {:.1} % of a core at {RATE} spans/s",
        offering.as_nanos() as u64 / number,
        sending / number,
        total as f64 / SECONDS as f64 / 1e7
    );
}

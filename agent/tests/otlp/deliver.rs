//! Spans arrive whole, over both protocols.

use std::sync::Arc;
use std::time::Duration;

use agent::config::{Compression, Protocol, Target};
use agent::export::{ExportThread, RetryPolicy, SCHEMA_URL, TraceExporter};
use agent_trace::frame::ResourceValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::receiver::{Answer, Receiver};
use crate::samples::{facts, queue, small, span, target};

/// Retries that make tests quick.
pub const QUICK: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(100),
};

/// A receiver on one protocol and the exporter's settings for it.
pub fn serve(receiver: &Receiver, runtime: &tokio::runtime::Runtime, protocol: Protocol) -> Target {
    let address = match protocol {
        Protocol::Grpc => receiver.serve_grpc(runtime),
        Protocol::HttpProtobuf => receiver.serve_http(runtime),
    };
    target(address, protocol)
}

fn string(text: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(text.to_owned())),
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn list(items: &[&str]) -> any_value::Value {
    any_value::Value::ArrayValue(ArrayValue {
        values: items.iter().map(|item| string(item)).collect(),
    })
}

fn expected(number: u64) -> otlp::Span {
    use any_value::Value::{BoolValue, IntValue, StringValue};
    otlp::Span {
        trace_id: vec![7; 16],
        span_id: (number + 1).to_be_bytes().to_vec(),
        trace_state: "a=b".to_owned(),
        parent_span_id: vec![9; 8],
        flags: 0x301,
        name: "GET /users/{id}".to_owned(),
        kind: otlp::span::SpanKind::Server as i32,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_123_456_789,
        attributes: vec![
            attribute("http.request.method", StringValue("GET".to_owned())),
            attribute("http.response.status_code", IntValue(500)),
            attribute("negative", IntValue(-1)),
            attribute("flag", BoolValue(true)),
            attribute("http.request.header.x", list(&["1", ""])),
            attribute("long", StringValue("é".repeat(9_000))),
            attribute("suture.parent.evidence", StringValue("header".to_owned())),
        ],
        links: vec![otlp::span::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            attributes: vec![attribute("why", StringValue("retry".to_owned()))],
            ..otlp::span::Link::default()
        }],
        status: Some(otlp::Status {
            message: "broken pipe".to_owned(),
            code: otlp::status::StatusCode::Error as i32,
        }),
        ..otlp::Span::default()
    }
}

fn check_every_field_arrives(protocol: Protocol, compression: Compression) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = Receiver::default();
    let mut target = serve(&receiver, &runtime, protocol);
    target.compression = compression;
    let thread = ExportThread::start().unwrap();
    let extra = vec![
        (
            "deployment.environment.name".to_owned(),
            ResourceValue::Str("prod".to_owned()),
        ),
        (
            "host.name".to_owned(),
            ResourceValue::Str("not this".to_owned()),
        ),
        (
            "service.name".to_owned(),
            ResourceValue::Str("nor this".to_owned()),
        ),
    ];
    let exporter = TraceExporter::start(&thread, &target, &queue(), extra, QUICK).unwrap();
    let (one, two) = (facts(1), facts(2));
    assert!(exporter.handle().enqueue(span(0), Arc::clone(&one)));
    assert!(exporter.handle().enqueue(span(1), Arc::clone(&two)));
    assert!(exporter.handle().enqueue(span(2), one));
    receiver.wait("one request", |kept| kept.requests.len() == 1);
    let (request, headers) = receiver.look(|kept| (kept.requests.remove(0), kept.headers.clone()));

    assert_eq!(headers["x-tenant"], "t 1");
    assert!(
        headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("suture/")
    );
    let [first, second] = request.resource_spans.as_slice() else {
        panic!("not one per process")
    };
    let attributes = first.resource.as_ref().unwrap().attributes.clone();
    assert_eq!(
        attributes,
        [
            attribute(
                "service.name",
                any_value::Value::StringValue("service-1".to_owned())
            ),
            attribute("process.pid", any_value::Value::IntValue(1)),
            attribute(
                "host.name",
                any_value::Value::StringValue("häst".to_owned())
            ),
            attribute("process.command_args", list(&["a", "b c"])),
            attribute(
                "deployment.environment.name",
                any_value::Value::StringValue("prod".to_owned())
            ),
        ]
    );
    assert_eq!(first.schema_url, SCHEMA_URL);
    let scope = &first.scope_spans[0];
    assert_eq!(scope.schema_url, SCHEMA_URL);
    let name = scope.scope.as_ref().unwrap();
    assert_eq!(
        (name.name.as_str(), name.version.as_str()),
        ("suture", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(scope.spans, [expected(0), expected(2)]);
    assert_eq!(second.scope_spans[0].spans, [expected(1)]);

    // The sender has the answer a moment after the receiver gave it.
    let counters = exporter.counters();
    exporter.shutdown(&thread, Duration::from_secs(5));
    assert_eq!(
        (
            counters.sent(),
            counters.dropped_total(),
            counters.retries()
        ),
        (3, 0, 0)
    );
}

#[test]
fn every_field_arrives_over_grpc() {
    check_every_field_arrives(Protocol::Grpc, Compression::None);
}

#[test]
fn every_field_arrives_over_grpc_compressed() {
    check_every_field_arrives(Protocol::Grpc, Compression::Gzip);
}

#[test]
fn every_field_arrives_over_http() {
    check_every_field_arrives(Protocol::HttpProtobuf, Compression::None);
}

#[test]
fn every_field_arrives_over_http_compressed() {
    check_every_field_arrives(Protocol::HttpProtobuf, Compression::Gzip);
}

#[test]
fn ending_delivers_what_is_held_at_once() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let target = serve(&receiver, &runtime, protocol);
        let thread = ExportThread::start().unwrap();
        let mut bounds = queue();
        bounds.schedule_delay = Duration::from_secs(3_600);
        bounds.max_batch_spans = 100;
        let exporter = TraceExporter::start(&thread, &target, &bounds, Vec::new(), QUICK).unwrap();
        let facts = facts(1);
        for number in 0..1_050 {
            assert!(exporter.handle().enqueue(small(number), Arc::clone(&facts)));
        }
        let handle = exporter.handle();
        let counters = exporter.counters();
        exporter.shutdown(&thread, Duration::from_secs(10));
        assert_eq!(receiver.look(|kept| kept.spans().len()), 1_050);
        assert_eq!(receiver.look(|kept| kept.requests.len()), 11);
        assert_eq!(counters.sent(), 1_050);
        assert_eq!(handle.held(), (0, 0));
        assert!(
            !handle.enqueue(small(0), facts),
            "a closed exporter takes nothing"
        );
        assert_eq!(counters.dropped(agent::export::Drop::Closed), 1);
    }
}

#[test]
fn requests_stay_below_the_usual_message_limit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = Receiver::default();
    // tonic's receiver refuses messages over 4 MiB, as most gRPC servers do.
    let target = serve(&receiver, &runtime, Protocol::Grpc);
    let thread = ExportThread::start().unwrap();
    let exporter = TraceExporter::start(&thread, &target, &queue(), Vec::new(), QUICK).unwrap();
    let facts = facts(1);
    for number in 0..600 {
        assert!(exporter.handle().enqueue(span(number), Arc::clone(&facts))); // 18 kB each
    }
    let counters = exporter.counters();
    exporter.shutdown(&thread, Duration::from_secs(10));
    assert_eq!((counters.sent(), counters.dropped_total()), (600, 0));
    assert!(receiver.look(|kept| kept.requests.len()) >= 4);
}

#[test]
fn rejected_spans_are_counted() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::with([Answer::Partial(3, "too old")]);
        let target = serve(&receiver, &runtime, protocol);
        let thread = ExportThread::start().unwrap();
        let exporter = TraceExporter::start(&thread, &target, &queue(), Vec::new(), QUICK).unwrap();
        for number in 0..10 {
            exporter.handle().enqueue(small(number), facts(1));
        }
        let counters = exporter.counters();
        exporter.shutdown(&thread, Duration::from_secs(10));
        assert_eq!(counters.sent(), 7);
        assert_eq!(counters.dropped(agent::export::Drop::Rejected), 3);
        assert_eq!(counters.retries(), 0, "a partial success is not retried");
    }
}

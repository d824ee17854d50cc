//! Spans and processes as the tracer and enrichment make them, and settings that point at a test's receiver.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::config::{self, Compression, Protocol, Target, TlsFiles};
use agent_common::abi::ProcessKey;
use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::{Evidence, Link, Span, SpanId, SpanKind, Status, TraceId, Value};

/// A process's facts; `tgid` is in its name.
pub fn facts(tgid: u32) -> Arc<ProcessFacts> {
    Arc::new(ProcessFacts {
        tgid,
        start_ns: 5,
        service_name: format!("service-{tgid}"),
        attributes: vec![
            (
                "process.pid".to_owned(),
                ResourceValue::Int(i64::from(tgid)),
            ),
            (
                "host.name".to_owned(),
                ResourceValue::Str("häst".to_owned()),
            ),
            (
                "process.command_args".to_owned(),
                ResourceValue::List(vec!["a".to_owned(), "b c".to_owned()]),
            ),
        ],
    })
}

/// A span with every field in use. `number` is in its id.
pub fn span(number: u64) -> Span {
    Span {
        trace_id: TraceId([7; 16]),
        span_id: SpanId((number + 1).to_be_bytes()),
        parent_span_id: Some(SpanId([9; 8])),
        trace_state: Some("a=b".to_owned()),
        parent_is_remote: true,
        evidence: Evidence::Header,
        kind: SpanKind::Server,
        name: "GET /users/{id}".to_owned(),
        start_unix_ns: 1_700_000_000_000_000_000,
        end_unix_ns: 1_700_000_000_123_456_789,
        status: Status::Error(Cow::Borrowed("broken pipe")),
        attributes: vec![
            ("http.request.method", Value::Str(Cow::Borrowed("GET"))),
            ("http.response.status_code", Value::Int(500)),
            ("negative", Value::Int(-1)),
            ("flag", Value::Bool(true)),
            (
                "http.request.header.x",
                Value::List(vec!["1".to_owned(), String::new()]),
            ),
            ("long", Value::Str(Cow::Owned("é".repeat(9_000)))),
            (
                "suture.parent.evidence",
                Value::Str(Cow::Borrowed("header")),
            ),
        ],
        links: vec![Link {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            attributes: vec![("why", Value::Str(Cow::Borrowed("retry")))],
        }],
        process: ProcessKey {
            start_ns: 5,
            tgid: 1,
            zero: 0,
        },
    }
}

/// A small span.
pub fn small(number: u64) -> Span {
    let mut span = span(number);
    span.attributes.retain(|(key, _)| *key != "long");
    span
}

/// Settings that send to `address`.
pub fn target(address: SocketAddr, protocol: Protocol) -> Target {
    let path = match protocol {
        Protocol::Grpc => "/",
        Protocol::HttpProtobuf => "/v1/traces",
    };
    Target {
        uri: format!("http://{address}{path}").parse().unwrap(),
        protocol,
        headers: std::iter::once((
            http::HeaderName::from_static("x-tenant"),
            http::HeaderValue::from_static("t 1"),
        ))
        .collect(),
        timeout: Duration::from_millis(400),
        compression: Compression::None,
        tls: TlsFiles::default(),
    }
}

/// Queue bounds that make tests quick.
pub fn queue() -> config::Queue {
    config::Queue {
        schedule_delay: Duration::from_millis(50),
        ..config::Queue::default()
    }
}

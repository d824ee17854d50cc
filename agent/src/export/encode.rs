//! Spans and Resources as OTLP protobuf (opentelemetry-proto v1, `trace/v1/trace.proto`).
//!
//! In: a finished [`Span`], the facts of its process. Out: bytes. Written by hand because a host's agent encodes tens of
//! thousands of spans per second, and the generated types need some 50 allocations per span before the first byte.
//! Always holds: the generated types decode these bytes to the same span (tested). Refuses: nothing.

use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::{Link, Span, SpanKind, Status, Value};

use super::wire::{
    bytes, fixed32, fixed64, key_and_number, key_and_text, long_message, message, uint,
};

/// Instrumentation scope name of every span and metric.
pub const SCOPE_NAME: &str = "suture";
/// Instrumentation scope version.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Version of the semantic conventions the attributes follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.38.0";

/// W3C trace flag `sampled`: every exported span was sampled.
const FLAG_SAMPLED: u32 = 0x01;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const FLAG_IS_REMOTE: u32 = 0x200;

/// Number of a kind in `Span.SpanKind`.
pub const fn kind_number(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// `Status.STATUS_CODE_ERROR`.
pub const STATUS_ERROR: u8 = 2;

/// `Span.flags`.
pub const fn flags(span: &Span) -> u32 {
    let remote = if span.parent_is_remote {
        FLAG_IS_REMOTE
    } else {
        0
    };
    FLAG_SAMPLED | FLAG_HAS_IS_REMOTE | remote
}

/// Appends `span` as one element of `ScopeSpans.spans`.
pub fn span(buf: &mut Vec<u8>, span: &Span) {
    long_message(buf, 2, |buf| {
        bytes(buf, 1, &span.trace_id.0);
        bytes(buf, 2, &span.span_id.0);
        if let Some(trace_state) = span.trace_state.as_ref().filter(|state| !state.is_empty()) {
            bytes(buf, 3, trace_state.as_bytes());
        }
        if let Some(parent) = &span.parent_span_id {
            bytes(buf, 4, &parent.0);
        }
        bytes(buf, 5, span.name.as_bytes());
        uint(buf, 6, u64::from(kind_number(span.kind)));
        fixed64(buf, 7, span.start_unix_ns);
        fixed64(buf, 8, span.end_unix_ns);
        for (key, value) in &span.attributes {
            attribute(buf, 9, key, value);
        }
        for item in &span.links {
            link(buf, item);
        }
        if let Status::Error(description) = &span.status {
            message(buf, 15, |buf| {
                if !description.is_empty() {
                    bytes(buf, 2, description.as_bytes());
                }
                uint(buf, 3, u64::from(STATUS_ERROR));
            });
        }
        fixed32(buf, 16, flags(span));
    });
}

fn link(buf: &mut Vec<u8>, link: &Link) {
    message(buf, 13, |buf| {
        bytes(buf, 1, &link.trace_id.0);
        bytes(buf, 2, &link.span_id.0);
        for (key, value) in &link.attributes {
            attribute(buf, 4, key, value);
        }
    });
}

fn attribute(buf: &mut Vec<u8>, field: u32, key: &str, value: &Value) {
    match value {
        Value::Str(text) => key_and_text(buf, field, key, text),
        Value::Bool(value) => key_and_number(buf, field, key, 2, u64::from(*value)),
        Value::Int(value) => key_and_number(buf, field, key, 3, *value as u64),
        Value::List(items) => message(buf, field, |buf| {
            bytes(buf, 1, key.as_bytes());
            message(buf, 2, |buf| string_list(buf, items));
        }),
    }
}

/// `AnyValue.array_value` of strings.
fn string_list(buf: &mut Vec<u8>, items: &[String]) {
    message(buf, 5, |buf| {
        for item in items {
            message(buf, 1, |buf| bytes(buf, 1, item.as_bytes()));
        }
    });
}

/// Appends `ResourceSpans.resource`. `extra` is added where the process has no value of its own.
pub fn resource(buf: &mut Vec<u8>, facts: &ProcessFacts, extra: &[(String, ResourceValue)]) {
    message(buf, 1, |buf| {
        message(buf, 1, |buf| {
            bytes(buf, 1, b"service.name");
            message(buf, 2, |buf| bytes(buf, 1, facts.service_name.as_bytes()));
        });
        for (key, value) in resource_attributes(facts, extra) {
            message(buf, 1, |buf| {
                bytes(buf, 1, key.as_bytes());
                message(buf, 2, |buf| match value {
                    ResourceValue::Str(text) => bytes(buf, 1, text.as_bytes()),
                    ResourceValue::Int(value) => uint(buf, 3, *value as u64),
                    ResourceValue::List(items) => string_list(buf, items),
                });
            });
        }
    });
}

/// A Resource's attributes beside `service.name`: the process's, then those of `extra` it does not have.
pub fn resource_attributes<'a>(
    facts: &'a ProcessFacts,
    extra: &'a [(String, ResourceValue)],
) -> impl Iterator<Item = (&'a str, &'a ResourceValue)> {
    let own = facts.attributes.iter();
    let added = extra.iter().filter(|(key, _)| {
        key != "service.name" && !facts.attributes.iter().any(|(own, _)| own == key)
    });
    own.chain(added).map(|(key, value)| (key.as_str(), value))
}

/// Appends one element of `ExportTraceServiceRequest.resource_spans`: a Resource and its already encoded spans.
pub fn resource_spans(
    buf: &mut Vec<u8>,
    facts: &ProcessFacts,
    extra: &[(String, ResourceValue)],
    spans: &[u8],
) {
    message(buf, 1, |buf| {
        resource(buf, facts, extra);
        message(buf, 2, |buf| {
            message(buf, 1, |buf| {
                bytes(buf, 1, SCOPE_NAME.as_bytes());
                bytes(buf, 2, SCOPE_VERSION.as_bytes());
            });
            buf.extend_from_slice(spans);
            bytes(buf, 3, SCHEMA_URL.as_bytes());
        });
        bytes(buf, 3, SCHEMA_URL.as_bytes());
    });
}

//! Spans as OTLP-JSON, one object per line.
//!
//! In: a finished span, the facts of its process. Out: a line that is a whole `ExportTraceServiceRequest` (so the
//! Collector's `otlpjsonfile` receiver reads it). Always holds: ids are lower-case hex, 64-bit integers are strings,
//! enums are numbers (OTLP specification, "JSON Protobuf Encoding"); the same span gives the same bytes. Refuses: nothing.

use std::fmt::Write;

use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::{Link, Span, Status, Value};

use super::text::hex;
use crate::export::{
    SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION, STATUS_ERROR, flags, kind_number, resource_attributes,
};

/// Appends one line. `extra` are the attributes of `[resource]`.
pub fn line(
    out: &mut String,
    span: &Span,
    facts: &ProcessFacts,
    extra: &[(String, ResourceValue)],
) {
    out.push_str(r#"{"resourceSpans":[{"resource":{"attributes":["#);
    key(out, "service.name");
    string_value(out, &facts.service_name);
    out.push('}');
    for (name, value) in resource_attributes(facts, extra) {
        out.push(',');
        key(out, name);
        match value {
            ResourceValue::Str(text) => string_value(out, text),
            ResourceValue::Int(number) => int_value(out, *number),
            ResourceValue::List(items) => list_value(out, items),
        }
        out.push('}');
    }
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        r#"]}},"scopeSpans":[{{"scope":{{"name":"{SCOPE_NAME}","version":"{SCOPE_VERSION}"}},"spans":["#
    );
    object(out, span);
    let _ = writeln!(
        out,
        r#"],"schemaUrl":"{SCHEMA_URL}"}}],"schemaUrl":"{SCHEMA_URL}"}}]}}"#
    );
}

fn object(out: &mut String, span: &Span) {
    ids(out, &span.trace_id.0, &span.span_id.0);
    if let Some(state) = span.trace_state.as_ref().filter(|state| !state.is_empty()) {
        out.push_str(r#","traceState":"#);
        string(out, state);
    }
    if let Some(parent) = &span.parent_span_id {
        out.push_str(r#","parentSpanId":""#);
        hex(out, &parent.0);
        out.push('"');
    }
    let _ = write!(out, r#","flags":{},"name":"#, flags(span));
    string(out, &span.name);
    let _ = write!(
        out,
        r#","kind":{},"startTimeUnixNano":"{}","endTimeUnixNano":"{}","attributes":["#,
        kind_number(span.kind),
        span.start_unix_ns,
        span.end_unix_ns
    );
    attributes(out, &span.attributes);
    out.push(']');
    if !span.links.is_empty() {
        out.push_str(r#","links":["#);
        for (index, link) in span.links.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            link_object(out, link);
        }
        out.push(']');
    }
    if let Status::Error(description) = &span.status {
        out.push_str(r#","status":{"#);
        if !description.is_empty() {
            out.push_str(r#""message":"#);
            string(out, description);
            out.push(',');
        }
        let _ = write!(out, r#""code":{STATUS_ERROR}}}"#);
    }
    out.push('}');
}

fn link_object(out: &mut String, link: &Link) {
    ids(out, &link.trace_id.0, &link.span_id.0);
    out.push_str(r#","attributes":["#);
    attributes(out, &link.attributes);
    out.push_str("]}");
}

/// Opens an object with its two ids.
fn ids(out: &mut String, trace_id: &[u8], span_id: &[u8]) {
    out.push_str(r#"{"traceId":""#);
    hex(out, trace_id);
    out.push_str(r#"","spanId":""#);
    hex(out, span_id);
    out.push('"');
}

fn attributes(out: &mut String, attributes: &[(&'static str, Value)]) {
    for (index, (name, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        key(out, name);
        match value {
            Value::Str(text) => string_value(out, text),
            Value::Int(number) => int_value(out, *number),
            Value::Bool(flag) => {
                let _ = write!(out, r#"{{"boolValue":{flag}}}"#);
            }
            Value::List(items) => list_value(out, items),
        }
        out.push('}');
    }
}

/// Opens an attribute up to its value.
fn key(out: &mut String, name: &str) {
    out.push_str(r#"{"key":"#);
    string(out, name);
    out.push_str(r#","value":"#);
}

fn string_value(out: &mut String, text: &str) {
    out.push_str(r#"{"stringValue":"#);
    string(out, text);
    out.push('}');
}

fn int_value(out: &mut String, number: i64) {
    let _ = write!(out, r#"{{"intValue":"{number}"}}"#);
}

fn list_value(out: &mut String, items: &[String]) {
    out.push_str(r#"{"arrayValue":{"values":["#);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        string_value(out, item);
    }
    out.push_str("]}}");
}

/// Appends a JSON string (RFC 8259, section 7). U+007F to U+009F are escaped too, because terminals obey them.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

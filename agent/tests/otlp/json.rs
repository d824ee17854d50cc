//! The JSON lines mean the same as what goes over the wire.

use agent::config::Protocol;
use agent::export::{ExportThread, TraceExporter};
use agent::view::json;
use agent_trace::frame::ResourceValue;
use agent_trace::span::{Span, SpanKind, Status};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use std::time::Duration;

use crate::deliver::{QUICK, serve};
use crate::receiver::Receiver;
use crate::samples::{facts, queue, small, span};

/// Spans that differ in what they leave out.
fn spans() -> Vec<Span> {
    let mut root = small(10);
    root.parent_span_id = None;
    root.parent_is_remote = false;
    root.trace_state = None;
    root.status = Status::Unset;
    root.links.clear();
    root.kind = SpanKind::Client;
    let mut strange = small(11);
    strange.name = "GET /\u{1}\u{7f}\"\\\n\r\t\u{2028}é日".to_owned();
    strange.status = Status::Error("".into());
    strange.attributes.clear();
    vec![span(9), root, strange]
}

#[test]
fn json_lines_hold_what_the_wire_holds() {
    let extra = vec![("team".to_owned(), ResourceValue::Int(-7))];
    for span in spans() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let receiver = Receiver::default();
        let target = serve(&receiver, &runtime, Protocol::Grpc);
        let thread = ExportThread::start().unwrap();
        let exporter =
            TraceExporter::start(&thread, &target, &queue(), extra.clone(), QUICK).unwrap();
        let mut line = String::new();
        json::line(&mut line, &span, &facts(1), &extra);
        exporter.handle().enqueue(span, facts(1));
        exporter.shutdown(&thread, Duration::from_secs(5));
        let wire = receiver.look(|kept| kept.requests.remove(0));

        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n'));
        let read: ExportTraceServiceRequest = serde_json::from_str(&line).unwrap();
        assert_eq!(read, wire, "{line}");
    }
}

#[test]
fn a_line_has_the_forms_otlp_json_asks_for() {
    let mut line = String::new();
    json::line(&mut line, &small(9), &facts(1), &[]);
    for part in [
        r#""traceId":"07070707070707070707070707070707""#,
        r#""spanId":"000000000000000a""#,
        r#""parentSpanId":"0909090909090909""#,
        r#""startTimeUnixNano":"1700000000000000000""#,
        r#""kind":2"#,
        r#"{"key":"http.response.status_code","value":{"intValue":"500"}}"#,
        r#"{"key":"flag","value":{"boolValue":true}}"#,
        r#""status":{"message":"broken pipe","code":2}"#,
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

//! The receiver itself, without an agent: hand-made exports over gRPC and HTTP arrive as they were sent.

use std::io::Write;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Wire};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::SpanKind,
};
use prost::Message;
use suture_tests::client::{Connection, request};
use suture_tests::receiver::Mood;
use suture_tests::span::StatusCode;
use suture_tests::{Kind, Receiver, Value};

fn pair(key: &str, value: Wire) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn export() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "GET /work/{id}".to_owned(),
        kind: SpanKind::Server as i32,
        start_time_unix_nano: 10,
        end_time_unix_nano: 30,
        attributes: vec![
            pair("url.path", Wire::StringValue("/work/1".to_owned())),
            pair("http.response.status_code", Wire::IntValue(500)),
            pair("url.path", Wire::StringValue("/work/2".to_owned())),
        ],
        status: Some(Status {
            code: 2,
            message: "told".to_owned(),
        }),
        ..Span::default()
    };
    let resource = Resource {
        attributes: vec![pair("service.name", Wire::StringValue("shop".to_owned()))],
        ..Resource::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn check_received(receiver: &Receiver) {
    let spans = receiver
        .wait_until(|spans| !spans.is_empty(), Duration::from_secs(5))
        .unwrap();
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(
        (span.trace_id.as_slice(), span.span_id.as_slice()),
        ([1; 16].as_slice(), [2; 8].as_slice())
    );
    assert_eq!(span.parent.as_deref(), Some([3; 8].as_slice()));
    assert_eq!(
        (span.kind, span.status, span.duration_ns()),
        (Kind::Server, StatusCode::Error, 20)
    );
    assert_eq!(span.attr("http.response.status_code"), Value::Int(500));
    assert_eq!(span.repeated_keys, ["url.path"]);
    assert_eq!(span.resource_text("service.name"), "shop");
}

#[test]
fn grpc_export_is_received_as_sent() {
    let receiver = Receiver::start().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = TraceServiceClient::connect(receiver.grpc_endpoint())
            .await
            .unwrap()
            .send_compressed(tonic::codec::CompressionEncoding::Gzip);
        client.export(export()).await.unwrap();
        receiver.set_mood(Mood::Unavailable);
        let refused = client.export(export()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        receiver.set_mood(Mood::Accept);
    });
    assert_eq!(receiver.exports(), 2);
    check_received(&receiver);
}

#[test]
fn http_export_is_received_as_sent() {
    for gzip in [false, true] {
        let receiver = Receiver::start().unwrap();
        let port = receiver
            .http_endpoint()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let mut body = export().encode_to_vec();
        let mut headers = vec![("Content-Type", "application/x-protobuf")];
        if gzip {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&body).unwrap();
            body = encoder.finish().unwrap();
            headers.push(("Content-Encoding", "gzip"));
        }
        let mut connection = Connection::local(port).unwrap();
        connection
            .send(&request("POST", "/v1/traces", &headers, &body))
            .unwrap();
        assert_eq!(
            connection.answer(false).unwrap().status,
            200,
            "gzip: {gzip}"
        );
        check_received(&receiver);
        receiver.set_mood(Mood::Unavailable);
        connection
            .send(&request("POST", "/v1/traces", &headers, &body))
            .unwrap();
        assert_eq!(connection.answer(false).unwrap().status, 503);
        connection
            .send(&request("GET", "/other", &[], b""))
            .unwrap();
        assert_eq!(connection.answer(false).unwrap().status, 404);
        assert_eq!(receiver.settle(Duration::from_millis(50)).len(), 1);
    }
}

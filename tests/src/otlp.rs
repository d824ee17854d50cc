//! OTLP's messages -> [`ReceivedSpan`]s and [`MetricPoint`]s.
//!
//! Always holds: order kept, nothing merged; a key that occurs twice in a span is remembered as a defect.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, Span, span::SpanKind, status::StatusCode as WireStatus,
};

use crate::span::{Attributes, Kind, ReceivedLink, ReceivedSpan, StatusCode, Value};

/// One point of a sum or gauge.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Name of the metric.
    pub name: String,
    /// Attributes of the point.
    pub attributes: Attributes,
    /// Value; ints are exact up to 2^53.
    pub value: f64,
}

fn value_of(value: Option<&AnyValue>) -> Value {
    match value.and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => Value::Str(text.clone()),
        Some(any_value::Value::BoolValue(yes)) => Value::Bool(*yes),
        Some(any_value::Value::IntValue(number)) => Value::Int(*number),
        Some(any_value::Value::DoubleValue(number)) => Value::Double(*number),
        Some(any_value::Value::ArrayValue(array)) => Value::List(
            array
                .values
                .iter()
                .map(|item| value_of(Some(item)))
                .collect(),
        ),
        _ => Value::Other,
    }
}

fn attributes_of(pairs: &[KeyValue]) -> (Attributes, Vec<String>) {
    let mut attributes = Attributes::new();
    let mut repeated = Vec::new();
    for pair in pairs {
        if attributes
            .insert(pair.key.clone(), value_of(pair.value.as_ref()))
            .is_some()
        {
            repeated.push(pair.key.clone());
        }
    }
    (attributes, repeated)
}

fn span_of(span: &Span, resource: &Attributes) -> ReceivedSpan {
    let (attributes, repeated_keys) = attributes_of(&span.attributes);
    let status = span.status.as_ref();
    ReceivedSpan {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        parent: (!span.parent_span_id.is_empty()).then(|| span.parent_span_id.clone()),
        trace_state: span.trace_state.clone(),
        flags: span.flags,
        kind: match SpanKind::try_from(span.kind) {
            Ok(SpanKind::Internal) => Kind::Internal,
            Ok(SpanKind::Server) => Kind::Server,
            Ok(SpanKind::Client) => Kind::Client,
            Ok(SpanKind::Producer) => Kind::Producer,
            Ok(SpanKind::Consumer) => Kind::Consumer,
            _ => Kind::Unspecified,
        },
        name: span.name.clone(),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: match status.map(|status| status.code()) {
            Some(WireStatus::Ok) => StatusCode::Ok,
            Some(WireStatus::Error) => StatusCode::Error,
            _ => StatusCode::Unset,
        },
        status_message: status
            .map(|status| status.message.clone())
            .unwrap_or_default(),
        attributes,
        repeated_keys,
        resource: resource.clone(),
        links: span
            .links
            .iter()
            .map(|link| ReceivedLink {
                trace_id: link.trace_id.clone(),
                span_id: link.span_id.clone(),
                attributes: attributes_of(&link.attributes).0,
            })
            .collect(),
    }
}

/// Every span of the message.
pub fn spans_of(message: &[ResourceSpans]) -> Vec<ReceivedSpan> {
    let mut spans = Vec::new();
    for group in message {
        let resource = group
            .resource
            .as_ref()
            .map(|resource| attributes_of(&resource.attributes).0)
            .unwrap_or_default();
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push(span_of(span, &resource));
        }
    }
    spans
}

/// `service.name` and SpanKind of every span, for counting.
pub fn kinds_of(message: &[ResourceSpans]) -> Vec<(String, i32)> {
    let mut kinds = Vec::new();
    for group in message {
        let attributes = group
            .resource
            .as_ref()
            .map_or(&[][..], |resource| resource.attributes.as_slice());
        let named = attributes
            .iter()
            .find(|pair| pair.key == "service.name")
            .map(|pair| value_of(pair.value.as_ref()));
        let service = named.map_or_else(|| "(unnamed)".to_owned(), |value| value.to_string());
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            kinds.push((service.clone(), span.kind));
        }
    }
    kinds
}

/// Every point of every sum and gauge of the message.
pub fn points_of(message: &[ResourceMetrics]) -> Vec<MetricPoint> {
    let mut points = Vec::new();
    for metric in message
        .iter()
        .flat_map(|group| &group.scope_metrics)
        .flat_map(|scope| &scope.metrics)
    {
        let data_points = match &metric.data {
            Some(metric::Data::Sum(sum)) => &sum.data_points,
            Some(metric::Data::Gauge(gauge)) => &gauge.data_points,
            _ => continue,
        };
        for point in data_points {
            points.push(MetricPoint {
                name: metric.name.clone(),
                attributes: attributes_of(&point.attributes).0,
                value: match point.value {
                    Some(number_data_point::Value::AsInt(number)) => number as f64,
                    Some(number_data_point::Value::AsDouble(number)) => number,
                    None => f64::NAN,
                },
            });
        }
    }
    points
}

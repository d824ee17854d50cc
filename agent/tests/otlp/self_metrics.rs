//! The agent's own counters arrive as OTLP metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent::cli::RunArgs;
use agent::config::Config;
use agent::export::{Exports, Kind, Row, SnapshotProvider, summary};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};

use crate::receiver::Receiver;
use crate::samples::{facts, small};

/// All points of the last request: (metric, reason, value), sorted.
fn points(receiver: &Receiver) -> Vec<(String, String, i64)> {
    let request = receiver.look(|kept| kept.metrics.last().cloned()).unwrap();
    let mut points = Vec::new();
    for metric in request
        .resource_metrics
        .iter()
        .flat_map(|r| &r.scope_metrics)
        .flat_map(|s| &s.metrics)
    {
        let data = match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic);
                &sum.data_points
            }
            metric::Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{other:?}"),
        };
        for point in data {
            let reason = point.attributes.first().map_or(String::new(), |attribute| {
                assert_eq!(attribute.key, "reason");
                format!(
                    "{:?}",
                    attribute.value.as_ref().unwrap().value.as_ref().unwrap()
                )
            });
            let Some(number_data_point::Value::AsInt(value)) = point.value else {
                panic!("not a whole number")
            };
            points.push((metric.name.clone(), reason, value));
        }
    }
    points.sort();
    points
}

fn check(protocol: &str, compression: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = Receiver::default();
    let address = match protocol {
        "grpc" => receiver.serve_grpc(&runtime),
        _ => receiver.serve_http(&runtime),
    };
    let endpoint = format!("http://{address}");
    let config = Config::load_with(&RunArgs::default(), &|name| {
        Ok(match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" => Some(compression.to_owned()),
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-tenant=t%201".to_owned()),
            "OTEL_METRIC_EXPORT_INTERVAL" => Some("100".to_owned()),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("team=infra".to_owned()),
            _ => None,
        })
    })
    .unwrap();
    let seen = Arc::new(AtomicU64::new(3));
    let rows = Arc::clone(&seen);
    let taken = Arc::new(AtomicU64::new(0));
    let snapshots = Arc::clone(&taken);
    let provider: SnapshotProvider = Arc::new(move || {
        snapshots.fetch_add(1, Ordering::Relaxed);
        let row = |reason, value| Row {
            metric: "suture.kernel.records",
            kind: Kind::Counter,
            reason: Some(reason),
            value,
            meaning: " Records.",
        };
        vec![
            row("ring_full", rows.load(Ordering::Relaxed)),
            row("conns_full", 0),
        ]
    });
    let exports = Exports::start(&config, provider).unwrap();
    receiver.wait("the first metrics", |kept| !kept.metrics.is_empty());
    seen.store(7, Ordering::Relaxed);
    assert!(exports.traces().unwrap().enqueue(small(1), facts(1)));
    let last = exports.shutdown(Duration::from_secs(10));

    assert_eq!(receiver.look(|kept| kept.spans().len()), 1);
    // One for each export, and those that say which metrics there are and what the summary is made of.
    let exports = receiver.look(|kept| kept.metrics.len()) as u64;
    let taken = taken.load(Ordering::Relaxed);
    assert!(
        (exports..=exports + 3).contains(&taken),
        "{taken} snapshots for {exports} exports"
    );
    let points = points(&receiver);
    let value = |metric: &str, reason: &str| {
        let found = points
            .iter()
            .find(|(name, why, _)| name == metric && why.contains(reason));
        found.map(|(_, _, value)| *value)
    };
    assert_eq!(
        value("suture.kernel.records", "ring_full"),
        Some(7),
        "{points:?}"
    );
    assert_eq!(value("suture.kernel.records", "conns_full"), Some(0));
    assert_eq!(
        value("suture.export.spans.sent", ""),
        Some(1),
        "the last metrics count the last spans"
    );
    assert_eq!(value("suture.export.spans.dropped", "queue_full"), Some(0));
    assert_eq!(value("suture.export.queue.spans", ""), Some(0));
    let resource = receiver.look(|kept| {
        kept.metrics[0].resource_metrics[0]
            .resource
            .clone()
            .unwrap()
    });
    let text = format!("{resource:?}");
    for part in ["service.name", "suture", "service.version", "team", "infra"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(
        receiver.look(|kept| kept.headers["x-tenant"].clone()),
        "t 1"
    );
    let summary = summary(&last);
    assert!(
        summary.contains("7  Records. [suture.kernel.records{reason=ring_full}]"),
        "{summary}"
    );
    assert!(
        summary.contains("1  Spans the backend accepted. [suture.export.spans.sent]"),
        "{summary}"
    );
    assert!(
        !summary.contains("conns_full"),
        "zero rows are left out: {summary}"
    );
}

#[test]
fn metrics_arrive_over_grpc() {
    check("grpc", "none");
    check("grpc", "gzip");
}

#[test]
fn metrics_arrive_over_http() {
    check("http/protobuf", "none");
    check("http/protobuf", "gzip");
}

#[test]
fn nothing_is_started_without_an_endpoint() {
    let config = Config::load_with(&RunArgs::default(), &|_| Ok(None)).unwrap();
    let exports = Exports::start(&config, Arc::new(Vec::new)).unwrap();
    assert!(exports.traces().is_none());
    assert!(exports.shutdown(Duration::from_secs(1)).is_empty());
    assert_eq!(summary(&[]), "suture: nothing was seen, nothing was lost\n");
}

//! Export: protocols, compression, headers, backends that are down, slow or refuse; the agent's own traffic.

use std::time::{Duration, Instant};

use suture_tests::agent::AgentCommand;
use suture_tests::check::{Complaints, collect, unique};
use suture_tests::curl::curl_ok;
use suture_tests::process::free_port;
use suture_tests::receiver::Mood;
use suture_tests::scene::{scaled, times, unique_ids};
use suture_tests::victims::{Victim, leaf};
use suture_tests::{ReceivedSpan, Scene};

fn fetch_all(victim: &Victim, ids: &[String]) {
    for id in ids {
        curl_ok(&format!("{}/leaf/{id}", victim.url()), &[], 200).unwrap();
    }
}

/// Two spans of every id, each once.
fn check_whole(spans: &[ReceivedSpan], ids: &[String]) {
    let mut complaints = Complaints::default();
    for id in ids {
        let count = spans
            .iter()
            .filter(|span| span.path().contains(id.as_str()))
            .count();
        complaints.unless(count == 2, || format!("{count} spans of {id}, expected 2"));
    }
    unique(&mut complaints, spans);
    complaints.verdict("export").unwrap();
}

fn names(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

#[test]
fn every_protocol_and_compression_carries_headers_and_is_never_traced_itself() {
    for (protocol, gzip) in [
        ("grpc", false),
        ("grpc", true),
        ("http/protobuf", false),
        ("http/protobuf", true),
    ] {
        let scene = Scene::open().unwrap();
        let victim = leaf().unwrap();
        let receiver = scene.receiver();
        let endpoint = if protocol == "grpc" {
            receiver.grpc_endpoint()
        } else {
            receiver.http_endpoint()
        };
        let mut command = AgentCommand::plain(&["run", "--print", "none"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-api-key=abc%20d,x-tenant=shop",
            )
            .env("OTEL_BSP_SCHEDULE_DELAY", "100");
        if gzip {
            command = command.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        }
        let agent = command.start().unwrap();
        let own = i64::from(agent.pid());
        let ids = unique_ids(4);
        fetch_all(&victim, &ids);
        let spans = collect(receiver, &names(&ids), 2);
        let headers = receiver.last_headers();
        agent.stop().unwrap();
        check_whole(&spans, &ids);
        let has = |key: &str, value: &str| {
            headers
                .iter()
                .any(|(name, got)| name == key && got == value)
        };
        assert!(
            has("x-api-key", "abc d") && has("x-tenant", "shop"),
            "{protocol}: headers are missing: {headers:?}"
        );
        let encoding = if protocol == "grpc" {
            "grpc-encoding"
        } else {
            "content-encoding"
        };
        assert_eq!(has(encoding, "gzip"), gzip, "{protocol}: {headers:?}");
        let itself: Vec<_> = receiver
            .spans()
            .into_iter()
            .filter(|span| {
                span.resource_int("process.pid") == Some(own) || span.path().starts_with("/v1/")
            })
            .collect();
        assert!(
            itself.is_empty(),
            "{protocol}: the agent traced its own export: {}",
            suture_tests::span::listing(&itself)
        );
    }
}

#[test]
fn a_backend_that_is_down_gets_everything_once_it_is_back() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let receiver = scene.receiver();
    receiver.set_mood(Mood::Unavailable);
    let agent = scene.agent().start().unwrap();
    let ids = unique_ids(times(20));
    fetch_all(&victim, &ids);
    let deadline = Instant::now() + scaled(Duration::from_secs(10));
    while receiver.exports() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        receiver.exports() >= 2,
        "the agent must try again after UNAVAILABLE; tries: {}",
        receiver.exports()
    );
    receiver.set_mood(Mood::Accept);
    let wanted = 2 * ids.len();
    let spans = receiver
        .wait_until(
            |spans| {
                spans
                    .iter()
                    .filter(|span| ids.iter().any(|id| span.path().contains(id.as_str())))
                    .count()
                    >= wanted
            },
            Duration::from_secs(40),
        )
        .unwrap();
    agent.stop().unwrap();
    check_whole(&spans, &ids);
}

#[test]
fn rejected_spans_are_not_sent_again() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    scene.receiver().set_mood(Mood::Partial(1));
    let agent = scene.agent().start().unwrap();
    let ids = unique_ids(5);
    fetch_all(&victim, &ids);
    let _ = collect(scene.receiver(), &names(&ids), 2);
    std::thread::sleep(scaled(Duration::from_secs(2)));
    let spans = collect(scene.receiver(), &names(&ids), 2);
    let ended = agent.stop().unwrap();
    check_whole(&spans, &ids);
    assert!(
        ended.stderr.contains("reject"),
        "the summary must count rejected spans:\n{}",
        ended.stderr
    );
}

#[test]
fn a_backend_that_never_answers_or_is_not_there_costs_only_counted_drops() {
    for silent in [true, false] {
        let scene = Scene::open().unwrap();
        let victim = leaf().unwrap();
        let mut command = scene.agent();
        if silent {
            scene.receiver().set_mood(Mood::Silent);
        } else {
            command = AgentCommand::new(&format!("http://127.0.0.1:{}", free_port().unwrap()));
        }
        let agent = command
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
            .start()
            .unwrap();
        let ids = unique_ids(times(20));
        fetch_all(&victim, &ids);
        std::thread::sleep(scaled(Duration::from_millis(1500)));
        // `stop` requires code 0 within 10 s, whatever the backend does.
        let ended = agent.stop().unwrap();
        let counted = ended.stderr.lines().any(|line| {
            let line = line.to_lowercase();
            line.contains("span")
                && (line.contains("drop") || line.contains("lost") || line.contains("fail"))
        });
        assert!(
            counted,
            "spans nobody took must be counted in the summary:\n{}",
            ended.stderr
        );
    }
}

#[test]
fn self_metrics_arrive() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let agent = scene
        .agent()
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
        .start()
        .unwrap();
    let ids = unique_ids(4);
    fetch_all(&victim, &ids);
    let _ = collect(scene.receiver(), &names(&ids), 2);
    std::thread::sleep(scaled(Duration::from_millis(800)));
    agent.stop().unwrap();
    let points = scene.receiver().points();
    let own: Vec<_> = points
        .iter()
        .filter(|point| point.name.starts_with("suture."))
        .collect();
    assert!(
        !own.is_empty(),
        "no metric named suture.* arrived; all: {points:?}"
    );
    assert!(
        own.iter()
            .all(|point| point.value.is_finite() && point.value >= 0.0),
        "{own:?}"
    );
    assert!(
        own.iter().any(|point| point.value >= 8.0),
        "some counter must have counted the 8 spans: {own:?}"
    );
}

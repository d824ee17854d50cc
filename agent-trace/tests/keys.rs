//! Requests with keys: heads and bodies in, links out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use agent_trace::tracer::TracerConfig;
use support::calls::{BUSY, GET, OK, Scene, links};

#[test]
fn roots_are_linked_only_by_the_same_idempotency_key() {
    let keyed =
        |key: &str| format!("GET /price HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: {key}\r\n\r\n");
    for (what, first, second, expected) in [
        ("none", GET.to_owned(), GET.to_owned(), &[][..]),
        (
            "the same",
            keyed("k-20261127"),
            keyed("k-20261127"),
            &["11>10:retry#1"],
        ),
        ("two", keyed("k-20261127"), keyed("k-20261128"), &[]),
        ("too short", keyed("k-1"), keyed("k-1"), &[]),
    ] {
        let mut scene = Scene::new();
        scene.call(0, 10, &first, BUSY);
        scene.call(0, 11, &second, OK);
        assert_eq!(links(&scene.run()), expected, "{what}");
    }
}

#[test]
fn a_webhook_that_comes_back_with_the_key_is_linked() {
    let pay =
        "POST /pay HTTP/1.1\r\nHost: bank\r\nX-Payment: pay-20261127\r\nContent-Length: 0\r\n\r\n";
    let hook = "POST /hook HTTP/1.1\r\nHost: front\r\nX-Payment: pay-20261127\r\nContent-Length: 0\r\n\r\n";
    let scene = || {
        let mut scene = Scene::new();
        scene.serve(1);
        scene.call(1, 10, pay, OK);
        scene.answer(1);
        scene.world.wait(180_000);
        scene.serve_with(2, hook);
        scene
    };
    let config = TracerConfig {
        correlation_keys: vec!["X-Payment".to_owned()],
        ..TracerConfig::default()
    };
    let outcome = scene().run_with(config);
    assert_eq!(links(&outcome), ["2>10:key#-"]);
    assert_eq!(outcome.span(2).parent_span_id, None, "a link, not a parent");
    for span in &outcome.spans {
        assert!(
            !format!("{span:?}").contains("pay-20261127"),
            "the value stays here"
        );
    }
    assert_eq!(links(&scene().run()), [""; 0], "nobody named it");
}

#[test]
fn a_field_of_a_json_body_is_a_key() {
    let with = |line: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: bank\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let config = || TracerConfig {
        correlation_keys: vec!["$.payment_id".to_owned()],
        ..TracerConfig::default()
    };
    let pay = with("POST /pay", r#"{"amount":1,"payment_id":"pay-20261127"}"#);
    for (what, hook, expected) in [
        (
            "the same",
            r#"{"payment_id":"pay-20261127","state":"paid"}"#,
            &["2>10:key#-"][..],
        ),
        (
            "another",
            r#"{"payment_id":"pay-20261128","state":"paid"}"#,
            &[],
        ),
        (
            "inside of another",
            r#"{"of":{"payment_id":"pay-20261127"}}"#,
            &[],
        ),
    ] {
        let mut scene = Scene::new();
        scene.serve(1);
        scene.call(1, 10, &pay, OK);
        scene.answer(1);
        scene.world.wait(1_000);
        scene.serve_with(2, &with("POST /hook", hook));
        assert_eq!(links(&scene.run_with(config())), expected, "{what}");
    }
}

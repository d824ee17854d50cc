//! Envelopes of libraries, whatever broker carries them: payload -> job.
//!
//! In: payloads as the libraries write them. Out: what is known of the job. Always holds: a payload that is cut gives the same id or
//! nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use agent_protocol::queue::job::{CeleryFields, Envelope, of_celery, of_payload};
use agent_protocol::tracecontext::Traceparent;

const CONTEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// `system id name`, then what else is known.
fn text(envelope: &Envelope) -> String {
    let mut text = format!("{:?} {} {}", envelope.system, envelope.id, envelope.name);
    for (word, value) in [
        ("queue", &envelope.queue),
        ("message", &envelope.message_id),
        ("root", &envelope.root),
        ("state", &envelope.tracestate),
    ] {
        if let Some(value) = value {
            text += &format!(" {word}={value}");
        }
    }
    if let Some(retries) = envelope.retries {
        text += &format!(" retries={retries}");
    }
    for (word, holds) in [
        ("later", envelope.is_later),
        ("redelivered", envelope.is_redelivered),
        (
            "context",
            matches!(envelope.traceparent, Traceparent::Valid(_)),
        ),
        (
            "no-context",
            matches!(envelope.traceparent, Traceparent::Invalid(_)),
        ),
    ] {
        if holds {
            text += &format!(" {word}");
        }
    }
    text
}

fn check(payload: &[u8], wanted: &str) {
    let whole = of_payload(payload);
    assert_eq!(
        whole.as_ref().map(text).as_deref(),
        Some(wanted),
        "{}",
        payload.escape_ascii()
    );
    for end in 0..payload.len() {
        if let (Some(part), Some(whole)) = (of_payload(&payload[..end]), &whole) {
            assert_eq!(
                (part.system, &part.id),
                (whole.system, &whole.id),
                "cut at {end}"
            );
        }
    }
}

#[test]
fn envelopes_are_recognised() {
    check(
        br#"{"body": "W10=", "content-type": "application/json", "headers": {"lang": "py", "task": "shop.mail", "id": "b29f", "eta": null, "retries": 0, "root_id": "b29f", "parent_id": null}, "properties": {"correlation_id": "b29f", "delivery_info": {"exchange": "", "routing_key": "celery"}, "delivery_tag": "f770"}}"#,
        "Celery b29f shop.mail message=f770 retries=0",
    );
    check(
        br#"{"body": "W10=", "headers": {"task": "shop.mail", "id": "b29f", "eta": "2026-11-27T08:31:51+00:00", "retries": 2, "root_id": "aaaa", "parent_id": "aaaa", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}, "properties": {"delivery_info": {"redelivered": true}}}"#,
        "Celery b29f shop.mail root=aaaa state=a=b retries=2 later redelivered context",
    );
    check(
        br#"{"retry":true,"queue":"default","args":["a"],"class":"WelcomeMail","jid":"d9af","created_at":1.5}"#,
        "Sidekiq d9af WelcomeMail queue=default",
    );
    check(
        br#"{"class":"ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper","wrapped":"MailJob","jid":"d9af","retry_count":0,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        "Sidekiq d9af MailJob retries=1 context",
    );
    check(
        br#"{"class":"A","jid":"d9af","trace_propagation_headers":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b"}}"#,
        "Sidekiq d9af A state=a=b context",
    );
    check(
        br#"{"queue_name":"default","actor_name":"flaky","args":["k"],"kwargs":{},"options":{"redis_message_id":"0c68","retries":1,"traceparent":"nonsense"},"message_id":"a25f","message_timestamp":1795768839288}"#,
        "Dramatiq a25f flaky queue=default message=0c68 retries=1 no-context",
    );
    check(
        br#"{"queue_name":"default.DQ","actor_name":"later","options":{"eta":1795768841295,"trace_ctx":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},"message_id":"059f"}"#,
        "Dramatiq 059f later queue=default.DQ later context",
    );
    // huey 3.5.4 by Python 3.11: pickle's protocol 5, and what protocol 2 makes of the same.
    check(
        b"\x80\x05\x95j\0\0\0\0\0\0\0\x8c\rhuey.registry\x94\x8c\x07Message\x94\x93\x94(\x8c\x04e94c\x94\x8c\x08hu.flaky\x94NK\x01K\x01N\x8c\x01k\x94\x85\x94}\x94NNNNNNK\0t\x94\x81\x94.",
        "Huey e94c hu.flaky",
    );
    check(
        b"\x80\x05\x95\x98\0\0\0\0\0\0\0\x8c\rhuey.registry\x94\x8c\x07Message\x94\x93\x94(\x8c\x048b11\x94\x8c\nhu.welcome\x94\x8c\x08datetime\x94\x8c\x08datetime\x94\x93\x94C",
        "Huey 8b11 hu.welcome later",
    );
    check(
        b"\x80\x02chuey.registry\nMessage\nq\0(X\x04\0\0\0e94cq\x01X\x08\0\0\0hu.flakyq\x02NK\x01K\x01NK",
        "Huey e94c hu.flaky",
    );
}

#[test]
fn what_lacks_a_field_is_no_envelope() {
    for payload in [
        &b""[..],
        b"{}",
        b"[1]",
        b"hello",
        br#"{"id":"a","task":"b"}"#,
        br#"{"jid":"d9af"}"#,
        br#"{"class":"A","args":[]}"#,
        br#"{"class":"A","jid":""}"#,
        br#"{"class":"A","jid":17}"#,
        br#"{"body":"W10=","headers":{"id":"a"},"properties":{}}"#,
        br#"{"body":"W10=","headers":"a","properties":{}}"#,
        br#"{"queue_name":"default","message_id":"a"}"#,
        b"\x80\x05\x95j\0\0\0\0\0\0\0\x8c\x08__main__\x94\x8c\x07Message\x94\x93\x94(\x8c\x04e94c\x94",
        b"\x80\x05\x95j\0\0\0\0\0\0\0\x8c\rhuey.registry\x94\x8c\x07Message\x94\x93\x94(K\x01",
    ] {
        assert_eq!(of_payload(payload).as_ref().map(text), None, "{}", payload.escape_ascii());
    }
}

#[test]
fn what_was_not_seen_is_not_needed() {
    // The arguments come after id and name, or are cut themselves.
    for (payload, wanted) in [
        (
            &br#"{"class":"A","jid":"d9af","args":["aaaaaaaaaaaa"#[..],
            "Sidekiq d9af A",
        ),
        (
            br#"{"body": "W10=", "headers": {"task": "shop.mail", "id": "b29f", "argsrepr": "('a"#,
            "Celery b29f shop.mail",
        ),
        (
            br#"{"message_id":"a25f","actor_name":"flaky","args":["aaaaaa"#,
            "Dramatiq a25f flaky",
        ),
    ] {
        assert_eq!(
            of_payload(payload).as_ref().map(text).as_deref(),
            Some(wanted)
        );
    }
    // Half an id is none.
    assert_eq!(of_payload(br#"{"class":"A","jid":"d9"#), None);
}

#[test]
fn celery_s_headers_come_from_any_map() {
    let fields = CeleryFields {
        id: Some("b29f"),
        task: Some("shop.mail"),
        retries: Some(1),
        root_id: Some("aaaa"),
        parent_id: Some("aaaa"),
        has_eta: true,
        traceparent: Some(CONTEXT.as_bytes()),
        tracestate: Some("a=b"),
    };
    let envelope = of_celery(&fields).unwrap();
    assert_eq!(
        text(&envelope),
        "Celery b29f shop.mail root=aaaa state=a=b retries=1 later context"
    );
    let nameless = CeleryFields {
        task: None,
        ..fields.clone()
    };
    assert_eq!(of_celery(&nameless), None);
    let anonymous = CeleryFields {
        id: Some(""),
        ..fields
    };
    assert_eq!(of_celery(&anonymous), None);
}

#[test]
fn deep_and_long_texts_end() {
    for payload in [
        [b"{\"a\":".repeat(100_000), b"1".to_vec()].concat(),
        [b"{\"jid\":".to_vec(), b"[".repeat(100_000)].concat(),
        [b"{\"jid\":\"".to_vec(), b"\\".repeat(100_001)].concat(),
        [
            b"{\"jid\":\"".to_vec(),
            b"a".repeat(100_000),
            b"\",\"class\":\"A\"}".to_vec(),
        ]
        .concat(),
    ] {
        assert_eq!(of_payload(&payload), None);
    }
}

//! `is_redis` on what real clients of all protocols wrote.
//!
//! In: recordings and the fuzz corpora. Out: each turn of Redis' clients is recognised, and nothing else is, wherever it is cut. Refuses:
//! folders that are not there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod redis_recorded;

use std::path::Path;

use agent_protocol::queue::Way;
use agent_protocol::queue::amqp::is_amqp;
use agent_protocol::queue::kafka::is_kafka;
use agent_protocol::queue::mqtt::is_mqtt;
use agent_protocol::queue::nats::is_nats;
use agent_protocol::queue::postgres::is_postgres;
use agent_protocol::queue::redis::is_redis;
use redis_recorded::{LIBRARIES, recording};

#[test]
fn each_turn_of_a_client_is_recognised() {
    let mut count = 0;
    for library in LIBRARIES {
        for (_, way, bytes) in recording(library) {
            let of = [is_amqp, is_kafka, is_mqtt, is_nats, is_postgres];
            let others = of.map(|is| is(&bytes));
            assert_eq!(others, [false; 5], "{library} {}", bytes.escape_ascii());
            if way == Way::ToBroker {
                assert!(is_redis(&bytes), "{library} {}", bytes.escape_ascii());
                assert!(is_redis(&bytes[..bytes.len().min(24)]));
                count += 1;
            }
        }
    }
    assert!(count > 300, "{count} were read");
}

#[test]
fn no_other_protocol_is_taken_for_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for folder in [
        "agent-protocol/tests/queue_kafka/recorded",
        "agent-protocol/tests/queue_postgres/recorded",
        "agent-protocol/tests/queue_peers/recorded",
        "fuzz/corpus/http1_request",
        "fuzz/corpus/http1_response",
        "fuzz/corpus/fastcgi",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for at in 0..bytes.len() {
                assert!(!is_redis(&bytes[at..]), "{} at {at}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 100_000, "{count} were read");
}

#[test]
fn what_looks_like_a_command() {
    for (text, is) in [
        ("*1\r\n$4\r\nPING\r\n", true),
        ("*1\r\n$4\r\nP", true),
        ("*14\r\n$10\r\nXREADGROUP\r\n$5\r\n", true),
        ("*1\r\n$4\r\n", false),
        ("*1\r\n", false),
        ("*1\r\n$4\r\nPINGS\r\n", false),
        ("*1\r\n$4\r\nPI\r\n", false),
        ("*0\r\n$4\r\nPING\r\n", false),
        ("*1\r\n$33\r\nPING", false),
        ("*1\r\n:4\r\n", false),
        ("*3\r\n$7\r\nmessage\r\n", true),
        ("PING\r\n", false),
        ("+OK\r\n", false),
    ] {
        assert_eq!(is_redis(text.as_bytes()), is, "{}", text.escape_debug());
    }
}

//! Holes, connections met in their middle, hostile bytes.
//!
//! In: requests and answers built here. Out: what is still told, and what is held.

use agent_protocol::queue::kafka::{Client, RECORDS_MAX};
use agent_protocol::queue::{Conversation, Keyer, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use super::build::{Batch, fetch, fetched, produce, produced, record, request};
use super::built::Step::{Answer, Ask, Lost, Unseen};
use super::built::{PARENT, batch, lines};

#[test]
fn what_is_unseen_costs_no_more_than_itself() {
    let large = vec![b'x'; 100_000];
    let put = produce(
        1,
        1,
        "t",
        &batch(&[
            record(0, b"k", &large, &[("traceparent", PARENT)]),
            record(1, b"", b"other", &[]),
        ]),
    );
    let next = produce(2, 1, "t", &batch(&[record(0, b"", b"value", &[])]));
    let (head, tail) = (put[..10_000].to_vec(), put[put.len() - 50..].to_vec());
    let middle = (put.len() - head.len()) as u64;
    let first_hole = middle - 50 - 200;
    for (what, steps, expected) in [
        (
            "inside of a value",
            vec![
                Ask(head.clone()),
                Unseen(first_hole),
                Ask(put[put.len() - 250..].to_vec()),
                Ask(next.clone()),
            ],
            vec![
                "1. produce to t like:a like:b key=k p0 traceparent 100000 bytes",
                "1. produce to t like:c like:d p0 5 bytes",
                "2. produce to t like:e like:f p0 5 bytes",
            ],
        ),
        (
            "from a value on into the next record: both are known by the batch",
            vec![
                Ask(head.clone()),
                Unseen(middle - 50),
                Ask(tail),
                Ask(next.clone()),
                Answer(produced(1, "t", 0, 7)),
            ],
            vec![
                "1. produce to t like:a p0 0 bytes",
                "1. produce to t like:b p0 0 bytes",
                "Unparsed(\"unseen\")",
                "2. produce to t like:c like:d p0 5 bytes",
                "1. placed 0 at:e @7",
                "1. placed 1 at:f @8",
                "1. answered",
            ],
        ),
        (
            "to the end of the request",
            vec![Ask(head.clone()), Unseen(middle), Ask(next.clone())],
            vec![
                "1. produce to t like:a p0 0 bytes",
                "1. produce to t like:b p0 0 bytes",
                "Unparsed(\"unseen\")",
                "2. produce to t like:c like:d p0 5 bytes",
            ],
        ),
        (
            "nobody knows how much",
            vec![Ask(head), Lost, Ask(large), Ask(next)],
            vec![
                "1. produce to t like:a p0 0 bytes",
                "1. produce to t like:b p0 0 bytes",
                "Unparsed(\"unseen\")",
                "2. produce to t like:c like:d p0 5 bytes",
            ],
        ),
    ] {
        assert_eq!(lines(Begin::Boundary, &steps), expected, "{what}");
    }
}

#[test]
fn a_connection_met_in_its_middle_is_followed_from_its_next_request() {
    let put = produce(9, 1, "t", &batch(&[record(0, b"", b"value", &[])]));
    let answer = produced(9, "t", 0, 3);
    let expected = [
        "1. produce to t like:a like:b p0 5 bytes",
        "1. placed 0 at:c @3",
        "1. answered",
    ];
    for steps in [
        vec![
            Ask(b"the rest of a request".to_vec()),
            Answer(b"and of an answer".to_vec()),
            Ask(put.clone()),
            Answer(answer.clone()),
        ],
        // Java reads the size by itself.
        vec![
            Ask(put),
            Answer(b"\0\0\x01\0".to_vec()),
            Answer(b"an answer to what was not seen".to_vec()),
            Answer(answer[..4].to_vec()),
            Answer(answer[4..].to_vec()),
        ],
    ] {
        assert_eq!(lines(Begin::Midstream, &steps), expected);
    }
}

#[test]
fn what_is_not_kafka_is_given_up() {
    for bytes in [
        &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // Frames of SASL tokens (version 0 of the handshake) that never end.
        b"\0\0\0\x0c\0user\0secret",
    ] {
        let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
        for _ in 0..4 {
            client.push(Way::ToBroker, Input::Bytes(bytes), &mut |_| {});
            client.push(Way::ToClient, Input::Bytes(bytes), &mut |_| {});
        }
        assert!(
            client.is_hopeless(),
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn claims_are_not_allocated_for() {
    let huge_batch = Batch {
        count: i32::MAX,
        last_delta: i32::MAX - 1,
        attributes: 1,
        ..Batch::of(1)
    };
    for (what, bytes) in [
        (
            "topics",
            request(0, 8, 1).i16(-1).i16(1).i32(1).i32(i32::MAX),
        ),
        (
            "a name",
            request(0, 8, 1).i16(-1).i16(1).i32(1).i32(1).i16(i16::MAX),
        ),
        (
            "records",
            request(0, 8, 1)
                .i16(-1)
                .i16(1)
                .i32(1)
                .i32(1)
                .string("t")
                .i32(1)
                .i32(0)
                .i32(i32::MAX),
        ),
        (
            "a commit",
            request(8, 2, 1)
                .string("g")
                .i32(1)
                .string("m")
                .i64(1)
                .i32(i32::MAX),
        ),
    ] {
        let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
        let mut whole = (100_000_000_u32).to_be_bytes().to_vec();
        whole.extend(&bytes.0);
        client.push(Way::ToBroker, Input::Bytes(&whole), &mut |_| {});
        for _ in 0..100 {
            client.push(Way::ToBroker, Input::Bytes(&[0x01; 4096]), &mut |_| {});
        }
        assert!(client.held() < 64 * 1024, "{what}: {} held", client.held());
    }
    let steps = [
        Ask(produce(1, 1, "t", &huge_batch.bytes(b"not gzip"))),
        Ask(fetch(2, "t", i64::MAX - 1)),
        Answer(fetched(2, "t", &[], &huge_batch.bytes(b"not gzip"))),
    ];
    assert_eq!(
        lines(Begin::Boundary, &steps).len(),
        RECORDS_MAX as usize + 1
    );
    let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
    for correlation in 0..10_000 {
        let put = produce(
            correlation,
            1,
            "t",
            &batch(&[record(0, b"", b"value", &[])]),
        );
        client.push(Way::ToBroker, Input::Bytes(&put), &mut |_| {});
        let get = fetch(correlation, &correlation.to_string(), 0);
        client.push(Way::ToBroker, Input::Bytes(&get), &mut |_| {});
    }
    assert!(client.held() < 8 * 1024, "{} held", client.held());
}

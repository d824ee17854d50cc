//! Requests and answers built byte by byte: what no recording has.

use agent_protocol::queue::kafka::{Client, RECORDS_MAX};
use agent_protocol::queue::{Conversation, Event, Keyer, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use super::build::{Batch, Bytes, fetch, fetched, produce, produced, record, request};
use super::lines::Letters;

pub const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01";

pub enum Step {
    Ask(Vec<u8>),
    Answer(Vec<u8>),
    /// Bytes to the broker that nobody saw.
    Unseen(u64),
    Lost,
}
use Step::{Answer, Ask};

pub fn lines(begin: Begin, steps: &[Step]) -> Vec<String> {
    let mut client = Client::new(begin, Limits::default(), Keyer::new([1; 16]));
    let mut letters = Letters::default();
    let mut seen = Vec::new();
    for step in steps {
        let (way, input) = match step {
            Ask(bytes) => (Way::ToBroker, Input::Bytes(bytes)),
            Answer(bytes) => (Way::ToClient, Input::Bytes(bytes)),
            Step::Unseen(len) => (
                Way::ToBroker,
                Input::Unseen {
                    len: *len,
                    tail: &[],
                },
            ),
            Step::Lost => (Way::ToBroker, Input::Lost { len: None }),
        };
        client.push(way, input, &mut |event| seen.push(letters.line(&event)));
    }
    seen
}

pub fn batch(records: &[Vec<u8>]) -> Vec<u8> {
    Batch::of(records.len() as i32).bytes(&records.concat())
}

#[test]
fn a_put_its_answer_and_its_delivery() {
    let one = batch(&[
        record(0, b"k", b"value", &[("traceparent", PARENT)]),
        record(1, b"", b"other", &[("tracestate", b"a=1")]),
    ]);
    let numbered = Batch {
        producer: 7,
        sequence: i32::MAX,
        ..Batch::of(2)
    }
    .bytes(&[record(0, b"", b"aaaa", &[]), record(1, b"", b"aaaa", &[])].concat());
    for (what, steps, expected) in [
        (
            "two records, put and fetched",
            vec![
                Ask(produce(1, -1, "t", &one)),
                Answer(produced(1, "t", 0, 40)),
                Ask(fetch(2, "t", 0)),
                Answer(fetched(
                    2,
                    "t",
                    &[],
                    &Batch {
                        base: 40,
                        ..Batch::of(2)
                    }
                    .bytes(&one[61..]),
                )),
            ],
            vec![
                "1. produce to t like:a like:b key=k p0 traceparent 5 bytes",
                "1. produce to t like:c like:d p0 5 bytes",
                "1. placed 0 at:e @40",
                "1. placed 1 at:f @41",
                "1. answered",
                "fetch of t at:e like:a like:b key=k p0 @40 traceparent 5 bytes",
                "fetch of t at:f like:c like:d p0 @41 5 bytes",
            ],
        ),
        (
            "an idempotent producer's equal records differ, also past the last number",
            vec![
                Ask(produce(1, -1, "t", &numbered)),
                Ask(produce(2, -1, "t", &numbered)),
            ],
            vec![
                "1. produce to t id:a like:b p0 4 bytes",
                "1. produce to t id:c like:b p0 4 bytes",
                "2. produce to t id:a like:b p0 4 bytes",
                "2. produce to t id:c like:b p0 4 bytes",
            ],
        ),
        (
            "a refusal",
            vec![
                Ask(produce(1, 1, "t", &batch(&[record(0, b"", b"value", &[])]))),
                Answer(produced(1, "t", 10, -1)),
            ],
            vec![
                "1. produce to t like:a like:b p0 5 bytes",
                "1. MESSAGE_TOO_LARGE",
            ],
        ),
        (
            "no answer is awaited, and the next request is answered",
            vec![
                Ask(produce(1, 0, "t", &batch(&[record(0, b"", b"value", &[])]))),
                Ask(produce(2, 1, "t", &batch(&[record(0, b"", b"value", &[])]))),
                Answer(produced(2, "t", 0, 5)),
            ],
            vec![
                "1. produce (no answer) to t like:a like:b p0 5 bytes",
                "2. produce to t like:a like:b p0 5 bytes",
                "2. placed 0 at:c @5",
                "2. answered",
            ],
        ),
        (
            "two contexts in one record are none",
            vec![Ask(produce(
                1,
                1,
                "t",
                &batch(&[record(
                    0,
                    b"",
                    b"v",
                    &[("traceparent", PARENT), ("traceparent", OTHER)],
                )]),
            ))],
            vec!["1. produce to t like:a p0 Several 1 bytes"],
        ),
        (
            "an answer before its request finds nothing",
            vec![
                Answer(produced(1, "t", 0, 5)),
                Ask(produce(1, 1, "t", &batch(&[record(0, b"", b"value", &[])]))),
            ],
            vec!["1. produce to t like:a like:b p0 5 bytes"],
        ),
    ] {
        assert_eq!(lines(Begin::Boundary, &steps), expected, "{what}");
    }
}

#[test]
fn a_fetch_gives_what_the_application_gets() {
    let three = |base, attributes, producer| {
        let records = [
            record(0, b"", b"aaaa", &[]),
            record(1, b"", b"bbbb", &[]),
            record(2, b"", b"cccc", &[]),
        ];
        Batch {
            base,
            attributes,
            producer,
            ..Batch::of(3)
        }
        .bytes(&records.concat())
    };
    let cut = &three(3, 0, -1)[..90];
    let compacted = Batch {
        last_delta: 9,
        ..Batch::of(2)
    }
    .bytes(&[record(4, b"", b"eeee", &[]), record(9, b"", b"jjjj", &[])].concat());
    let marker = Batch {
        base: 13,
        attributes: 0x30,
        producer: 7,
        ..Batch::of(1)
    }
    .bytes(&record(0, b"\0\0\0\0", b"\0\0\0\0\0\0", &[]));
    let old = Batch {
        magic: 1,
        ..Batch::of(1)
    }
    .bytes(b"what a message set of before 0.11 has here");
    for (what, from, aborted, records, expected) in [
        (
            "from within a batch",
            2,
            &[][..],
            three(0, 0, -1),
            vec!["@2"],
        ),
        (
            "a batch that the broker cut",
            0,
            &[],
            [three(0, 0, -1), cut.to_vec()].concat(),
            vec!["@0", "@1", "@2"],
        ),
        ("a batch with gaps", 0, &[], compacted, vec!["@4", "@9"]),
        (
            "a transaction that was aborted, then one that was not",
            0,
            &[(7, 10)],
            [three(10, 0x10, 7), marker, three(14, 0x10, 7)].concat(),
            vec!["@14", "@15", "@16"],
        ),
        (
            "another producer's transaction",
            0,
            &[(8, 10)],
            three(10, 0x10, 7),
            vec!["@10", "@11", "@12"],
        ),
        (
            "a message set",
            0,
            &[],
            [old, three(1, 0, -1)].concat(),
            vec!["Unparsed(\"message_set\")", "@1", "@2", "@3"],
        ),
        (
            "packed bytes that do not unpack",
            0,
            &[],
            three(0, 3, -1),
            vec!["@0", "@1", "@2"],
        ),
        ("nothing", 0, &[], Vec::new(), vec![]),
    ] {
        let steps = [
            Ask(fetch(1, "t", from)),
            Answer(fetched(1, "t", aborted, &records)),
        ];
        let seen = lines(Begin::Boundary, &steps);
        let short: Vec<_> = seen
            .iter()
            .map(|line| {
                line.split(' ')
                    .find(|word| word.starts_with('@'))
                    .unwrap_or(line)
            })
            .collect();
        assert_eq!(short, expected, "{what}");
    }
}

#[test]
fn records_beyond_the_bound_are_only_counted() {
    let many: Vec<_> = (0..RECORDS_MAX as i32 + 20)
        .map(|delta| record(delta, b"", b"value", &[]))
        .collect();
    let plain = batch(&many);
    let opaque = Batch {
        attributes: 4,
        ..Batch::of(RECORDS_MAX as i32 + 20)
    }
    .bytes(&[0; 40_000]);
    for records in [plain, opaque] {
        let steps = [
            Ask(produce(1, 1, "t", &records)),
            Answer(produced(1, "t", 0, 0)),
            Ask(fetch(2, "t", 0)),
            Answer(fetched(2, "t", &[], &records)),
        ];
        let seen = lines(Begin::Boundary, &steps);
        let count = |word: &str| seen.iter().filter(|line| line.contains(word)).count();
        for (word, expected) in [
            ("produce", 100),
            ("placed", 100),
            ("fetch", 100),
            ("records", 2),
        ] {
            assert_eq!(count(word), expected, "{word}");
        }
    }
}

#[test]
fn groups_commit() {
    let commit = request(8, 2, 1)
        .string("g")
        .i32(1)
        .string("member")
        .i64(-1)
        .i32(1)
        .string("t")
        .i32(2)
        .i32(0)
        .i64(5)
        .string("note")
        .i32(1)
        .i64(6)
        .i16(-1)
        .framed();
    let in_transaction = request(28, 2, 1)
        .string("transaction")
        .string("g")
        .i64(7)
        .i16(0)
        .i32(1)
        .string("t")
        .i32(1)
        .i32(0)
        .i64(7)
        .i32(-1)
        .string("")
        .framed();
    let heartbeat = request(12, 3, 1)
        .string("h")
        .i32(1)
        .string("member")
        .framed();
    let steps = [
        Ask(commit.clone()),
        Ask(commit),
        Ask(in_transaction),
        Ask(heartbeat),
    ];
    assert_eq!(
        lines(Begin::Boundary, &steps),
        [
            "group g",
            "commit g t p0 @5",
            "commit g t p1 @6",
            "commit g t p0 @5",
            "commit g t p1 @6",
            "commit g t p0 @7",
            "group h",
        ]
    );
}

/// The same text in the form of flexible versions.
fn compact(bytes: Bytes, text: &str) -> Bytes {
    let mut bytes = bytes;
    bytes.0.push(text.len() as u8 + 1);
    bytes.0.extend(text.as_bytes());
    bytes
}

#[test]
fn members_ask_how_far_their_group_is_in_what_they_were_given_to_read() {
    // kafkajs asks so, others in later versions.
    let old = request(9, 5, 1).string("g").i32(2).string("t").i32(2);
    let old = old.i32(3).i32(1).string("u").i32(1).i32(0).framed();
    let all = request(9, 5, 2).string("g").i32(-1).framed();
    let one = |version: i16, correlation| {
        let head = request(9, version, correlation).i8(0);
        let head = if version >= 8 { head.i8(2) } else { head };
        let head = compact(head, "h");
        let head = if version >= 9 {
            compact(head, "member").i32(4)
        } else {
            head
        };
        let topics = compact(head.i8(2), "t").i8(3).i32(3).i32(7).i8(0);
        let end = if version >= 8 { topics.i8(0) } else { topics };
        if version >= 7 {
            end.i8(1).i8(0)
        } else {
            end.i8(0)
        }
        .framed()
    };
    let none = request(9, 8, 9).i8(0).i8(1).i8(1).i8(0).framed();
    let steps = [
        Ask(old),
        Ask(all),
        Ask(one(6, 3)),
        Ask(one(7, 4)),
        Ask(one(8, 5)),
        Ask(one(9, 6)),
        Ask(none),
    ];
    let mut expected = vec!["reads g t p3", "reads g t p1", "reads g u p0"];
    for _ in 6..=9 {
        expected.extend(["reads h t p3", "reads h t p7"]);
    }
    assert_eq!(lines(Begin::Boundary, &steps), expected);
}

#[test]
fn a_fetch_is_told_only_for_clients_that_wait_for_their_work() {
    for (waits, expected) in [(false, vec![]), (true, vec![Event::Fetching])] {
        let mut client = Client::new(Begin::Boundary, Limits::default(), Keyer::new([1; 16]));
        if waits {
            client = client.that_fetches_when_idle();
        }
        let mut seen = Vec::new();
        let ask = fetch(1, "t", 0);
        client.push(Way::ToBroker, Input::Bytes(&ask), &mut |event| {
            seen.push(event)
        });
        assert_eq!(seen, expected);
    }
}

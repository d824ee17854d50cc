//! Hand-made MQTT conversations: what each gives, whole and cut at every byte; what begins as MQTT does.

use agent_protocol::queue::mqtt::{Client, is_mqtt};
use agent_protocol::queue::{Conversation, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use crate::show::{Labels, OTHER_PROTOCOLS, Pieces, bytes_of, keyer, play};
use Way::{ToBroker, ToClient};

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let more = len > 127;
        bytes.push((len & 127) as u8 | u8::from(more) << 7);
        len >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn connect(level: u8) -> (Way, Vec<u8>) {
    let bytes = packet(
        0x10,
        &[
            &text("MQTT"),
            &[level, 2, 0, 60],
            &[0][..usize::from(level == 5)],
            &text("me"),
        ],
    );
    (ToBroker, bytes)
}

fn put(flags: u8, topic: &str, id: &[u8], properties: Option<&[u8]>, body: &str) -> Vec<u8> {
    let sized = properties.map(|of| [&[of.len() as u8], of].concat());
    packet(
        0x30 | flags,
        &[
            &text(topic),
            id,
            &sized.unwrap_or_default(),
            body.as_bytes(),
        ],
    )
}

fn expect(name: &str, pieces: &Pieces, expected: &[&str]) {
    let client = || Client::new(Begin::Boundary, Limits::default(), keyer());
    let whole = play(&mut client(), pieces, &mut Labels::default());
    assert_eq!(whole.lines().collect::<Vec<_>>(), expected, "{name}");
    let cut = play(&mut client(), &bytes_of(pieces), &mut Labels::default());
    assert_eq!(whole, cut, "{name}, cut at every byte");
}

#[test]
fn conversations_give_their_events() {
    let none: Option<&[u8]> = Some(&[]);
    for (name, pieces, expected) in [
        (
            "a length of several bytes, an empty body, an older version",
            vec![
                (
                    ToBroker,
                    packet(0x10, &[&text("MQIsdp"), &[3, 2, 0, 60], &text("me")]),
                ),
                (
                    ToBroker,
                    [
                        put(0, "a", b"", None, &"x".repeat(200)),
                        put(0, "a", b"", None, ""),
                    ]
                    .concat(),
                ),
            ],
            &[
                "> sent 1 publish a unanswered [P1] 200B",
                "> sent 2 publish a unanswered [] 0B",
            ][..],
        ),
        (
            "aliases of each direction are its own, and may change",
            vec![
                connect(5),
                (ToBroker, put(0, "a", b"", Some(&[0x23, 0, 1]), "body")),
                (ToBroker, put(0, "", b"", Some(&[0x23, 0, 1]), "body")),
                (ToBroker, put(0, "b", b"", Some(&[0x23, 0, 1]), "body")),
                (ToBroker, put(0, "", b"", Some(&[0x23, 0, 1]), "body")),
                (ToClient, put(0, "", b"", Some(&[0x23, 0, 1]), "body")),
            ],
            &[
                "> sent 1 publish a unanswered [P1] 4B",
                "> sent 2 publish a unanswered [P1] 4B",
                "> sent 3 publish b unanswered [P2] 4B",
                "> sent 4 publish b unanswered [P2] 4B",
                "< unparsed an alias of no topic",
            ],
        ),
        (
            "properties of each size; a context in them, twice, and one without",
            vec![
                connect(5),
                (
                    ToBroker,
                    put(
                        0,
                        "a",
                        b"",
                        Some(
                            &[
                                &[
                                    1, 1, 2, 0, 0, 0, 9, 3, 0, 1, b'x', 8, 0, 1, b'r', 9, 0, 1,
                                    0xff, 11, 0x80, 1,
                                ][..],
                                &[0x26],
                                &text("Traceparent"),
                                &text("x"),
                                &[0x26],
                                &text("traceparent"),
                                &text("y"),
                            ]
                            .concat(),
                        ),
                        "body",
                    ),
                ),
                (
                    ToBroker,
                    put(
                        0,
                        "a",
                        b"",
                        Some(&[&[0x26][..], &text("tracestate"), &text("a=b")].concat()),
                        "body",
                    ),
                ),
            ],
            &[
                "> sent 1 publish a unanswered [P1] 4B parent=Several",
                "> sent 2 publish a unanswered [P1] 4B tracestate=a=b",
            ],
        ),
        (
            "answers: refused at once, refused at QoS 2, complete, of no put",
            vec![
                connect(5),
                (
                    ToBroker,
                    [
                        put(2, "a", &[0, 1], none, "body"),
                        put(4, "a", &[0, 2], none, "body"),
                        put(4, "a", &[0, 3], none, "body"),
                    ]
                    .concat(),
                ),
                (
                    ToClient,
                    [
                        packet(0x40, &[&[0, 1, 0x87, 0]]),
                        packet(0x50, &[&[0, 2, 0x97]]),
                        packet(0x50, &[&[0, 3]]),
                    ]
                    .concat(),
                ),
                (ToBroker, packet(0x62, &[&[0, 3]])),
                (
                    ToClient,
                    [packet(0x70, &[&[0, 3]]), packet(0x40, &[&[0, 9]])].concat(),
                ),
            ],
            &[
                "> sent 1 publish a [P1] 4B",
                "> sent 2 publish a [P1] 4B",
                "> sent 3 publish a [P1] 4B",
                "< answered 1 0x87",
                "< answered 2 0x97",
                "< answered 3",
            ],
        ),
        (
            "deliveries: an id that is used again, one of QoS 2 when it is released, one that is refused, one that was retained, one sent again",
            vec![
                connect(5),
                (
                    ToClient,
                    [
                        put(2, "a", &[0, 1], none, "body"),
                        put(4, "q", &[0, 2], none, "body"),
                        put(4, "q", &[0, 3], none, "body"),
                    ]
                    .concat(),
                ),
                (
                    ToBroker,
                    [
                        packet(0x40, &[&[0, 1]]),
                        packet(0x50, &[&[0, 2]]),
                        packet(0x50, &[&[0, 3, 0x83]]),
                    ]
                    .concat(),
                ),
                (
                    ToClient,
                    [put(2, "a", &[0, 1], none, "body"), packet(0x62, &[&[0, 2]])].concat(),
                ),
                (
                    ToBroker,
                    [packet(0x70, &[&[0, 2]]), packet(0x40, &[&[0, 1, 0x80]])].concat(),
                ),
                (
                    ToClient,
                    [
                        put(1, "a", b"", none, "body"),
                        put(0xa, "a", &[0, 1], none, "body"),
                    ]
                    .concat(),
                ),
            ],
            &[
                "< delivered 1 receive a [P1] 4B",
                "> settled 1 ack",
                "> delivered 3 receive q [P2] 4B",
                "> settled 3 reject",
                "< delivered 4 receive a [P1] 4B",
                "< delivered 2 receive q [P2] 4B",
                "> settled 2 ack",
                "> settled 4 reject",
                "< delivered 0 receive a [] 4B",
                "< delivered 5 receive a again [P1] 4B",
            ],
        ),
        (
            "the broker's own topics",
            vec![
                connect(4),
                (
                    ToClient,
                    put(0, "$SYS/broker/uptime", b"", None, "12 seconds"),
                ),
            ],
            &[],
        ),
    ] {
        expect(name, &pieces, expected);
    }
}

#[test]
fn holes_in_bodies_cost_only_the_hash_and_others_end_it() {
    let message = put(0, "topic", b"", None, "0123456789");
    let body_at = message.len() - 10;
    let next = put(0, "a", b"", None, "body");
    let both = "sent 1 publish topic unanswered [] 10B\nsent 2 publish a unanswered [P1] 4B";
    for (name, from, len, expected, is_hopeless) in [
        ("within the body", body_at + 2, 3, both, false),
        ("the body's rest", body_at + 2, 8, both, false),
        (
            "in the topic",
            5,
            2,
            "unparsed a topic or properties that are cut\nsent 1 publish a unanswered [P1] 4B",
            false,
        ),
        ("the length", 1, 1, "unparsed not seen", true),
    ] {
        for is_lost in [false, true] {
            let mut client = Client::new(Begin::Boundary, Limits::default(), keyer());
            let (mut labels, mut lines) = (Labels::default(), Vec::new());
            let end = from + len;
            let hole = if is_lost {
                Input::Lost {
                    len: Some(len as u64),
                }
            } else {
                Input::Unseen {
                    len: len as u64,
                    tail: &[],
                }
            };
            let connect = connect(4).1;
            for input in [
                Input::Bytes(&connect),
                Input::Bytes(&message[..from]),
                hole,
                Input::Bytes(&message[end..]),
                Input::Bytes(&next),
            ] {
                client.push(ToBroker, input, &mut |event| {
                    lines.push(labels.line(&event))
                });
            }
            assert_eq!(lines.join("\n"), expected, "{name}, lost: {is_lost}");
            assert_eq!(client.is_hopeless(), is_hopeless, "{name}");
        }
    }
}

#[test]
fn hostile_peers_are_held_within_bounds() {
    let limits = Limits {
        message_bytes: 1024,
        in_flight: 16,
    };
    let mut client = Client::new(Begin::Boundary, limits, keyer());
    let mut push = |way, bytes: &[u8]| {
        client.push(way, Input::Bytes(bytes), &mut |_| {});
        assert!(client.held() < 24 * 1024, "{}", client.held());
    };
    push(ToBroker, &connect(5).1);
    for number in 1..5000_u16 {
        let id = number.to_be_bytes();
        let alias = [&[0x23][..], &id].concat();
        push(
            ToBroker,
            &put(2, &"t".repeat(250), &id, Some(&alias), "body"),
        );
        push(
            ToClient,
            &put(4, &"t".repeat(250), &id, Some(&alias), "body"),
        );
    }
    push(ToClient, b"\x30\xff\xff\xff\x7f\0\x01t");
    for _ in 0..100 {
        push(ToClient, &[b'x'; 65536]);
    }
}

#[test]
fn what_does_not_begin_with_connect_is_hopeless() {
    let again = [connect(4).1, connect(4).1].concat();
    for (name, begin, way, bytes) in [
        ("TLS", Begin::Boundary, ToBroker, &b"\x16\x03\x01"[..]),
        ("HTTP", Begin::Boundary, ToBroker, b"GET / HTTP/1.1\r\n\r\n"),
        ("no CONNECT", Begin::Boundary, ToBroker, b"\xc0\0"),
        ("a second CONNECT", Begin::Boundary, ToBroker, &again),
        (
            "a level of the future",
            Begin::Boundary,
            ToBroker,
            b"\x10\x0e\0\x04MQTT\x06\x02\0\x3c\0\x02me",
        ),
        (
            "a packet of the other end",
            Begin::Boundary,
            ToClient,
            b"\x10\0",
        ),
        ("the middle", Begin::Midstream, ToBroker, &connect(4).1),
    ] {
        let mut client = Client::new(begin, Limits::default(), keyer());
        client.push(way, Input::Bytes(bytes), &mut |_| {});
        assert!(client.is_hopeless(), "{name}");
    }
}

#[test]
fn only_mqtt_begins_as_mqtt_does() {
    let long = packet(
        0x10,
        &[&text("MQTT"), &[5, 2, 0, 60, 0], &text(&"m".repeat(300))],
    );
    let old = packet(0x10, &[&text("MQIsdp"), &[3, 2, 0, 60], &text("me")]);
    for bytes in [&connect(4).1, &connect(5).1, &long, &old] {
        assert!(is_mqtt(bytes), "{}", bytes.escape_ascii());
        assert!(
            is_mqtt(&bytes[..bytes.len().min(24)]),
            "{}",
            bytes.escape_ascii()
        );
    }
    let others = [
        &b"\x10"[..],
        b"\x10\x0e",
        b"\x10\xff\xff\xff\xff\0\x04MQTT\x04",
        b"\x10\x0e\0\x04MQTT",
        b"\x20\x02\0\0",
        b"\x10\x0e\0\x04MQTT\x03",
    ];
    for bytes in OTHER_PROTOCOLS.iter().chain(&others) {
        assert!(!is_mqtt(bytes), "{}", bytes.escape_ascii());
    }
}

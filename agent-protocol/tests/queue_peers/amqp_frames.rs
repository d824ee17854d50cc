//! Hand-made AMQP conversations: what each gives, whole and cut at every byte; what begins as AMQP does.

use agent_protocol::queue::amqp::{Client, is_amqp};
use agent_protocol::queue::{Conversation, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use crate::show::{Labels, Pieces, bytes_of, keyer, play};
use Way::{ToBroker, ToClient};

pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xce);
    bytes
}

fn method(channel: u16, class: u16, name: u16, args: &[&[u8]]) -> Vec<u8> {
    let mut payload = [class.to_be_bytes(), name.to_be_bytes()].concat();
    payload.extend(args.concat());
    frame(1, channel, &payload)
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

pub fn content(channel: u16, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 60, 0, 0];
    header.extend((body.len() as u64).to_be_bytes());
    header.extend(properties);
    let mut frames = frame(2, channel, &header);
    for piece in body.chunks(10) {
        frames.extend(frame(3, channel, piece));
    }
    frames
}

pub fn publish_method(channel: u16, exchange: &str, key: &str) -> Vec<u8> {
    method(
        channel,
        60,
        40,
        &[&[0, 0], &short(exchange), &short(key), &[0]],
    )
}

pub fn publish(channel: u16, exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    [
        publish_method(channel, exchange, key),
        content(channel, &[0, 0], body),
    ]
    .concat()
}

pub fn deliver(channel: u16, consumer: &str, tag: u64, key: &str, body: &[u8]) -> Vec<u8> {
    let args: [&[u8]; 5] = [
        &short(consumer),
        &tag.to_be_bytes(),
        &[0],
        &short("x"),
        &short(key),
    ];
    [
        method(channel, 60, 60, &args),
        content(channel, &[0, 0], body),
    ]
    .concat()
}

fn consume(channel: u16, queue: &str, tag: &str, bits: u8) -> Vec<u8> {
    method(
        channel,
        60,
        20,
        &[&[0, 0], &short(queue), &short(tag), &[bits], &[0; 4]],
    )
}

pub fn ack(channel: u16, tag: u64, multiple: u8) -> Vec<u8> {
    method(channel, 60, 80, &[&tag.to_be_bytes(), &[multiple]])
}

fn closed(channel: u16, text: &str, class: u16, name: u16) -> Vec<u8> {
    let by = [class.to_be_bytes(), name.to_be_bytes()].concat();
    method(
        channel,
        20,
        40,
        &[&404_u16.to_be_bytes(), &short(text), &by],
    )
}

const CONFIRM: (u16, u16) = (85, 10);

fn confirm(channel: u16) -> Vec<u8> {
    method(channel, CONFIRM.0, CONFIRM.1, &[&[0]])
}

pub fn greeting() -> Vec<u8> {
    b"AMQP\0\0\x09\x01".to_vec()
}

pub fn client(begin: Begin) -> Client {
    Client::new(begin, Limits::default(), keyer())
}

pub fn expect(name: &str, begin: Begin, pieces: &Pieces, expected: &str) {
    let whole = play(&mut client(begin), pieces, &mut Labels::default());
    assert_eq!(whole.trim(), expected.trim(), "{name}");
    let cut = play(
        &mut client(begin),
        &bytes_of(pieces),
        &mut Labels::default(),
    );
    assert_eq!(whole, cut, "{name}, cut at every byte");
}

#[test]
fn conversations_give_their_events() {
    let begun = |rest: Pieces| [vec![(ToBroker, greeting())], rest].concat();
    for (name, pieces, expected) in [
        (
            "contents of two channels between each other's frames",
            vec![
                (ToBroker, publish_method(1, "", "a")),
                (ToBroker, publish_method(2, "x", "b")),
                (ToBroker, content(2, &[0, 0], b"body of two, in two frames")),
                (ToBroker, content(1, &[0, 0], b"body of one")),
            ],
            "> sent 2 publish x:b unanswered [P1] 26B\n> sent 1 publish a unanswered [P2] 11B",
        ),
        (
            "an empty body ends with its header, and an empty name of a key is none",
            vec![(ToBroker, publish(1, "logs", "", b""))],
            "> sent 1 publish logs unanswered [] 0B",
        ),
        (
            "confirms: one, several, refused",
            vec![
                (ToBroker, confirm(1)),
                (
                    ToBroker,
                    (0..4).flat_map(|_| publish(1, "", "q", b"body")).collect(),
                ),
                (ToClient, ack(1, 1, 0)),
                (ToClient, ack(1, 3, 1)),
                (ToClient, method(1, 60, 120, &[&4_u64.to_be_bytes(), &[0]])),
                (ToClient, ack(1, 9, 0)),
            ],
            "> sent 1 publish q [P1] 4B\n> sent 2 publish q [P1] 4B\n> sent 3 publish q [P1] 4B\n\
             > sent 4 publish q [P1] 4B\n< answered 1\n< answered 2\n< answered 3\n< answered 4 NACK",
        ),
        (
            "a close that names basic.publish answers the last; one that names another method answers none",
            vec![
                (
                    ToBroker,
                    [publish(1, "no", "k", b"body"), publish(2, "", "k", b"body")].concat(),
                ),
                (
                    ToClient,
                    closed(1, "NOT_FOUND - no exchange 'no' in vhost '/'", 60, 40),
                ),
                (
                    ToClient,
                    closed(2, "NOT_FOUND - no queue 'k' in vhost '/'", 60, 20),
                ),
            ],
            "> sent 1 publish no:k unanswered [P1] 4B\n> sent 2 publish k unanswered [P2] 4B\n\
             < answered 1 NOT_FOUND",
        ),
        (
            "a close requeues what was not settled, and a channel opened anew counts anew",
            vec![
                (ToBroker, consume(1, "q", "me", 0)),
                (
                    ToClient,
                    [
                        deliver(1, "me", 1, "k", b"body"),
                        deliver(1, "me", 2, "k", b"b"),
                    ]
                    .concat(),
                ),
                (ToBroker, ack(1, 1, 0)),
                (ToClient, closed(1, "PRECONDITION_FAILED - no", 60, 80)),
                (
                    ToBroker,
                    [method(1, 20, 41, &[]), method(1, 20, 10, &[&[0]])].concat(),
                ),
                (ToBroker, consume(1, "q", "me", 0)),
                (ToClient, deliver(1, "me", 1, "k", b"b")),
            ],
            "< delivered 1000000000001 deliver q [P1] 4B\n< delivered 1000000000002 deliver q [] 1B\n\
             > settled 1000000000001 ack\n< settled 1000000000002 requeue\n\
             < delivered 1002000000001 deliver q [] 1B",
        ),
        (
            "a consumer without acks; a tag the broker makes; the queue declared last; a consumer that was cancelled",
            vec![
                (ToBroker, consume(1, "q", "mute", 2)),
                (ToClient, method(1, 50, 11, &[&short("amq.gen-1"), &[0; 8]])),
                (ToBroker, consume(1, "", "", 0)),
                (ToClient, method(1, 60, 21, &[&short("amq.ctag-1")])),
                (ToClient, deliver(1, "mute", 1, "k", b"body")),
                (ToClient, deliver(1, "amq.ctag-1", 2, "k", b"body")),
                (ToBroker, method(1, 60, 30, &[&short("mute"), &[0]])),
                (ToClient, deliver(1, "mute", 3, "k", b"body")),
            ],
            "< delivered 0 deliver q [P1] 4B\n< delivered 1000000000002 deliver amq.gen-1 temporary [P1] 4B\n\
             < delivered 1000000000003 deliver x:k [P1] 4B",
        ),
        (
            "content that does not fit is given up, the next is read",
            vec![
                (ToBroker, publish_method(1, "", "q")),
                (
                    ToBroker,
                    frame(
                        2,
                        1,
                        &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0][..]].concat(),
                    ),
                ),
                (ToBroker, frame(3, 1, b"three")),
                (ToBroker, publish(1, "", "q", b"body")),
            ],
            "> unparsed content that does not fit\n> sent 2 publish q unanswered [P1] 4B",
        ),
        (
            "an end octet that is not there: what follows is read after a turn",
            vec![
                (ToBroker, [&publish_method(1, "", "q")[..17], b"?"].concat()),
                (ToBroker, publish(1, "", "q", b"body")),
                (ToClient, frame(8, 0, b"")),
                (ToBroker, publish(1, "", "q", b"body")),
            ],
            "> unparsed no end of a frame\n> sent 1 publish q unanswered [P1] 4B",
        ),
        (
            "what Celery's workers say to each other",
            vec![
                (
                    ToBroker,
                    publish(1, "celeryev", "worker.heartbeat", b"body"),
                ),
                (ToBroker, publish(1, "reply.celery.pidbox", "5b0e", b"body")),
                (ToBroker, consume(1, "celery@host.celery.pidbox", "pid", 2)),
                (ToClient, deliver(1, "pid", 1, "", b"body")),
            ],
            "",
        ),
    ] {
        expect(name, Begin::Boundary, &begun(pieces), expected);
    }
}

#[test]
fn hostile_peers_are_held_within_bounds() {
    let limits = Limits {
        message_bytes: 1024,
        in_flight: 16,
    };
    let most = |client: &Client| assert!(client.held() < 600 * 1024, "{}", client.held());
    let mut client = Client::new(Begin::Boundary, limits, keyer());
    let mut count = 0;
    let mut push = |way, bytes: &[u8]| {
        client.push(way, Input::Bytes(bytes), &mut |_| count += 1);
        most(&client);
    };
    push(ToBroker, &greeting());
    for channel in 1..2000_u16 {
        push(ToBroker, &confirm(channel));
        push(
            ToBroker,
            &consume(channel, &"q".repeat(255), &"t".repeat(255), 0),
        );
        push(
            ToBroker,
            &publish_method(channel, &"x".repeat(255), &"k".repeat(255)),
        );
        push(ToBroker, &content(channel, &[0, 0], &[b'x'; 4000])[..3000]);
    }
    for tag in 1..5000 {
        push(ToClient, &deliver(1, "t", tag, "k", b"body"));
    }
    // A method that claims 16 MiB, and a frame that claims more.
    push(ToClient, &[1, 0, 1, 0, 0xff, 0xff, 0xff]);
    for _ in 0..200 {
        push(ToClient, &[0; 65536]);
    }
    assert!(count < 20_000, "{count}");
}

#[test]
fn what_is_not_amqp_is_hopeless_at_once_or_after_some_turns() {
    for (name, begin, way, bytes, turns) in [
        (
            "AMQP 1.0",
            Begin::Boundary,
            ToBroker,
            &b"AMQP\0\x01\0\0"[..],
            1,
        ),
        (
            "HTTP",
            Begin::Boundary,
            ToBroker,
            b"GET / HTTP/1.1\r\n\r\n",
            1,
        ),
        (
            "a refusal",
            Begin::Boundary,
            ToClient,
            b"AMQP\0\0\x09\x01",
            1,
        ),
        (
            "another protocol's middle",
            Begin::Midstream,
            ToBroker,
            b"*1\r\n$4\r\nPING\r\n",
            64,
        ),
    ] {
        let mut client = client(begin);
        for turn in 1..=turns {
            assert!(!client.is_hopeless(), "{name}, turn {turn}");
            client.push(way, Input::Bytes(bytes), &mut |_| {});
            if turn < turns {
                client.push(ToClient, Input::Bytes(b"\x01"), &mut |_| {});
            }
        }
        assert!(client.is_hopeless(), "{name}");
    }
}

#[test]
fn only_amqp_begins_as_amqp_does() {
    let yes: [Vec<u8>; 6] = [
        greeting(),
        b"\x01\0\0\0\0\x02\x06\0\x0a\0\x0a\0\x09".to_vec(),
        publish(1, "", "q", b"body"),
        deliver(3, "t", 1, "k", b"body"),
        ack(1, 1, 0),
        frame(8, 0, b""),
    ];
    for bytes in &yes {
        assert!(is_amqp(bytes), "{}", bytes.escape_ascii());
        assert!(
            is_amqp(&bytes[..bytes.len().min(24)]),
            "{}",
            bytes.escape_ascii()
        );
    }
    for bytes in crate::show::OTHER_PROTOCOLS {
        assert!(!is_amqp(bytes), "{}", bytes.escape_ascii());
    }
}

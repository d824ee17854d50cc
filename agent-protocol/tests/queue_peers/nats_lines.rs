//! Hand-made NATS conversations: what each gives, whole and cut at every byte; what begins as NATS does.

use agent_protocol::queue::nats::{Client, is_nats};
use agent_protocol::queue::{Conversation, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use crate::show::{Labels, OTHER_PROTOCOLS, Pieces, bytes_of, keyer, play};
use Way::{ToBroker, ToClient};

const ACK: &str = "$JS.ACK.S.C.2.7.9.1700000000000000000.0";

fn client(begin: Begin) -> Client {
    Client::new(begin, Limits::default(), keyer())
}

/// `|` stands for CR LF; a line's first character is the way.
fn pieces(text: &str) -> Pieces {
    let piece = |line: &str| {
        let (way, bytes) = line.trim().split_at(2);
        let way = if way == "> " { ToBroker } else { ToClient };
        (way, bytes.replace('|', "\r\n").into_bytes())
    };
    text.trim().lines().map(piece).collect()
}

fn expect(name: &str, begin: Begin, text: &str, expected: &[&str]) {
    let pieces = pieces(text);
    let whole = play(&mut client(begin), &pieces, &mut Labels::default());
    // Numbers of deliveries are hashes: only that they agree is checked, in the recordings.
    let lines = whole.lines().map(|line| {
        let mut words: Vec<_> = line.split(' ').collect();
        if matches!(words[1], "delivered" | "settled") && words[2] != "0" {
            words[2] = "n";
        }
        words.join(" ")
    });
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{name}");
    let cut = play(
        &mut client(begin),
        &bytes_of(&pieces),
        &mut Labels::default(),
    );
    assert_eq!(whole, cut, "{name}, cut at every byte");
}

#[test]
fn conversations_give_their_events() {
    for (name, text, expected) in [
        (
            "verbs in any case, blanks of any kind, a body that looks like a line",
            "> CONNECT {}|pub a.b\t 10|PUB x 1|x|PUB  c  2|ab|",
            &[
                "> sent 1 publish a.b unanswered [P1] 10B",
                "> sent 2 publish c unanswered [] 2B",
            ][..],
        ),
        (
            "headers of no bytes, a body of none, and both",
            "> HPUB a 0 4|body|HPUB a 12 12|NATS/1.0|||PUB a 0||",
            &[
                "> sent 1 publish a unanswered [P1] 4B",
                "> sent 2 publish a unanswered [] 0B",
                "> sent 3 publish a unanswered [] 0B",
            ],
        ),
        (
            "acks of each kind; work in progress is none; an ack that asks for one more, and one that asks for five",
            &format!(
                "< MSG s 1 {ACK} 4|body|\n> PUB {ACK} 4|+WPI|PUB {ACK} 4|-NAK|PUB {ACK} 5|+TERM|\
                 PUB {ACK} 4|+NXT|PUB {ACK} 16|+NXT {{\"batch\":5}}|PUB {ACK} 4|what|"
            ),
            &[
                "< delivered n receive s again [L1 P1] 4B group=C retries=1",
                "> settled n requeue",
                "> settled n reject",
                "> settled n ack",
                "> fetching",
                "> settled n ack",
            ],
        ),
        (
            "ack subjects with a domain and an account; with words missing it is a plain reply",
            "< MSG s 1 $JS.ACK.hub.HASH.S.C.1.7.9.17.0.tok 4|body|MSG s 1 $JS.ACK.S.C.1.7 4|body|",
            &[
                "< delivered n receive s [L1 P1] 4B group=C retries=0",
                "< delivered 0 receive s [P1] 4B",
            ],
        ),
        (
            "pulls: of one, of one in a domain, of ten; the server's API is no message",
            "> PUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.a 0||PUB $JS.hub.API.CONSUMER.MSG.NEXT.S.C _INBOX.a 11|{\"batch\":1}|\
             PUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.a 12|{\"batch\":10}|PUB $JS.API.STREAM.NAMES _INBOX.b 0||\n\
             < HMSG _INBOX.a 2 28 28|NATS/1.0 408 Request Tim|||",
            &["> fetching", "> fetching"],
        ),
        (
            "a reply subject that is no inbox, asked and answered on this connection",
            "> PUB ask my.answers 4|body|\n< MSG ask 1 my.answers 4|body|\n> PUB my.answers 3|yes|\n< MSG my.answers 2 3|yes|",
            &[
                "> sent 1 publish ask [P1] 4B",
                "< delivered n receive ask [P1] 4B",
                "> settled n ack",
                "< answered 1",
            ],
        ),
        (
            "an answer that is late, or another's, is no message",
            "< MSG _INBOX.gone 1 4|body|\n> PUB _INBOX.other 4|body|",
            &[],
        ),
        (
            "a service's error; a duplicate has no place",
            "> PUB a _INBOX.1 4|body|PUB a _INBOX.2 4|body|\n\
             < HMSG _INBOX.1 1 42 42|NATS/1.0|Nats-Service-Error-Code: 400|||\n\
             < MSG _INBOX.2 1 43|{\"stream\":\"S\", \"seq\":1, \"duplicate\": true} |",
            &[
                "> sent 1 publish a [M1 P1] 4B",
                "> sent 2 publish a [M2 P1] 4B",
                "< answered 1 400",
                "< answered 2",
            ],
        ),
        (
            "a put that is not allowed",
            "> PUB a 4|body|PUB b 4|body|\n< -ERR 'Permissions Violation for Publish to \"a\"'|-ERR 'Stale Connection'|",
            &[
                "> sent 1 publish a unanswered [P1] 4B",
                "> sent 2 publish b unanswered [P2] 4B",
                "< answered 1 Permissions Violation",
            ],
        ),
        (
            "two invalid contexts, and one that is not whole",
            "> HPUB a 38 42|NATS/1.0|traceparent: 00-0af76519||body|HPUB a 50 54|NATS/1.0|Traceparent: x|TRACEPARENT: y|X: 1||body|",
            &[
                "> sent 1 publish a unanswered [P1] 4B parent=Length",
                "> sent 2 publish a unanswered [P1] 4B parent=Several",
            ],
        ),
        (
            "a wrong line ends it until a turn that begins with a right one",
            "> PUB a 4|body|NOPE|PUB a 4|body|\n< PONG|\n> ody|PUB a 4|body|\n< PONG|\n> PUB a 4|body|",
            &[
                "> sent 1 publish a unanswered [P1] 4B",
                "> unparsed no line",
                "> sent 2 publish a unanswered [P1] 4B",
            ],
        ),
        (
            "a body that is longer than its line said",
            "> PUB a 3|body|\n< PONG|\n> PUB a 99999999999 |\n< PONG|\n> PUB a 4|body|",
            &[
                "> unparsed no end of a message",
                "> sent 1 publish a unanswered [P1] 4B",
            ],
        ),
    ] {
        expect(name, Begin::Boundary, text, expected);
    }
}

#[test]
fn a_connection_met_in_its_middle_is_read_from_a_turn_that_begins_with_a_line() {
    for (name, text, expected) in [
        (
            "at once",
            "> PUB a 4|body|",
            &["> sent 1 publish a unanswered [P1] 4B"][..],
        ),
        (
            "after a turn",
            "> ody|PUB a 4|body|\n< MSG a 1 4|body|",
            &["< delivered 0 receive a [P1] 4B"],
        ),
        (
            "an ack whose delivery was not seen",
            &format!("> PUB {ACK} 0||"),
            &["> settled n ack"],
        ),
    ] {
        expect(name, Begin::Midstream, text, expected);
    }
}

#[test]
fn holes_in_bodies_cost_only_the_hash() {
    let message = b"HPUB a 21 31\r\nNATS/1.0\r\nX: 1234\r\n\r\n0123456789\r\n";
    let body_at = message.len() - 12;
    let next = b"PUB a 4\r\nbody\r\n";
    let both = "sent 1 publish a unanswered [] 10B\nsent 2 publish a unanswered [P1] 4B";
    for (name, from, len, expected) in [
        ("within the body", body_at + 2, 3, both),
        ("the rest with the message's end", body_at + 2, 10, both),
        (
            "within the headers",
            body_at - 8,
            3,
            "sent 1 publish a unanswered [P1] 10B\nsent 2 publish a unanswered [P2] 4B",
        ),
        ("a line", 3, 4, "unparsed not seen"),
    ] {
        for is_lost in [false, true] {
            let mut client = client(Begin::Boundary);
            let (mut labels, mut lines) = (Labels::default(), Vec::new());
            let end = from + len;
            let hole = if is_lost {
                Input::Lost {
                    len: Some(len as u64),
                }
            } else {
                Input::Unseen {
                    len: len as u64,
                    tail: &message[end - 2..end],
                }
            };
            for input in [
                Input::Bytes(&message[..from]),
                hole,
                Input::Bytes(&message[end..]),
                Input::Bytes(next),
            ] {
                client.push(ToBroker, input, &mut |event| {
                    lines.push(labels.line(&event))
                });
            }
            assert_eq!(lines.join("\n"), expected, "{name}, lost: {is_lost}");
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
        assert!(client.held() < 40 * 1024, "{}", client.held());
    };
    for number in 0..5000 {
        push(
            ToBroker,
            format!("SUB a group{number} {number}\r\nPUB a _INBOX.{number} 4\r\nbody\r\n")
                .as_bytes(),
        );
        push(
            ToClient,
            format!("MSG a 1 reply.{number} 4\r\nbody\r\n").as_bytes(),
        );
    }
    push(ToBroker, b"HPUB a 50000000 60000000\r\n");
    push(ToClient, b"INFO {");
    for _ in 0..100 {
        push(ToBroker, &[b'x'; 65536]);
        push(ToClient, &[b'x'; 65536]);
    }
}

#[test]
fn what_is_not_nats_is_hopeless_at_once_or_after_some_turns() {
    for (name, begin, way, bytes, turns) in [
        ("TLS", Begin::Boundary, ToBroker, &b"\x16\x03\x01"[..], 1),
        (
            "HTTP",
            Begin::Boundary,
            ToBroker,
            b"GET / HTTP/1.1\r\n\r\n",
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
                client.push(ToClient, Input::Bytes(b"+OK\r\n"), &mut |_| {});
            }
        }
        assert!(client.is_hopeless(), "{name}");
    }
}

#[test]
fn only_nats_begins_as_nats_does() {
    for bytes in [
        &b"INFO {\"server_id\":\"NCAFF"[..],
        b"CONNECT {\"echo\": true, \"h",
        b"PUB orders.new  9\r\norder ",
        b"PUB nobody.answers _INBO",
        b"HPUB orders.new  99 108\r\n",
        b"HPUB a 0 6\r\njob aa\r\n",
        b"SUB orders.* workers 1\r\n",
        b"SUB ask  2\r\n",
        b"UNSUB 1 \r\n",
        b"MSG ask 2 _INBOX.NFr6xUO",
        b"MSG _INBOX.a 1  26\r\n{\"str",
        b"HMSG orders.new 1 99 108",
    ] {
        assert!(is_nats(bytes), "{}", bytes.escape_ascii());
    }
    let others = [
        &b"INFO\r\n"[..],
        b"INFO server\r\n",
        b"PING\r\n",
        b"SUB topic channel\n",
        b"PUB topic\n\0\0\0\x04body",
        b"PUBLISH a b\r\n",
        b"SUBSCRIBE a\r\n",
        b"MSG /x HTTP/1.1\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n",
        b"PUB ",
        b"MSG \0\0\0\0",
    ];
    for bytes in OTHER_PROTOCOLS.iter().chain(&others) {
        assert!(!is_nats(bytes), "{}", bytes.escape_ascii());
    }
}

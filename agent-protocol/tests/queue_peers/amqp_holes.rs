//! AMQP met in its middle, and with bytes missing.

use agent_protocol::queue::Conversation;
use agent_protocol::queue::Way::{ToBroker, ToClient};
use agent_protocol::stream::{Begin, Input};

use crate::amqp_frames::{
    ack, client, content, deliver, expect, frame, greeting, publish, publish_method,
};
use crate::show::Labels;

#[test]
fn a_connection_met_in_its_middle_is_read_from_a_turn_that_begins_with_a_method() {
    let tail_of_a_body = [
        &b"rest of a body \x01\x00\x01\xce"[..],
        &publish(1, "", "q", b"body"),
    ]
    .concat();
    for (name, pieces, expected) in [
        (
            "at once",
            vec![(ToBroker, publish(1, "", "q", b"body"))],
            "> sent 1 publish q unanswered [P1] 4B",
        ),
        (
            "after a turn",
            vec![
                (ToBroker, tail_of_a_body),
                (ToClient, deliver(1, "t", 7, "k", b"body")),
                (ToBroker, ack(1, 7, 0)),
            ],
            "< delivered 1000000000007 deliver x:k [P1] 4B\n> settled 1000000000007 ack",
        ),
        (
            "no method of that end",
            vec![(ToClient, publish(1, "", "q", b"body"))],
            "",
        ),
        (
            "a heartbeat",
            vec![(
                ToBroker,
                [frame(8, 0, b""), publish(1, "", "q", b"body")].concat(),
            )],
            "> sent 1 publish q unanswered [P1] 4B",
        ),
        (
            "the greeting",
            vec![(
                ToBroker,
                [greeting(), publish(1, "", "q", b"body")].concat(),
            )],
            "> sent 1 publish q unanswered [P1] 4B",
        ),
    ] {
        expect(name, Begin::Midstream, &pieces, expected);
    }
}

#[test]
fn holes_in_bodies_cost_only_the_hash() {
    let long = [b'x'; 100];
    let mut whole = [greeting(), publish_method(1, "", "q")].concat();
    whole.extend(content(1, &[0, 0], &long[..10]));
    // The body's frame is the last: 7 bytes of head, 10 of body, its end.
    let body_at = whole.len() - 11;
    let next = publish(1, "", "q", b"next");
    for (name, from, hole, expected) in [
        (
            "within the body",
            body_at + 2,
            3,
            "sent 1 publish q unanswered [] 10B\nsent 2 publish q unanswered [P1] 4B",
        ),
        (
            "the rest of the body with the end of its frame",
            body_at + 2,
            9,
            "sent 1 publish q unanswered [] 10B\nsent 2 publish q unanswered [P1] 4B",
        ),
        ("a frame's head", body_at - 3, 4, "unparsed not seen"),
    ] {
        for is_lost in [false, true] {
            let mut client = client(Begin::Boundary);
            let mut labels = Labels::default();
            let mut lines = Vec::new();
            let len = hole as u64;
            let end = from + hole;
            let unseen = Input::Unseen {
                len,
                tail: &whole[end - 2..end],
            };
            let lost = Input::Lost { len: Some(len) };
            let hole = if is_lost { lost } else { unseen };
            for input in [
                Input::Bytes(&whole[..from]),
                hole,
                Input::Bytes(&whole[end..]),
                Input::Bytes(&next),
            ] {
                client.push(ToBroker, input, &mut |event| {
                    lines.push(labels.line(&event))
                });
            }
            // A hole that is a write's rest ends with a frame: the next is found.
            let expected = expected.to_owned();
            assert_eq!(lines.join("\n"), expected, "{name}, lost: {is_lost}");
        }
    }
}

#[test]
fn what_was_not_seen_up_to_a_frame_s_end_is_followed_by_a_frame() {
    let mut client = client(Begin::Boundary);
    let mut lines = Vec::new();
    let mut labels = Labels::default();
    let long = publish(1, "", "q", &[b'x'; 5000]);
    let next = publish(1, "", "q", b"next");
    for input in [
        Input::Bytes(&greeting()),
        Input::Bytes(&long[..100]),
        Input::Unseen {
            len: long.len() as u64 - 100,
            tail: &long[long.len() - 8..],
        },
        Input::Bytes(&next),
    ] {
        client.push(ToBroker, input, &mut |event| {
            lines.push(labels.line(&event))
        });
    }
    assert_eq!(
        lines.join("\n"),
        "unparsed not seen\nsent 2 publish q unanswered [P1] 4B"
    );
}

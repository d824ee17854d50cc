//! Properties over made-up conversations with Redis: what was sent is what is delivered, however the bytes are cut and captured.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use agent_protocol::queue::redis::Client;
use agent_protocol::queue::{Conversation, Event, HASHED_BYTES, Key, Keyer, Limits, Message, Way};
use agent_protocol::stream::{Begin, Input};
use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::test_runner::Config;

/// First bytes of each piece that are captured, as the kernel side does.
const CAPTURED: usize = 2048;

fn bulk(wire: &mut Vec<u8>, bytes: &[u8]) {
    wire.extend(format!("${}\r\n", bytes.len()).into_bytes());
    wire.extend_from_slice(bytes);
    wire.extend_from_slice(b"\r\n");
}

fn array(words: &[&[u8]]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bulk(&mut wire, word));
    wire
}

#[derive(Default)]
struct Seen {
    sent: Vec<Message>,
    delivered: Vec<Message>,
    answered: usize,
    unparsed: usize,
}

struct Peer {
    client: Client,
    seen: Seen,
}

impl Peer {
    fn new() -> Self {
        let keyer = Keyer::new([7; 16]);
        Self {
            client: Client::new(Begin::Boundary, Limits::default(), keyer),
            seen: Seen::default(),
        }
    }

    fn push(&mut self, way: Way, input: Input<'_>) {
        let seen = &mut self.seen;
        self.client.push(way, input, &mut |event| match event {
            Event::Sent(it) => seen.sent.push(it.message),
            Event::Delivered(it) => seen.delivered.push(it.message),
            Event::Answered { error: None, .. } => seen.answered += 1,
            Event::Unparsed(_) => seen.unparsed += 1,
            _ => {}
        });
    }

    fn cut(&mut self, way: Way, wire: &[u8], lengths: &[usize]) {
        let (mut rest, mut lengths) = (wire, lengths.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
            self.push(way, Input::Bytes(piece));
            rest = after;
        }
    }

    /// One write or read, of which the beginning is captured.
    fn captured(&mut self, way: Way, wire: &[u8]) {
        let (seen, unseen) = wire.split_at(wire.len().min(CAPTURED));
        self.push(way, Input::Bytes(seen));
        if !unseen.is_empty() {
            let tail = &unseen[unseen.len().saturating_sub(8)..];
            let len = unseen.len() as u64;
            self.push(way, Input::Unseen { len, tail });
        }
    }
}

fn common(left: &Message, right: &Message) -> Option<Key> {
    left.keys
        .iter()
        .find(|key| right.keys.contains(key))
        .copied()
}

proptest! {
    #![proptest_config(Config::with_cases(200))]

    #[test]
    fn what_is_pushed_is_what_is_popped(
        messages in vec(("[a-z]{1,12}", vec(any::<u8>(), 4..3000)), 1..8),
        lengths in vec(1_usize..200, 1..20),
    ) {
        let (mut sender, mut receiver) = (Peer::new(), Peer::new());
        let (mut commands, mut answers) = (Vec::new(), Vec::new());
        for (queue, payload) in &messages {
            commands.extend(array(&[b"LPUSH", queue.as_bytes(), payload]));
            answers.extend_from_slice(b":1\r\n");
        }
        sender.cut(Way::ToBroker, &commands, &lengths);
        sender.cut(Way::ToClient, &answers, &lengths);
        for (queue, payload) in &messages {
            receiver.cut(Way::ToBroker, &array(&[b"BRPOP", queue.as_bytes(), b"0"]), &lengths);
            receiver.cut(Way::ToClient, &array(&[queue.as_bytes(), payload]), &lengths);
        }
        assert_eq!((sender.seen.sent.len(), sender.seen.answered), (messages.len(), messages.len()));
        assert_eq!(receiver.seen.delivered.len(), messages.len());
        for (sent, delivered) in sender.seen.sent.iter().zip(&receiver.seen.delivered) {
            assert!(common(sent, delivered).is_some());
            assert_eq!(sent.body_bytes, delivered.body_bytes);
        }
    }

    /// Messages that are longer than what is captured: the conversation goes on, and both ends know them.
    #[test]
    fn what_was_not_captured_does_not_hide_what_follows(
        messages in vec(prop_oneof![vec(any::<u8>(), 4..200), vec(any::<u8>(), HASHED_BYTES..9000)], 1..8),
    ) {
        let (mut sender, mut receiver) = (Peer::new(), Peer::new());
        for payload in &messages {
            sender.captured(Way::ToBroker, &array(&[b"RPUSH", b"jobs", payload]));
            sender.captured(Way::ToClient, b":1\r\n");
            receiver.captured(Way::ToBroker, &array(&[b"BLPOP", b"jobs", b"0"]));
            receiver.captured(Way::ToClient, &array(&[b"jobs", payload]));
        }
        assert_eq!(sender.seen.unparsed + receiver.seen.unparsed, 0);
        assert_eq!(sender.seen.answered, messages.len());
        assert_eq!(receiver.seen.delivered.len(), messages.len());
        for (sent, delivered) in sender.seen.sent.iter().zip(&receiver.seen.delivered) {
            assert!(common(sent, delivered).is_some());
        }
    }

    /// After records were lost, an answer is never taken for another command's message.
    #[test]
    fn what_was_lost_joins_no_answer_to_another_command(
        lost in 1_usize..4,
        payloads in vec("[a-z]{4,20}", 2..6),
    ) {
        let mut peer = Peer::new();
        // Several commands are lost; the answers to them come while others wait.
        peer.push(Way::ToBroker, Input::Lost { len: None });
        for payload in &payloads {
            peer.push(Way::ToBroker, Input::Bytes(&array(&[b"LPOP", b"jobs"])));
            for _ in 0..lost {
                let mut value = Vec::new();
                bulk(&mut value, payload.as_bytes());
                peer.push(Way::ToClient, Input::Bytes(&value));
            }
        }
        // One answer to each command looks like a conversation in step: only then may it be trusted, after a while.
        if lost > 1 || payloads.len() <= usize::from(agent_protocol::queue::redis::ALTERNATIONS) {
            assert_eq!(peer.seen.delivered.len(), 0);
        }
    }
}

//! What real clients and Kafka 4.2.1 said, against what is known of it (`recorded/NAME.events`).
//!
//! Each client put three messages of which the first has a context, one more packed by each codec it has, and one that is not answered;
//! then its consumer read them all and committed. `BLESS=1` writes the expectations anew: read them before you commit them.

use std::fmt::Write as _;
use std::path::Path;

use agent_protocol::queue::Event;

use super::lines::{Letters, events, pieces};

const NAMES: [&str; 8] = [
    "aiokafka",
    "confluent",
    "franz-go",
    "java-classic",
    "java-consumer",
    "kafka-go",
    "kafka-python",
    "kafkajs",
];

#[test]
fn recordings_say_what_the_clients_did() {
    for name in NAMES {
        let mut letters = Letters::default();
        let mut text = String::new();
        for (connection, event) in events(&pieces(name), &|bytes| vec![bytes.to_vec()]) {
            writeln!(text, "{connection}: {}", letters.line(&event)).unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/queue_kafka/recorded")
            .join(format!("{name}.events"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(text == expected, "{name}:\n{text}\nexpected:\n{expected}");
    }
}

#[test]
fn each_message_that_arrived_has_a_key_of_one_that_was_sent() {
    for name in NAMES {
        let mut sent = Vec::new();
        let mut places = Vec::new();
        for (_, event) in events(&pieces(name), &|bytes| vec![bytes.to_vec()]) {
            match event {
                Event::Sent(event) => sent.push(event.message),
                Event::Placed(event) => places.extend(event.keys),
                Event::Delivered(event) => {
                    let keys = &event.message.keys;
                    let senders: Vec<_> = sent
                        .iter()
                        .filter(|sent| keys.contains(&sent.keys[0]))
                        .collect();
                    assert!(!senders.is_empty(), "{name}: {event:?}");
                    assert_eq!(senders[0].traceparent, event.message.traceparent);
                    // All but those whose put was not answered.
                    let is_placed = keys.iter().any(|key| places.contains(key));
                    assert!(
                        is_placed || event.message.body_bytes == 9,
                        "{name}: {event:?}"
                    );
                }
                _ => {}
            }
        }
        assert!(!sent.is_empty() && !places.is_empty());
    }
}

#[test]
fn recordings_cut_at_every_byte_say_the_same() {
    for name in NAMES {
        let pieces = pieces(name);
        let whole = events(&pieces, &|bytes| vec![bytes.to_vec()]);
        let cut = events(&pieces, &|bytes| {
            bytes.chunks(1).map(<[u8]>::to_vec).collect()
        });
        assert_eq!(whole, cut, "{name}");
        for len in [3, 7, 61, 300] {
            let cut = events(&pieces, &|bytes| {
                bytes.chunks(len).map(<[u8]>::to_vec).collect()
            });
            assert_eq!(whole, cut, "{name} by {len}");
        }
    }
}

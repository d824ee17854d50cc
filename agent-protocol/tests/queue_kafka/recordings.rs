//! What real clients and Kafka 4.2.1 said, against what is known of it (`recorded/NAME.events`).
//!
//! Each client put three messages of which the first has a context, one more packed by each codec it has, and one that is not answered;
//! then its consumer read them all and committed. `BLESS=1` writes the expectations anew: read them before you commit them.

use agent_protocol::queue::kafka::{Client, Topics};
use agent_protocol::queue::{Event, Keyer, Limits};
use agent_protocol::stream::Begin;

use super::lines::{check, events, pieces};

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

/// What a recording says, cut as `cut` says.
fn told(name: &str, cut: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<(u8, Event)> {
    let topics = Topics::default();
    let make = || -> Box<dyn agent_protocol::queue::Conversation> {
        let (limits, keyer) = (Limits::default(), Keyer::new([1; 16]));
        Box::new(Client::with_topics(
            Begin::Boundary,
            limits,
            keyer,
            topics.clone(),
        ))
    };
    events(&pieces("queue_kafka", name), &make, cut)
}

#[test]
fn recordings_say_what_the_clients_did() {
    for name in NAMES {
        check(
            "queue_kafka",
            name,
            &told(name, &|bytes| vec![bytes.to_vec()]),
        );
    }
}

#[test]
fn each_message_that_arrived_has_a_key_of_one_that_was_sent() {
    for name in NAMES {
        let mut sent = Vec::new();
        let mut places = Vec::new();
        for (_, event) in told(name, &|bytes| vec![bytes.to_vec()]) {
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
        let whole = told(name, &|bytes| vec![bytes.to_vec()]);
        let cut = told(name, &|bytes| bytes.chunks(1).map(<[u8]>::to_vec).collect());
        assert_eq!(whole, cut, "{name}");
        for len in [3, 7, 61, 300] {
            let cut = told(name, &|bytes| {
                bytes.chunks(len).map(<[u8]>::to_vec).collect()
            });
            assert_eq!(whole, cut, "{name} by {len}");
        }
    }
}

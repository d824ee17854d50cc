//! Which broker a key is of.
//!
//! In: an event and the broker's end of its connection. Out: the event, whose keys hold the broker. Always holds: messages of brokers with
//! different ports never meet, whatever their topics, offsets, ids and bodies are; a job's key stays as it is where its id is unique by
//! itself; numbers of jobs and of rows are those of one address, too: two stacks of containers on one host have all ports in common. Refuses:
//! to tell apart by their addresses brokers whose clients may put to one node and take from another; Kafka's are told apart, where a
//! partition is put to and fetched from one node (unless consumers may fetch from the nearest replica, KIP-392). A server with numbers that one
//! client calls by the name of the host and another by an address of its own is two: roots.

use agent_common::abi::protocol;
use agent_protocol::queue::{Event, Key, KeyKind};

use crate::exchange::Endpoints;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// Of what is known by itself, or by its bytes.
    broker: u128,
    /// Of numbers.
    server: u128,
}

impl Scope {
    /// Of a client's connection; that of a unix socket has no port.
    pub(super) fn of(protocol: u8, endpoints: Option<&Endpoints>) -> Self {
        let Some(endpoints) = endpoints else {
            return Self {
                broker: 0,
                server: 0,
            };
        };
        let port = u128::from(endpoints.remote_port);
        // Of the host itself, by whichever of its names.
        let server = if endpoints.remote().is_loopback() {
            port
        } else {
            u128::from_be_bytes(endpoints.remote_addr).rotate_left(64) ^ port
        };
        let is_of_one_node = matches!(protocol, protocol::KAFKA | protocol::POSTGRES);
        Self {
            broker: if is_of_one_node { server } else { port },
            server,
        }
    }

    /// Adds it to an event's keys. They are hashes of 128 bits, so that two which differ do not meet by this.
    pub(super) fn apply(self, event: &mut Event) {
        match event {
            Event::Sent(sent) | Event::Moved(sent) => self.all(&mut sent.message.keys),
            Event::Delivered(delivered) => self.all(&mut delivered.message.keys),
            Event::Placed(placed) => self.all(&mut placed.keys),
            Event::SettledKey { key, .. } | Event::Claimed(key) | Event::Done { job: key, .. } => {
                self.one(key);
            }
            Event::Answered { .. }
            | Event::Unanswered { .. }
            | Event::Fetching
            | Event::Settled { .. }
            | Event::Committed(_)
            | Event::Assigned(_)
            | Event::Group(_)
            | Event::Unparsed(_) => {}
        }
    }

    fn all(self, keys: &mut [Key]) {
        for key in keys {
            self.one(key);
        }
    }

    fn one(self, key: &mut Key) {
        match key.kind {
            KeyKind::Job => {}
            KeyKind::Numbered => key.hash ^= self.server,
            KeyKind::Place | KeyKind::MessageId | KeyKind::Payload => key.hash ^= self.broker,
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::protocol;
    use agent_protocol::queue::{Delivered, Event, Key, KeyKind, Message};

    use super::Scope;
    use crate::exchange::Endpoints;

    fn at(last: u8, remote_port: u16) -> Endpoints {
        let mut remote_addr = [0; 16];
        remote_addr[10..].copy_from_slice(&[255, 255, last, 0, 0, 1]);
        Endpoints {
            local_addr: [0; 16],
            remote_addr,
            local_port: 40_000,
            remote_port,
            family: 2,
            local_text: String::new(),
            remote_text: String::new(),
        }
    }

    fn hash(kind: KeyKind, protocol: u8, first: u8, port: u16) -> u128 {
        let mut event = Event::Delivered(Delivered {
            message: Message {
                keys: vec![Key { kind, hash: 77 }],
                ..Message::default()
            },
            ..Delivered::default()
        });
        Scope::of(protocol, Some(&at(first, port))).apply(&mut event);
        match event {
            Event::Delivered(delivered) => delivered.message.keys[0].hash,
            _ => 0,
        }
    }

    #[test]
    fn equal_places_ids_and_bodies_of_two_brokers_do_not_meet_and_jobs_do() {
        let (kafka, amqp) = (protocol::KAFKA, protocol::AMQP);
        for kind in [KeyKind::Place, KeyKind::MessageId, KeyKind::Payload] {
            for (one, other, meets) in [
                ((kafka, 127, 9092), (kafka, 127, 9093), false),
                ((kafka, 127, 9092), (kafka, 127, 9092), true),
                ((kafka, 10, 9092), (kafka, 11, 9092), false),
                ((amqp, 10, 5672), (amqp, 11, 5672), true),
                ((amqp, 10, 5672), (amqp, 10, 5673), false),
            ] {
                let left = hash(kind, one.0, one.1, one.2);
                let right = hash(kind, other.0, other.1, other.2);
                assert_eq!(left == right, meets, "{kind:?} {one:?} {other:?}");
            }
        }
        assert_eq!(hash(KeyKind::Job, amqp, 10, 1), 77);
        let number = |first, port| hash(KeyKind::Numbered, protocol::REDIS, first, port);
        assert_eq!(number(10, 6379), number(10, 6379));
        assert_ne!(number(10, 6379), number(11, 6379));
        assert_ne!(number(127, 6379), number(127, 6380));
    }
}

//! Apache Kafka: one client's connection to a broker.
//!
//! In: pieces of both directions. Out: [`Event::Sent`] for each record of a produce request, [`Event::Placed`] and [`Event::Answered`] from
//! its answer (each partition of a request is an operation of its own), [`Event::Delivered`] for each record of a fetch response,
//! [`Event::Committed`] for each partition of an offset commit, [`Event::Group`]. Always holds: a request's length is followed whatever it
//! holds, so that what is unseen inside of it costs no more than itself. Refuses: message sets of before Kafka 0.11; the followers' own
//! fetches; TLS.
//!
//! Never comes: [`Event::Settled`] (and `delivery` is 0), as commits go by another connection than fetches, and say how far a group is.
//! [`Event::Fetching`] comes only if it was asked for, as all clients but kafkajs ask for more while they still work.
//!
//! What clients really say to Kafka 4.2.1 (recorded in `tests/queue_kafka`, November 2026), who moves the bytes and who works (seen with
//! strace 6.1 for the Python clients; the others as their sources say):
//!
//! | client | Produce | Fetch | Metadata | OffsetCommit | puts are written by | fetches are read by | work is done by |
//! |---|---|---|---|---|---|---|---|
//! | Java 4.2.1, `group.protocol=classic` | 13 | 18 | 13 | 9 | `kafka-producer-network-thread` | the thread in `poll` | the same, also from what it fetched before |
//! | Java 4.2.1, `group.protocol=consumer` | 13 | 18 | 13 | 10 | the same | `consumer_background_thread` | the thread in `poll` |
//! | confluent-kafka 2.16.1 (librdkafka) | 10 | 16 | 13 | 9 | `rdk:brokerN` | `rdk:brokerN` | the thread in `poll` |
//! | kafka-python 3.0.12 | 9 | 12 | 13 | 8 | the client's I/O thread (`kafka-io-…`) | likewise | the thread in `poll` |
//! | aiokafka 0.14.0 | 7 | 11 | 5 | 3 | a task of the loop | a task of the loop | another task |
//! | kafkajs 2.2.4 | 7 | 11 | 6 | 5 | the loop | the loop | the loop, and the next fetch waits for it |
//! | kafka-go 0.4.51 | 8 | 10 | 6, 8 | 2 | a goroutine for each batch | a goroutine | another goroutine |
//! | franz-go 1.22.3 | 13 | 18 | 13 | 10 | a goroutine for each broker | likewise | another goroutine |
//!
//! Versions from 13 on say topics by their ids. Names come in metadata, which clients ask for on another connection ([`Topics`]).
//!
//! Idempotent producers (Java, kafka-python and franz-go unless told otherwise) number their records: [`super::KeyKind::MessageId`]. A
//! batch that is sent again has the same numbers: two `Sent` with one such key are one message. Keys hold no word of the cluster:
//! who puts messages and deliveries of several clusters together must add one.

mod batch;
mod records;
mod request;
mod response;
mod shared;
mod sniff;
mod topics;
mod unpack;
mod wire;

pub use records::RECORDS_MAX;
pub use sniff::is_kafka;
pub use topics::{NAMED_MAX, Topics};

use self::request::{Request, ToBroker};
use self::response::{Response, ToClient};
use self::shared::Shared;
use super::lane::Lane;
use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, Input};

/// See the module.
#[derive(Debug)]
pub struct Client {
    shared: Shared,
    requests: Lane,
    request: Request,
    responses: Lane,
    response: Response,
}

impl Client {
    /// With a table of topics of its own, which knows only what this connection said.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        Self::with_topics(begin, limits, keyer, Topics::default())
    }

    /// With a table that other connections fill as well.
    #[must_use]
    pub fn with_topics(begin: Begin, limits: Limits, keyer: Keyer, topics: Topics) -> Self {
        Self {
            shared: Shared::new(limits, keyer, topics),
            requests: Lane::new(begin),
            request: Request::default(),
            responses: Lane::new(begin),
            response: Response::default(),
        }
    }
}

impl Client {
    /// Tells each fetch as [`Event::Fetching`]: only for clients that ask for more when they have done all they got (kafkajs).
    #[must_use]
    pub fn that_fetches_when_idle(mut self) -> Self {
        self.shared.tells_fetches = true;
        self
    }

    /// For tests: it was out of step.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn fell(&self) -> bool {
        self.requests.fell || self.responses.fell
    }
}

impl Conversation for Client {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        let limit = self.shared.limits.message_bytes;
        match way {
            Way::ToBroker => {
                self.responses.turn();
                let mut side = ToBroker {
                    request: &mut self.request,
                    shared: &mut self.shared,
                    out,
                };
                self.requests.push(input, limit, &mut side);
            }
            Way::ToClient => {
                self.requests.turn();
                let mut side = ToClient {
                    response: &mut self.response,
                    shared: &mut self.shared,
                    out,
                };
                self.responses.push(input, limit, &mut side);
            }
        }
    }

    fn is_hopeless(&self) -> bool {
        self.requests.is_hopeless()
    }

    fn held(&self) -> usize {
        self.shared.held()
            + self.requests.held()
            + self.responses.held()
            + self.request.held()
            + self.response.held()
    }
}

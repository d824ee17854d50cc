//! AMQP 0-9-1 as RabbitMQ speaks it.
//!
//! In: both directions of a client's connection. Out: [`Event`]s. `publish` gives Sent; the broker's ack and nack, a returned message, a
//! commit and a close that names basic.publish give Answered; `deliver` and `get` give Delivered, and the client's ack, nack and reject
//! Settled. Always holds: what [`super`] says; a message is known by exchange, routing key, its ids and its body, which are the same at
//! both ends, and never by a queue's name. Refuses: AMQP 1.0; what Celery's workers say to each other (events, heartbeats, remote
//! control); results in Celery's `rpc://` backend, which are no messages but say that a job is [`Event::Done`].
//!
//! A correlation-id is no key: it names a request in Celery and in calls with answers, but elsewhere many messages share one. It is
//! hashed with the body, so that equal answers to two calls differ.
//!
//! # What clients do (seen against RabbitMQ 3.10.8 with strace and in `tests/queue_peers`)
//!
//! - pika 1.4.4, `BlockingConnection`: one thread reads, calls back, publishes and acks. A message is three writes: method, header,
//!   body. With confirms `basic_publish` reads until the answer; deliveries that come with it are kept for later. Without a prefetch
//!   limit many deliveries are read at once and worked on one by one, and each ack is written by the callback: what is worked on is the
//!   oldest that is not settled.
//! - Celery 5.7.0, prefork (kombu 5.7, py-amqp 5.4.2): the main process reads deliveries on one connection and acks them there, when a
//!   child accepted the job (`acks_late`: when it ended). The child sends retries, further jobs and results on a connection of its own,
//!   which it opens at its first. So the ack says nothing of the job's end; a result in `rpc://` does, and so does the child's pipe.
//!   Events, remote control and results are read on further connections. `eta` waits in the main process, unacknowledged.
//! - dramatiq 2.2.1 (pika): one thread per queue reads and hands over inside the process; a worker thread runs the job, and the reading
//!   thread acks when it ended. Each thread that sends has a connection of its own. A retry is put to `queue.DQ` with an `eta`, is read from
//!   there at once, held, and put to `queue` when its time has come: that is Moved and no delivery; for want of a clock here all that
//!   dramatiq puts without an `eta` is Moved.
//! - amqplib 2.3.1: an event loop. A message under 2 KiB is one write, but not in the turn that called `publish`: channels are
//!   drained by a `setImmediate`, so several callers' messages and acks go out in that one's context, in the order of the calls on a
//!   channel. One read may carry several deliveries; their callbacks run one after another in the turn that read. The broker makes
//!   consumer tags.
//! - amqp091-go 1.16.0: one goroutine reads, and hands deliveries over Go channels; each caller writes its own message or ack, in one
//!   write, under a lock. Confirms reach a waiting caller through the reading goroutine. Another goroutine writes heartbeats.
//!
use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, Input};
use frame::Frames;
use probe::{Plausible, plausible};
use talk::Talk;

mod celery;
mod content;
mod field;
mod frame;
mod method;
mod probe;
mod talk;

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    to_broker: Frames,
    to_client: Frames,
    talk: Talk,
    /// Who spoke last.
    last: Option<Way>,
}

impl Client {
    /// A connection, met at its beginning or later.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        let from_the_start = begin == Begin::Boundary;
        let frames = |way| Frames::new(way, from_the_start, limits.message_bytes);
        Self {
            to_broker: frames(Way::ToBroker),
            to_client: frames(Way::ToClient),
            talk: Talk::new(limits, keyer),
            last: None,
        }
    }
}

impl Conversation for Client {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        if matches!(input, Input::Bytes([]) | Input::Unseen { len: 0, .. }) {
            return;
        }
        let Self {
            to_broker,
            to_client,
            talk,
            last,
        } = self;
        let frames = match way {
            Way::ToBroker => to_broker,
            Way::ToClient => to_client,
        };
        if last.replace(way) != Some(way) {
            frames.turn();
        }
        frames.push(input, &mut |piece| talk.take(way, piece, out));
    }

    fn is_hopeless(&self) -> bool {
        self.to_broker.is_hopeless || self.to_client.is_hopeless
    }

    fn held(&self) -> usize {
        self.to_broker.held() + self.to_client.held() + self.talk.held()
    }
}

/// The first bytes of a turn are AMQP 0-9-1, at a connection's beginning or in its middle. The rule, with bytes numbered from 0:
///
/// - a client's first: the eight bytes `AMQP 00 00 09 01`;
/// - any other turn: byte 0 is 1; class (bytes 7, 8) and method (bytes 9, 10) are of the table in `method::is_known`; size (bytes 3 to 6)
///   is 4 to 4096; the channel (bytes 1, 2) is 0 for class 10 and for no other; and where the frame is so short that its end is among
///   the bytes, byte 7 + size is 0xCE. The broker's first is 1, channel 0, class 10, method 10;
/// - a heartbeat: `08 00 00 00 00 00 00 CE`.
///
/// Less than eleven bytes (eight) are not enough. FastCGI also begins with 1; its content lengths make no class: byte 7 is 0 and byte 8,
/// the first of its content, is that of a role (0) or of a text, which is none of 10, 20, 40, 50, 60, 85 and 90 with a method's number
/// behind it and a request id of which the low byte (byte 3) is 0.
#[must_use]
pub fn is_amqp(first: &[u8]) -> bool {
    let first = &first[..first.len().min(crate::sniff::SNIFF_BYTES)];
    [Way::ToBroker, Way::ToClient].into_iter().any(|way| {
        match plausible(first, way, usize::MAX) {
            Plausible::Greeting | Plausible::Frame => true,
            // With the names of class and method.
            Plausible::SoFar => first[0] == 1 && first.len() >= 11,
            Plausible::No => false,
        }
    })
}

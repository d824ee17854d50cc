//! NATS and JetStream (nats-server 2.9).
//!
//! In: both directions of a client's connection. Out: [`Event`]s. PUB and HPUB give Sent; the first message to the put's reply subject gives
//! Answered, and before it Placed when it is JetStream's; MSG and HMSG give Delivered; a put to a delivery's reply subject gives Settled:
//! JetStream's ack subject, or an inbox, where the answer is no message of its own; a pull of exactly one message gives Fetching. Always
//! holds: what [`super`] says. Refuses: TLS (the server asks for it in its INFO); the server's own subjects, key-value buckets and object
//! stores, which are no queues; answers as messages.
//!
//! By what a message is known: in JetStream stream and sequence number, which its sender learns from the answer (with subject and size, as
//! two servers may have streams of one name); `Nats-Msg-Id` of a subject; for a request subject, inbox and body, as clients make an inbox
//! for each; subject and body. A put that wants an answer may be a request or a put to JetStream: only its answer says which.
//!
//! A delivery is numbered by its reply subject alone, so that an ack is understood whatever was missed before it. In core NATS a message
//! with a reply subject is settled by the answer; who never answers (a plain subscriber beside a stream) never settles it. Consumers of
//! JetStream without acks have the same ack subjects and never use them.
//!
//! # What clients do (seen against nats-server 2.9.10 with strace and in `tests/queue_peers`)
//!
//! - nats-py 2.16.0: asyncio. `publish` appends to a buffer, and a task of its own, the flusher, writes it: the write is never in the
//!   caller's context, and one write carries all that was published in a turn by several tasks (also acks). Another task reads and parses;
//!   a subscription's callbacks run in a task per subscription, one message after another, and a read may carry several messages.
//!   `fetch(1)` pulls one message and returns; its next pull is often in the same write as the ack before.
//! - nats.js 2.29.3: an event loop. What is published in one turn is written together, after the turn (a microtask or `setImmediate`);
//!   `consume` pulls ahead in batches, and reads of several messages are worked on one by one by an async iterator.
//! - nats.go 1.55.0: one goroutine reads and hands messages to one goroutine per subscription, which calls back. `Publish` appends to a
//!   buffer and kicks a flusher goroutine: the write is the flusher's, and may carry puts and acks of several goroutines. `Consume` pulls
//!   ahead (500).
//!
//! So with all three who writes is not who published: the causality of a put must come from before the write (the library's call), or from
//! the runtime's hand-over to the flusher; the thread or task of the write says nothing.
use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, Input};
use read::Lines;
use talk::Talk;

mod line;
mod read;
mod subject;
mod talk;

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    to_broker: Lines,
    to_client: Lines,
    talk: Talk,
    /// Who spoke last.
    last: Option<Way>,
}

impl Client {
    /// A connection, met at its beginning or later.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        let from_the_start = begin == Begin::Boundary;
        let lines = |way| Lines::new(way, from_the_start, limits.message_bytes);
        Self {
            to_broker: lines(Way::ToBroker),
            to_client: lines(Way::ToClient),
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
        let lines = match way {
            Way::ToBroker => to_broker,
            Way::ToClient => to_client,
        };
        if last.replace(way) != Some(way) {
            lines.turn();
        }
        lines.push(input, &mut |said| talk.take(way, said, out));
    }

    fn is_hopeless(&self) -> bool {
        self.to_broker.is_hopeless || self.to_client.is_hopeless
    }

    fn held(&self) -> usize {
        self.to_broker.held() + self.to_client.held() + self.talk.held()
    }
}

/// The first bytes of a turn are NATS. The rule:
///
/// - the server's first: `INFO {`; the client's first: `CONNECT {` (an HTTP CONNECT never has a brace there, nor has Redis' `INFO`);
/// - any other turn: `PUB`, `HPUB`, `SUB`, `UNSUB`, `MSG` or `HMSG` in capitals and one space, then at least two bytes of a subject, the
///   first neither a control character nor a space nor `/`; no control characters but tab and the line's CR LF among the bytes; where the
///   line ends among them, it ends in CR LF with a digit or a space before it (NSQ's `PUB topic` ends without CR).
///
/// `PING`, `PONG`, `+OK` and `-ERR` also begin other protocols (Redis), and say nothing.
#[must_use]
pub fn is_nats(first: &[u8]) -> bool {
    let first = &first[..first.len().min(crate::sniff::SNIFF_BYTES)];
    if first.starts_with(b"INFO {") || first.starts_with(b"CONNECT {") {
        return true;
    }
    let verbs: [&[u8]; 6] = [b"PUB ", b"HPUB ", b"SUB ", b"UNSUB ", b"MSG ", b"HMSG "];
    let Some(verb) = verbs.iter().find(|verb| first.starts_with(verb)) else {
        return false;
    };
    let rest = &first[verb.len()..];
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or(rest);
    let is_ended = line.len() < rest.len();
    // Subjects have no blanks; NSQ's lines end without CR.
    let is_text = line
        .iter()
        .all(|&byte| matches!(byte, b'!'..=0xff | b' ' | b'\t' | b'\r'));
    let number = line.strip_suffix(b"\r").unwrap_or_default();
    matches!(line, [b'!'..=0xff, _, ..])
        && line[0] != b'/'
        && is_text
        && (!is_ended || number.last().is_some_and(u8::is_ascii_digit) || number.ends_with(b" "))
}

//! A message between its method and the end of its body.
//!
//! In: a content header, a body's pieces. Out: a [`Message`]. Always holds: of a body at most `HASHED_BYTES` are kept, of JSON at
//! most `Limits::message_bytes`. Refuses: more body
//! than the header said.

use super::celery;
use super::field::Properties;
use crate::queue::job::{self, Envelope, of_payload};
use crate::queue::{HASHED_BYTES, KEYS_MAX, Key, Keyer, Message, clip};
use crate::tracecontext::Traceparent;

/// The method before it.
#[derive(Debug)]
pub(super) enum About {
    Put {
        operation: u32,
        /// Its number among those the broker answers, where it does.
        sequence: Option<u64>,
        is_mandatory: bool,
        is_internal: bool,
    },
    Back {
        text: String,
    },
    Given {
        name: &'static str,
        delivery: u64,
        redelivered: bool,
        queue: Option<Vec<u8>>,
        is_internal: bool,
    },
}

/// A message of which some is still to come.
#[derive(Debug)]
pub(super) struct Content {
    pub about: About,
    pub exchange: Vec<u8>,
    pub routing_key: Vec<u8>,
    pub properties: Option<Properties>,
    left: u64,
    first: Vec<u8>,
    /// Of the bytes before the end of `first` none is missing.
    first_is_whole: bool,
}

impl Content {
    pub(super) fn new(about: About, exchange: &[u8], routing_key: &[u8]) -> Self {
        Self {
            about,
            exchange: exchange.to_vec(),
            routing_key: routing_key.to_vec(),
            properties: None,
            left: 0,
            first: Vec::new(),
            first_is_whole: true,
        }
    }

    /// The header; whether it belongs here.
    pub(super) fn header(&mut self, payload: &[u8], whole: bool) -> bool {
        if self.properties.is_some() {
            return false;
        }
        self.properties = Properties::of(payload, whole);
        self.left = self.properties.as_ref().map_or(0, |of| of.body_bytes);
        self.properties.is_some()
    }

    /// A piece of the body; whether it fits.
    pub(super) fn body(&mut self, bytes: &[u8], keep: usize) -> bool {
        let fits = self.pass(bytes.len() as u64);
        if self.first_is_whole {
            // JSON may be a library's, whose fields stand behind its arguments.
            let is_json = self.first.first().or(bytes.first()) == Some(&b'{');
            let most = if is_json {
                keep
            } else {
                keep.min(HASHED_BYTES)
            };
            let room = most.saturating_sub(self.first.len());
            self.first
                .extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        fits
    }

    pub(super) fn hole(&mut self, len: u64) -> bool {
        self.first_is_whole = false;
        self.pass(len)
    }

    fn pass(&mut self, len: u64) -> bool {
        let fits = self.properties.is_some() && len <= self.left;
        self.left = self.left.saturating_sub(len);
        fits
    }

    pub(super) fn is_complete(&self) -> bool {
        self.properties.is_some() && self.left == 0
    }

    pub(super) fn held(&self) -> usize {
        size_of::<Self>()
            + self.exchange.capacity()
            + self.routing_key.capacity()
            + self.first.capacity()
            + self.properties.as_ref().map_or(0, Properties::held)
    }

    /// A message that comes back is the one that was put, by exchange, routing key and body.
    pub(super) fn mark(&self, keyer: &Keyer) -> Option<Key> {
        let size = self.properties.as_ref()?.body_bytes.to_le_bytes();
        self.first_is_whole
            .then(|| keyer.message_id(&[&self.exchange, &self.routing_key, &size, &self.first]))
    }

    /// For a result of Celery's, see [`celery::result`].
    pub(super) fn result(&self) -> Option<(&[u8], Option<bool>)> {
        let id = self.properties.as_ref()?.correlation_id.as_deref()?;
        if !self.exchange.is_empty() {
            return None;
        }
        Some((id, celery::result(&self.routing_key, id, &self.first)?))
    }

    /// The job of a library: in Celery's headers, or in the body (dramatiq's).
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let of = self.properties.as_ref()?;
        let in_body = || {
            self.first_is_whole
                .then(|| of_payload(&self.first))
                .flatten()
        };
        of.celery.envelope().or_else(in_body)
    }

    /// What both ends know it by, and what else is kept.
    pub(super) fn message(&self, keyer: &Keyer, envelope: Option<Envelope>) -> Message {
        let Some(of) = &self.properties else {
            return Message::default();
        };
        // A dead-lettered message came here by another exchange than it was put to.
        let (exchange, routing_key) = match &of.first_put {
            Some((exchange, key)) => (&exchange[..], &key[..]),
            None => (&self.exchange[..], &self.routing_key[..]),
        };
        // Both ids reach the other end as they were written, and tell equal bodies apart.
        let id = of.message_id.as_deref().unwrap_or_default();
        let correlation = of.correlation_id.as_deref().unwrap_or_default();
        let mut place = Vec::new();
        for word in [exchange, routing_key, id, correlation] {
            place.push(word.len() as u8);
            place.extend_from_slice(word);
        }
        let seen = if of.whole && self.first_is_whole {
            &self.first[..]
        } else {
            &[]
        };
        let mut message = job::message(keyer, &place, seen, of.body_bytes, envelope);
        if !id.is_empty() {
            // With the size, as some senders count from one at each start.
            let size = of.body_bytes.to_le_bytes();
            let words: [&[u8]; 5] = [b"amqp", exchange, routing_key, id, &size];
            let at = usize::from(message.job.is_some());
            message.keys.insert(at, keyer.message_id(&words));
            message.keys.truncate(KEYS_MAX);
            message.id = Properties::text(&of.message_id);
        }
        if message.job.is_none() {
            message.conversation = Properties::text(&of.correlation_id);
        }
        if of.traceparent != Traceparent::Absent {
            message.traceparent = of.traceparent;
            message.tracestate = of.tracestate.clone();
        }
        message.retries = of.attempts;
        message
    }
}

/// `messaging.destination.name` of what is put: the exchange and the routing key; the default exchange's key is the queue's name.
pub(super) fn destination(exchange: &[u8], routing_key: &[u8]) -> String {
    match (exchange, routing_key) {
        ([], only) | (only, []) => clip::name(only),
        _ => clip::name(&[exchange, b":", routing_key].concat()),
    }
}

/// A queue that one client has for its answers: the broker made its name, it is RabbitMQ's direct reply-to,
/// or Celery's for results.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(b"amq.gen-")
        || name.starts_with(b"amq.rabbitmq.reply-to")
        || celery::is_uuid(name)
}

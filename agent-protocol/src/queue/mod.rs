//! Messages of queues: what a client and its broker say to each other, whatever the protocol.
//!
//! In: the bytes of both directions of one client's connection, in order within each direction, with holes. Out: [`Event`]s that mean the
//! same for all brokers. Always holds: an event comes with the piece that completes it, so that whoever moved that piece did it; the same
//! bytes in other pieces give the same events; memory is bounded by [`Limits`] whatever a peer claims. Refuses: to keep a message's
//! body: of it only [`Key`]s and the few named fields of a job leave this module.
//!
//! A protocol is one type that implements [`Conversation`]. What libraries put into messages (Celery's headers, Sidekiq's JSON) is
//! `job`'s, and known to no protocol by itself.

pub mod amqp;
pub mod billiard;
mod clip;
mod event;
pub mod job;
pub mod kafka;
mod key;
mod lane;
pub mod mqtt;
pub mod nats;
pub mod postgres;
mod recent;
pub mod redis;
pub mod sqs;

pub use event::{
    Assigned, Committed, Delivered, Event, Job, Message, Placed, Sent, Settle, System,
};
pub use key::{Key, KeyKind, Keyer};

use crate::stream::Input;

/// Most bytes kept of a name (destination, job, id); what is longer is cut at a character.
pub const NAME_MAX: usize = 256;
/// Most keys of one message.
pub const KEYS_MAX: usize = 4;
/// First bytes of a payload from which its hash is made, with the payload's whole length. Both ends see these, however the rest is cut.
pub const HASHED_BYTES: usize = 1024;

/// What a conversation may keep. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes held of one message while it is incomplete; a longer one is read as far as that, and its rest is skipped.
    pub message_bytes: usize,
    /// Most commands whose answers are awaited, unsettled deliveries that are numbered, names of subscriptions (each).
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 * 1024,
            in_flight: 1024,
        }
    }
}

/// Which end wrote a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The client did.
    ToBroker,
    /// The broker did.
    ToClient,
}

/// One client's connection to a broker.
pub trait Conversation {
    /// Takes a piece. Pieces of one direction come in stream order; pieces of the two directions come in the order in which they moved,
    /// as far as that is known: an answer can come before the command it answers, and then finds nothing.
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event));

    /// So much did not parse that these bytes are not of this protocol, or the connection left it (TLS, compression): nothing more can come.
    fn is_hopeless(&self) -> bool;

    /// Bytes and entries held, for tests of the bound.
    fn held(&self) -> usize;
}

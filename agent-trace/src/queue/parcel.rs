//! What is kept of a message until its span is made.
//!
//! In: events of a conversation. Out: what a span says of the message. Always holds: nothing of its body. Refuses: nothing.

use std::hash::{Hash, Hasher};

use agent_protocol::queue::{Delivered, Job, Message, Sent};
use rustc_hash::FxHasher;

use crate::span::SpanId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    /// One of `agent_common::abi::protocol`.
    pub(crate) protocol: u8,
    /// `messaging.operation.name`.
    pub(crate) operation: &'static str,
    pub(crate) destination: String,
    /// `aws.sqs.queue.url`.
    pub(crate) url: Option<String>,
    pub(crate) is_temporary: bool,
    /// It is a message only if somebody takes it.
    pub(crate) is_candidate: bool,
    pub(crate) is_delayed: bool,
    pub(crate) redelivered: bool,
    pub(crate) job: Option<Job>,
    pub(crate) id: Option<String>,
    pub(crate) conversation: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) body_bytes: u64,
    /// The broker's word for what was wrong.
    pub(crate) error: Option<String>,
    /// Of a delivery: how long the message waited, where its put was seen.
    pub(crate) queue_ns: Option<u64>,
    /// Attempts before this one.
    pub(crate) retries: Option<u32>,
    /// The attempt before, when it was seen.
    pub(crate) before: Option<SpanId>,
    /// Messages that came with it in one answer, itself included.
    pub(crate) batch: usize,
}

impl Parcel {
    fn of(protocol: u8, message: Message) -> Self {
        Self {
            protocol,
            retries: message
                .job
                .as_ref()
                .and_then(|job| job.retries)
                .or(message.retries),
            job: message.job,
            id: message.id,
            conversation: message.conversation,
            group: message.group,
            partition: message.partition,
            offset: message.offset,
            key: message.key,
            tracestate: message.tracestate,
            body_bytes: message.body_bytes,
            batch: 1,
            ..Self::default()
        }
    }

    /// Of a message that was put.
    pub(crate) fn sent(protocol: u8, sent: Sent) -> Self {
        Self {
            operation: sent.name,
            destination: sent.destination,
            is_temporary: sent.is_temporary,
            is_delayed: sent.is_delayed,
            ..Self::of(protocol, sent.message)
        }
    }

    /// Of one that was delivered.
    pub(crate) fn delivered(protocol: u8, delivered: Delivered, batch: usize) -> Self {
        Self {
            operation: delivered.name,
            destination: delivered.destination,
            is_temporary: delivered.is_temporary,
            redelivered: delivered.redelivered,
            batch,
            ..Self::of(protocol, delivered.message)
        }
    }

    /// Whether the broker says that it delivered it before.
    pub(crate) fn is_again(&self) -> bool {
        self.redelivered || self.retries.is_some_and(|retries| retries > 0)
    }

    /// Of a record of a log: its topic's partition, and its offset there.
    pub(crate) fn place_in_log(&self) -> Option<(u64, i64)> {
        Some((log_of(&self.destination, self.partition?), self.offset?))
    }

    /// The queue, or the group at a topic, that it was delivered to: each has a copy of its own. Of a log it is the record: a put that was repeated
    /// may stand there twice.
    pub(crate) fn recipient(&self) -> u64 {
        let mut hasher = FxHasher::default();
        (&self.destination, &self.group).hash(&mut hasher);
        self.place_in_log().hash(&mut hasher);
        hasher.finish()
    }
}

/// A topic's partition.
pub(crate) fn log_of(topic: &str, partition: i32) -> u64 {
    let mut hasher = FxHasher::default();
    (topic, partition).hash(&mut hasher);
    hasher.finish()
}

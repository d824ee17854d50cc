//! What happened on a queue's connection.
//!
//! In: nothing; these are the types a conversation fills. Always holds: texts are at most `NAME_MAX` bytes, keys at most `KEYS_MAX`.

use super::key::Key;
use crate::tracecontext::Traceparent;

/// One thing a client or its broker did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client put a message.
    Sent(Sent),
    /// The broker answered the operation with this number: it has the message (`None`), or why not. Not every protocol answers.
    Answered {
        /// [`Sent::operation`] it answers.
        operation: u32,
        /// The broker's word for what was wrong, e.g. `WRONGTYPE`, `NOT_FOUND`.
        error: Option<String>,
    },
    /// What the broker answered to the operation with this number was not told apart: nothing more will be said of it.
    Unanswered {
        /// [`Sent::operation`].
        operation: u32,
    },
    /// The broker said where it put a message, before it answers the operation. It makes the message known by keys that its sender did
    /// not have when it put it.
    Placed(Placed),
    /// The client put a message that the broker had before: a scheduler's due job, a delivery that is given back. Nothing new was asked for:
    /// its context is what it was. Who does not know the message takes it as sent.
    Moved(Sent),
    /// The client asks for the next message: its unit is not at work on one before. Not for prefetching protocols, whose brokers push.
    Fetching,
    /// The client was given a message.
    Delivered(Delivered),
    /// The client said what became of a delivery.
    Settled {
        /// [`Delivered::delivery`].
        delivery: u64,
        /// What.
        how: Settle,
    },
    /// The same of a message that may have been delivered on another connection (of a pool): it is known by one of its keys.
    SettledKey {
        /// One of [`Message::keys`].
        key: Key,
        /// What.
        how: Settle,
    },
    /// The client said how far its group is in a partition (Kafka, on whichever connection): all deliveries below that are done.
    Committed(Committed),
    /// The client asked how far its group is in a partition (Kafka, on whichever connection): it was given that to read.
    Assigned(Assigned),
    /// The client works for this consumer group; said once. Its deliveries come on other connections of the same process.
    Group(String),
    /// The client began to work on a job that it or another process was given before (a forked child names its job).
    Claimed(Key),
    /// The client said that a job ended, by storing its result or by the library's own bookkeeping.
    Done {
        /// Of the job.
        job: Key,
        /// It failed, as far as the client said so.
        failed: bool,
    },
    /// What was said cannot be read; the conversation goes on at the next message it can recognise.
    Unparsed(&'static str),
}

/// A message on its way to the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Number of the operation on this connection; several messages of one command share it.
    pub operation: u32,
    /// `messaging.operation.name`: the protocol's own word in lower case, e.g. `lpush`, `publish`.
    pub name: &'static str,
    /// `messaging.destination.name`: queue, topic, or exchange and routing key.
    pub destination: String,
    /// It is put aside for later (a delayed or scheduled job, a retry with a waiting time).
    pub is_delayed: bool,
    /// Nothing will answer it, except perhaps to say that it failed: fire and forget (AMQP without confirms, NATS core, MQTT's QoS 0).
    pub is_unanswered: bool,
    /// `messaging.destination.temporary`: a queue of one client that reads its answers there; its name is in no other's story.
    pub is_temporary: bool,
    /// It is a message only if somebody takes messages from this destination: a row, in a table that may be no queue.
    pub is_candidate: bool,
    /// The attempt that runs is given up by it, to be made again: whoever works on the job puts it.
    pub is_again: bool,
    /// The message.
    pub message: Message,
}

/// A message that reached its consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Number by which it is settled; unique on this connection. 0: it is never settled (the protocol or the mode has no ack).
    pub delivery: u64,
    /// `messaging.operation.name`, e.g. `brpop`, `deliver`.
    pub name: &'static str,
    /// `messaging.destination.name`: the queue where that is known, else the topic or subject.
    pub destination: String,
    /// The broker says that it was delivered before.
    pub redelivered: bool,
    /// `messaging.destination.temporary`, see [`Sent::is_temporary`].
    pub is_temporary: bool,
    /// The message.
    pub message: Message,
}

/// What is kept of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What it can be known by at its other end, the surest first.
    pub keys: Vec<Key>,
    /// W3C context in its headers or in the job's.
    pub traceparent: Traceparent,
    /// `tracestate` beside a valid `traceparent`.
    pub tracestate: Option<String>,
    /// The job it stands for, when a library's envelope was recognised.
    pub job: Option<Job>,
    /// `messaging.message.id`, when the protocol or the library has one in clear.
    pub id: Option<String>,
    /// `messaging.message.conversation_id`: AMQP's correlation-id, a chain's root id.
    pub conversation: Option<String>,
    /// `messaging.consumer.group.name`, when this connection said it.
    pub group: Option<String>,
    /// Attempts before this one as the broker counts them (AMQP's `x-death` and `x-delivery-count`, JetStream's number of deliveries).
    pub retries: Option<u32>,
    /// Bytes of its body on the wire.
    pub body_bytes: u64,
    /// `messaging.destination.partition.id`, where destinations have partitions.
    pub partition: Option<i32>,
    /// `messaging.kafka.offset`, once the broker gave it one.
    pub offset: Option<i64>,
    /// `messaging.kafka.message.key`, when it is text.
    pub key: Option<String>,
}

/// Where a broker put a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// [`Sent::operation`].
    pub operation: u32,
    /// Which of the operation's [`Sent`]s, from 0 in the order in which they came.
    pub nth: u32,
    /// What the message can be known by from now on, too.
    pub keys: Vec<Key>,
    /// As in [`Message::offset`].
    pub offset: Option<i64>,
    /// As in [`Message::id`].
    pub id: Option<String>,
}

/// How far a group is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// `messaging.consumer.group.name`.
    pub group: String,
    /// `messaging.destination.name`: the topic; empty when only its id was said and nobody told its name.
    pub destination: String,
    /// Of the topic.
    pub partition: i32,
    /// The first offset that is not done.
    pub offset: i64,
}

/// What a member of a group reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// `messaging.consumer.group.name`.
    pub group: String,
    /// As in [`Committed::destination`].
    pub destination: String,
    /// Of the topic.
    pub partition: i32,
}

/// Libraries whose envelopes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// Celery (protocol 2), over any broker of kombu.
    Celery,
    /// RQ.
    Rq,
    /// dramatiq.
    Dramatiq,
    /// huey.
    Huey,
    /// BullMQ.
    BullMq,
    /// Sidekiq.
    Sidekiq,
    /// asynq.
    Asynq,
    /// procrastinate.
    Procrastinate,
}

/// A job as its library names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub system: System,
    /// Its key; also the first of [`Message::keys`].
    pub key: Key,
    /// Name of what is run (task, class, actor): low cardinality. Empty when the message does not say.
    pub name: String,
    /// Attempts before this one, when the message says so.
    pub retries: Option<u32>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settle {
    /// Done with it.
    Ack,
    /// Back to the queue.
    Requeue,
    /// Refused for good: dropped or dead-lettered.
    Reject,
}

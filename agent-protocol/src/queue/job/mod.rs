//! Jobs of known libraries inside of messages, whatever broker carries them.
//!
//! In: a payload, or as much of it as was seen. Out: an [`Envelope`]: id, name, attempts, context. Always holds: one pass over the bytes,
//! no recursion; a field counts only if all of it was seen. Refuses: to guess: what lacks a field that its library always writes is no
//! envelope.
//!
//! | library | envelope | id | name | attempts before |
//! |---|---|---|---|---|
//! | Celery 5 (protocol 2, kombu) | JSON `{"body", "headers": {…}, "properties": {…}}`; over AMQP its headers are AMQP's | `headers.id` | `headers.task` | `headers.retries` |
//! | Sidekiq 6, 7 | JSON | `jid` | `class`, or `wrapped` for ActiveJob | `retry_count` + 1 |
//! | dramatiq 1, 2 | JSON | `message_id`, | `actor_name` | `options.retries` |
//! | huey 2, 3 | pickle of `Message` | first text | second text | - |
//!
//! RQ's payload is the id alone, BullMQ's and asynq's envelopes lie beside the lists: `redis` knows these from the keys' names.

mod dramatiq;
mod json;
mod pickle;

use super::event::{Job, Message, System};
use super::key::Keyer;
use super::{KEYS_MAX, NAME_MAX};
use crate::tracecontext::{self, Traceparent};

pub(crate) use json::{Value, first_element, members};
pub(crate) use pickle::huey_failed;

/// What a library's envelope says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Whose.
    pub system: System,
    /// The job's id: the same in each of its attempts.
    pub id: String,
    /// What is run; empty if it does not say.
    pub name: String,
    /// The library's name of the queue.
    pub queue: Option<String>,
    /// What the library calls this one message, when that is not the job's id: kombu's delivery tag, dramatiq's `redis_message_id`.
    pub message_id: Option<String>,
    /// Attempts before this one.
    pub retries: Option<u32>,
    /// Id of the chain's first job.
    pub root: Option<String>,
    /// Context in its headers.
    pub traceparent: Traceparent,
    /// Beside it.
    pub tracestate: Option<String>,
    /// It is to be run later than when it is delivered.
    pub is_later: bool,
    /// It was put back after a delivery that nobody settled.
    pub is_redelivered: bool,
}

impl Envelope {
    pub(crate) fn new(system: System, id: String) -> Self {
        Self {
            system,
            id,
            name: String::new(),
            queue: None,
            message_id: None,
            retries: None,
            root: None,
            traceparent: Traceparent::Absent,
            tracestate: None,
            is_later: false,
            is_redelivered: false,
        }
    }

    /// Takes the members that are context, under whatever name of the member they were found.
    pub(crate) fn context(&mut self, key: &[u8], value: &Value<'_>) {
        match key {
            b"traceparent" => {
                if let Some(text) = value.plain() {
                    self.traceparent.add(text);
                }
            }
            b"tracestate" => self.tracestate = value.text(),
            _ => {}
        }
    }

    /// `tracestate` counts only beside a valid `traceparent`, and if it is valid itself.
    pub(crate) fn finished(mut self) -> Self {
        let is_valid = matches!(self.traceparent, Traceparent::Valid(_));
        self.tracestate
            .take_if(|state| !is_valid || !tracecontext::tracestate_is_valid(state));
        self
    }
}

/// Recognises an envelope by what it says itself.
#[must_use]
pub fn of_payload(seen: &[u8]) -> Option<Envelope> {
    match seen.trim_ascii_start().first()? {
        b'{' => of_json(seen),
        0x80 => pickle::of_huey(seen),
        _ => None,
    }
}

fn of_json(seen: &[u8]) -> Option<Envelope> {
    let (mut jid, mut class) = (None, None);
    for (key, value) in members(seen) {
        match key {
            // kombu writes `body` first, the others do not know these names.
            b"headers" | b"properties" => return of_kombu(seen),
            b"message_id" | b"actor_name" => return dramatiq::of_json(seen),
            b"jid" => jid = Some(value),
            b"class" => class = Some(value),
            _ => {}
        }
        if jid.is_some() && class.is_some() {
            return of_sidekiq(seen);
        }
    }
    None
}

/// Fields of Celery's protocol 2, from whatever map carries them.
#[derive(Clone, Debug, Default)]
pub struct CeleryFields<'a> {
    /// `id`; without it and `task` this is no job.
    pub id: Option<&'a str>,
    /// `task`.
    pub task: Option<&'a str>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `root_id`.
    pub root_id: Option<&'a str>,
    /// `parent_id`: the job that sent this one.
    pub parent_id: Option<&'a str>,
    /// `eta` is there and not null.
    pub has_eta: bool,
    /// `traceparent`.
    pub traceparent: Option<&'a [u8]>,
    /// `tracestate`.
    pub tracestate: Option<&'a str>,
}

/// A Celery job whose headers a protocol carries itself.
#[must_use]
pub fn of_celery(fields: &CeleryFields<'_>) -> Option<Envelope> {
    let id = fields.id.filter(|id| !id.is_empty())?;
    let mut envelope = Envelope::new(System::Celery, cut(id.to_owned()));
    envelope.name = cut(fields.task?.to_owned());
    envelope.retries = fields.retries;
    // A job that nobody sent is its own root: that says nothing.
    envelope.root = fields
        .root_id
        .filter(|root| *root != id)
        .map(|root| cut(root.to_owned()));
    envelope.is_later = fields.has_eta;
    if let Some(value) = fields.traceparent {
        envelope.traceparent.add(value);
    }
    envelope.tracestate = fields.tracestate.map(ToOwned::to_owned);
    Some(envelope.finished())
}

/// kombu's message for brokers that have no headers.
fn of_kombu(seen: &[u8]) -> Option<Envelope> {
    let mut headers = None;
    let (mut is_redelivered, mut tag) = (false, None);
    for (key, value) in members(seen) {
        match key {
            b"headers" => headers = Some(value),
            b"properties" => {
                for (key, value) in value.members() {
                    match key {
                        b"delivery_tag" => tag = value.text(),
                        b"delivery_info" => {
                            is_redelivered |= value
                                .members()
                                .any(|(key, value)| key == b"redelivered" && value.raw == b"true");
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (mut id, mut task, mut root_id, mut parent_id) = (None, None, None, None);
    let (mut retries, mut has_eta, mut traceparent, mut tracestate) = (None, false, None, None);
    for (key, value) in headers?.members() {
        match key {
            b"id" => id = value.text(),
            b"task" => task = value.text(),
            b"root_id" => root_id = value.text(),
            b"parent_id" => parent_id = value.text(),
            b"retries" => retries = value.number().and_then(|n| u32::try_from(n).ok()),
            b"eta" => has_eta = value.is_something(),
            b"traceparent" => traceparent = value.plain(),
            b"tracestate" => tracestate = value.text(),
            _ => {}
        }
    }
    let mut envelope = of_celery(&CeleryFields {
        id: id.as_deref(),
        task: task.as_deref(),
        retries,
        root_id: root_id.as_deref(),
        parent_id: parent_id.as_deref(),
        has_eta,
        traceparent,
        tracestate: tracestate.as_deref(),
    })?;
    envelope.message_id = tag;
    envelope.is_redelivered = is_redelivered;
    Some(envelope)
}

fn of_sidekiq(seen: &[u8]) -> Option<Envelope> {
    let (mut jid, mut class, mut wrapped) = (None, None, None);
    let mut envelope = Envelope::new(System::Sidekiq, String::new());
    for (key, value) in members(seen) {
        match key {
            b"jid" => jid = value.text(),
            b"class" => class = value.text(),
            b"wrapped" => wrapped = value.text(),
            b"queue" => envelope.queue = value.text(),
            b"retry_count" => {
                let count = value.number().and_then(|n| u32::try_from(n).ok());
                envelope.retries = count.map(|count| count.saturating_add(1));
            }
            // OpenTelemetry's gem writes into the job itself.
            b"trace_propagation_headers" => {
                for (key, value) in value.members() {
                    envelope.context(key, &value);
                }
            }
            _ => envelope.context(key, &value),
        }
    }
    envelope.id = jid.filter(|jid| !jid.is_empty())?;
    envelope.name = wrapped.or(class)?;
    Some(envelope.finished())
}

/// What is kept of a message: keys, context and job. `destination` is the broker's own name of where it lies.
#[must_use]
pub fn message(
    keyer: &Keyer,
    destination: &[u8],
    seen: &[u8],
    whole_len: u64,
    envelope: Option<Envelope>,
) -> Message {
    let mut message = Message {
        body_bytes: whole_len,
        ..Message::default()
    };
    if let Some(envelope) = envelope {
        let key = keyer.job(envelope.system, envelope.id.as_bytes());
        message.keys.push(key);
        if let Some(id) = &envelope.message_id {
            message.keys.push(keyer.message_id(&[id.as_bytes()]));
        }
        message.traceparent = envelope.traceparent;
        message.tracestate = envelope.tracestate;
        message.conversation = envelope.root;
        message.id = Some(envelope.id);
        message.job = Some(Job {
            system: envelope.system,
            key,
            name: envelope.name,
            retries: envelope.retries,
        });
    }
    message
        .keys
        .extend(keyer.payload(destination, seen, whole_len));
    message.keys.truncate(KEYS_MAX);
    message
}

/// At most [`NAME_MAX`] bytes, cut at a character.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > NAME_MAX {
        text.truncate(text.floor_char_boundary(NAME_MAX));
        text.shrink_to_fit();
    }
    text
}

/// Bytes as a name: what is no UTF-8 is replaced, and it is cut as [`cut`] does.
pub(crate) fn name_of(bytes: &[u8]) -> String {
    cut(String::from_utf8_lossy(bytes.get(..2 * NAME_MAX).unwrap_or(bytes)).into_owned())
}

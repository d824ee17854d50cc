//! What Celery says in a message over AMQP: protocol 2, whose job is in the headers (Celery 4 to 5.7).
//!
//! In: header fields, names of exchanges and queues, bodies of results. Out: an [`Envelope`]; what is no message of a user's. Always holds:
//! ids and names are kept cut. Refuses: a message without both `id` and `task`.

use super::field::Value;
use crate::queue::clip;
use crate::queue::job::{CeleryFields, Envelope, of_celery};

/// Header fields of a task's message.
#[derive(Debug, Default)]
pub(super) struct Headers {
    id: Option<String>,
    task: Option<String>,
    root: Option<String>,
    parent: Option<String>,
    retries: Option<u32>,
    has_eta: bool,
}

impl Headers {
    pub(super) fn add(&mut self, name: &[u8], value: Value<'_>) {
        match (name, value) {
            (b"id", Value::Text(text)) => self.id = clip::some_name(text),
            (b"task", Value::Text(text)) => self.task = clip::some_name(text),
            (b"root_id", Value::Text(text)) => self.root = clip::some_name(text),
            (b"parent_id", Value::Text(text)) => self.parent = clip::some_name(text),
            (b"retries", Value::Number(number)) => self.retries = u32::try_from(number).ok(),
            // It waits in the worker for its time.
            (b"eta", Value::Text(text)) => self.has_eta = !text.is_empty(),
            _ => {}
        }
    }

    /// Without the context, which every message's headers may have.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        of_celery(&CeleryFields {
            id: self.id.as_deref(),
            task: self.task.as_deref(),
            retries: self.retries,
            root_id: self.root.as_deref(),
            parent_id: self.parent.as_deref(),
            has_eta: self.has_eta,
            ..CeleryFields::default()
        })
    }

    pub(super) fn held(&self) -> usize {
        [&self.id, &self.task, &self.root, &self.parent]
            .into_iter()
            .flatten()
            .map(String::len)
            .sum()
    }
}

/// The workers' own talk: events, heartbeats, remote control and its answers (kombu's `pidbox`), which no job's story needs.
pub(super) fn is_internal(exchange: &[u8], routing_key: &[u8], queue: &[u8]) -> bool {
    exchange == b"celeryev"
        || exchange.ends_with(b"celery.pidbox")
        || [routing_key, queue]
            .iter()
            .any(|name| name.ends_with(b".celery.pidbox") || name.starts_with(b"celeryev."))
}

/// A result in the `rpc://` backend (Celery 5.7 with its JSON): it goes to a queue whose name is a UUID, and its correlation-id is the
/// task's id. `Some(None)`: the task has not ended, it is retried for example.
pub(super) fn result(queue: &[u8], correlation_id: &[u8], body: &[u8]) -> Option<Option<bool>> {
    if !is_uuid(queue) || correlation_id.is_empty() {
        return None;
    }
    let rest = body.strip_prefix(b"{\"status\": \"")?;
    let (status, rest) = rest.split_at(rest.iter().position(|&byte| byte == b'"')?);
    rest.strip_prefix(b"\", \"result\": ")?;
    Some(match status {
        b"SUCCESS" => Some(false),
        b"FAILURE" | b"REVOKED" => Some(true),
        _ => None,
    })
}

/// A name that is a UUID is one process': Celery's queue of results.
pub(super) fn is_uuid(name: &[u8]) -> bool {
    name.len() == 36
        && name.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

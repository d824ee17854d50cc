//! Answers to commands that were not seen: what a worker was waiting for when its connection was met.
//!
//! In: an answer that is not known to belong to a command. Out: [`crate::queue::Event::Delivered`] where its shape leaves no doubt. Always holds: a list's
//! message counts when it names its queue itself, and that is the key it came with; a stream's by its entries' ids; a BullMQ job where the
//! connection has spoken of one queue only. Refuses: a message alone (`LMOVE`, `LPOP`): it may be what a look into a list gives.

use super::command::payload;
use super::frame::{Frame, Kind};
use super::library;
use super::reply::is_entry_id;
use super::state::{Out, Payload, State};
use crate::queue::System;
use crate::queue::job::members;

/// What is known of an answer's command: nothing. (`messaging.operation.name`.)
const POP: &str = "pop";
const READ: &str = "xread";

impl State {
    /// An answer of an unknown command is complete.
    pub(super) fn unasked(&mut self, frame: &Frame, root: usize, out: Out<'_>) {
        let kind = |node: usize| frame.node(node).map(|node| node.kind);
        if kind(root) != Some(Kind::Array) {
            return;
        }
        let elements: Vec<usize> = frame.children(root).take(5).collect();
        match elements.as_slice() {
            [key, message]
                if (kind(*key), kind(*message)) == (Some(Kind::Bulk), Some(Kind::Bulk)) =>
            {
                let (key, payload) = (frame.text(*key), payload(frame, *message));
                if is_from(key, payload) {
                    self.deliver(POP, (key, payload), None, out);
                }
            }
            [hash, id, _, _]
                if (kind(*hash), kind(*id)) == (Some(Kind::Array), Some(Kind::Bulk)) =>
            {
                let names: Vec<&[u8]> = frame
                    .children(*hash)
                    .step_by(2)
                    .map(|at| frame.text(at))
                    .collect();
                let is_job = [&b"name"[..], b"data", b"timestamp"]
                    .iter()
                    .all(|name| names.contains(name));
                let queue = self.bullmq.clone().flatten();
                if let Some(queue) = queue.filter(|_| is_job) {
                    self.bullmq_job("evalsha", &queue, (frame, root), out);
                }
            }
            _ => self.unasked_entries(frame, root, out),
        }
    }

    /// `[[key, [entry …]] …]`, in RESP3 `{key: [entry …] …}`.
    fn unasked_entries(&mut self, frame: &Frame, root: usize, out: Out<'_>) {
        let is_array = |node: usize| {
            frame
                .node(node)
                .is_some_and(|node| node.kind == Kind::Array)
        };
        let first = frame.children(root).next();
        let streams: Vec<(usize, usize)> = if first.is_some_and(is_array) {
            frame
                .children(root)
                .filter_map(|stream| {
                    let mut parts = frame.children(stream);
                    Some((parts.next()?, parts.next()?))
                })
                .collect()
        } else {
            let flat: Vec<usize> = frame.children(root).collect();
            flat.chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect()
        };
        for (key, list) in streams {
            let key = frame
                .word(key)
                .filter(|key| !is_entry_id(key) && is_array(list));
            let Some(key) = key else {
                return;
            };
            for entry in frame.children(list) {
                if !self.stream_entry((READ, key), (true, false), (frame, entry), out) {
                    return;
                }
            }
        }
    }
}

/// Whether the message says that it lies in this list.
fn is_from(key: &[u8], payload: Payload<'_>) -> bool {
    let Some(envelope) = library::envelope(key, payload) else {
        return false;
    };
    let queue = envelope.queue.as_deref().map(str::as_bytes);
    match envelope.system {
        System::Rq => key.starts_with(b"rq:queue:") && is_uuid(payload.seen),
        System::Huey => key.starts_with(b"huey.redis."),
        System::Sidekiq => {
            queue == Some(library::last_word(key))
                && key.ends_with(&[b"queue:", queue.unwrap_or(b"")].concat())
        }
        System::Celery => {
            routing_key(payload.seen).is_some_and(|name| library::destination(key, None) == name)
        }
        System::Dramatiq | System::BullMq | System::Asynq | System::Procrastinate => false,
    }
}

/// Where kombu sent it.
fn routing_key(message: &[u8]) -> Option<String> {
    let (_, properties) = members(message).find(|(key, _)| *key == b"properties")?;
    let (_, info) = properties
        .members()
        .find(|(key, _)| *key == b"delivery_info")?;
    let (_, routing_key) = info.members().find(|(key, _)| *key == b"routing_key")?;
    routing_key.text()
}

/// `a6f3….-….-….-….-….`
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

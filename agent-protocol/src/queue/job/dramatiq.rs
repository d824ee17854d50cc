//! dramatiq's messages (1.x and 2.x encode them as JSON).
//!
//! In: `{"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}`. Out: an [`Envelope`]. Always holds:
//! `message_id` is the same in each attempt; over Redis each attempt has another `options.redis_message_id`. Refuses: what has no actor.

use super::{Envelope, members};
use crate::queue::event::System;

pub(super) fn of_json(seen: &[u8]) -> Option<Envelope> {
    let (mut id, mut actor) = (None, None);
    let mut envelope = Envelope::new(System::Dramatiq, String::new());
    for (key, value) in members(seen) {
        match key {
            b"message_id" => id = value.text(),
            b"actor_name" => actor = value.text(),
            b"queue_name" => envelope.queue = value.text(),
            b"options" => {
                for (key, value) in value.members() {
                    match key {
                        b"retries" => {
                            envelope.retries = value.number().and_then(|n| u32::try_from(n).ok());
                        }
                        b"redis_message_id" => envelope.message_id = value.text(),
                        b"eta" => envelope.is_later = value.is_something(),
                        // OpenTelemetry's instrumentation puts its carrier here.
                        b"trace_ctx" => {
                            for (key, value) in value.members() {
                                envelope.context(key, &value);
                            }
                        }
                        _ => envelope.context(key, &value),
                    }
                }
            }
            _ => {}
        }
    }
    envelope.id = id.filter(|id| !id.is_empty())?;
    envelope.name = actor?;
    Some(envelope.finished())
}

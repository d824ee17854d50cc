//! Events of queues as a line of text each, for tests that read as lists.
//!
//! In: an event. Out: its words. Always holds: of a key only its kind and four digits are shown, which differ for the keys of a test.

#![allow(clippy::unwrap_used, dead_code, reason = "tests")]

use std::fmt::Write as _;

use agent_protocol::queue::{Event, Key, KeyKind, Message};
use agent_protocol::tracecontext::Traceparent;

/// One event.
pub fn event_text(event: &Event) -> String {
    match event {
        Event::Sent(sent) | Event::Moved(sent) => {
            let what = if matches!(event, Event::Sent(_)) {
                "sent"
            } else {
                "moved"
            };
            let later = if sent.is_delayed { " later" } else { "" };
            let (operation, name, destination) = (sent.operation, sent.name, &sent.destination);
            format!(
                "{what} #{operation} {name} {destination}{later} {}",
                message_text(&sent.message)
            )
        }
        Event::Delivered(it) => {
            let again = if it.redelivered { " again" } else { "" };
            let (number, name, destination) = (it.delivery, it.name, &it.destination);
            format!(
                "delivered #{number} {name} {destination}{again} {}",
                message_text(&it.message)
            )
        }
        Event::Placed(placed) => {
            let keys: Vec<_> = placed.keys.iter().map(key_text).collect();
            format!("placed #{} {}", placed.operation, keys.join(" "))
        }
        Event::Unanswered { operation } => format!("unanswered #{operation}"),
        Event::Answered { operation, error } => format!("answered #{operation} {error:?}"),
        Event::Settled { delivery, how } => format!("settled #{delivery} {how:?}"),
        Event::SettledKey { key, how } => format!("settled {} {how:?}", key_text(key)),
        Event::Claimed(key) => format!("claimed {}", key_text(key)),
        Event::Done { job, failed } => format!("done {} failed={failed}", key_text(job)),
        Event::Fetching => "fetching".to_owned(),
        other => format!("{other:?}"),
    }
}

/// One key.
pub fn key_text(key: &Key) -> String {
    let kind = match key.kind {
        KeyKind::Job | KeyKind::Numbered => "job",
        KeyKind::Place => "place",
        KeyKind::MessageId => "id",
        KeyKind::Payload => "hash",
    };
    format!("{kind}:{:04x}", key.hash & 0xffff)
}

fn message_text(message: &Message) -> String {
    let mut text = String::new();
    if let Some(job) = &message.job {
        write!(text, "{:?} {}", job.system, job.name).unwrap();
        if let Some(retries) = job.retries {
            write!(text, " retries={retries}").unwrap();
        }
    }
    for (name, value) in [("id", &message.id), ("root", &message.conversation)] {
        if let Some(value) = value {
            write!(text, " {name}={value}").unwrap();
        }
    }
    if message.traceparent != Traceparent::Absent {
        write!(text, " traceparent").unwrap();
    }
    for key in &message.keys {
        write!(text, " {}", key_text(key)).unwrap();
    }
    text.trim_start().to_owned()
}

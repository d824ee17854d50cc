//! Recordings in, one line for each event out.
//!
//! Keys are written as letters: equal keys have the same letter, so that a line shows with what a message meets its other end.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use agent_protocol::queue::{Conversation, Event, Key, KeyKind, Message, Settle, Way};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

/// A piece: of which connection, which way, its bytes.
pub type Piece = (u8, Way, Vec<u8>);

/// The pieces of a recording, in the order in which they moved.
pub fn pieces(folder: &str, name: &str) -> Vec<Piece> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder)
        .join("recorded")
        .join(format!("{name}.rec"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut pieces = Vec::new();
    let mut rest = &bytes[..];
    while let [connection, way, a, b, c, d, after @ ..] = rest {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let way = [Way::ToBroker, Way::ToClient][usize::from(*way)];
        pieces.push((*connection, way, after[..len].to_vec()));
        rest = &after[len..];
    }
    pieces
}

/// All connections of one client, each made by `make`, cut as `cut` says.
pub fn events(
    pieces: &[Piece],
    make: &dyn Fn() -> Box<dyn Conversation>,
    cut: &dyn Fn(&[u8]) -> Vec<Vec<u8>>,
) -> Vec<(u8, Event)> {
    let mut clients: HashMap<u8, Box<dyn Conversation>> = HashMap::new();
    let mut seen = Vec::new();
    for (connection, way, bytes) in pieces {
        let client = clients.entry(*connection).or_insert_with(make);
        for piece in cut(bytes) {
            client.push(*way, Input::Bytes(&piece), &mut |event| {
                seen.push((*connection, event));
            });
        }
        assert!(!client.is_hopeless());
        assert!(client.held() < 64 * 1024, "{} held", client.held());
    }
    seen
}

/// Checks what a recording says against `NAME.events` beside it, or writes that (`BLESS=1`).
pub fn check(folder: &str, name: &str, events: &[(u8, Event)]) {
    let mut letters = Letters::default();
    let mut text = String::new();
    for (connection, event) in events {
        writeln!(text, "{connection}: {}", letters.line(event)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder)
        .join("recorded")
        .join(format!("{name}.events"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(text == expected, "{name}:\n{text}\nexpected:\n{expected}");
}

/// Letters of keys, in the order of their first coming.
#[derive(Default)]
pub struct Letters(HashMap<Key, String>);

impl Letters {
    fn of(&mut self, keys: &[Key]) -> String {
        let mut words = Vec::new();
        for key in keys {
            let count = self.0.len() as u8;
            let letter = self.0.entry(*key).or_insert_with(|| {
                let letter = char::from(b'a' + count % 26);
                if count < 26 {
                    letter.to_string()
                } else {
                    format!("{letter}{}", count / 26)
                }
            });
            let kind = match key.kind {
                KeyKind::Job | KeyKind::Numbered => "job",
                KeyKind::Place => "at",
                KeyKind::MessageId => "id",
                KeyKind::Payload => "like",
            };
            words.push(format!("{kind}:{letter}"));
        }
        words.join(" ")
    }

    fn message(&mut self, message: &Message) -> String {
        let mut words = vec![self.of(&message.keys)];
        words.extend(message.key.as_ref().map(|key| format!("key={key}")));
        words.extend(message.partition.map(|partition| format!("p{partition}")));
        words.extend(message.offset.map(|offset| format!("@{offset}")));
        words.extend(message.group.as_ref().map(|group| format!("group={group}")));
        match message.traceparent {
            Traceparent::Absent => {}
            Traceparent::Valid(_) => words.push("traceparent".to_owned()),
            Traceparent::Invalid(why) => words.push(format!("{why:?}")),
        }
        words.extend(message.tracestate.clone());
        if let Some(job) = &message.job {
            words.push(format!("{:?} {} {:?}", job.system, job.name, job.retries));
        }
        words.push(format!("{} bytes", message.body_bytes));
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }

    /// An event as a line.
    pub fn line(&mut self, event: &Event) -> String {
        match event {
            Event::Sent(sent) => format!(
                "{}. {}{} to {}{} {}",
                sent.operation,
                sent.name,
                if sent.is_unanswered {
                    " (no answer)"
                } else {
                    ""
                },
                sent.destination,
                if sent.is_candidate { "?" } else { "" },
                self.message(&sent.message)
            ),
            Event::Placed(placed) => {
                let offset = placed.offset.map(|offset| format!(" @{offset}"));
                let keys = self.of(&placed.keys);
                let offset = offset.unwrap_or_default();
                format!("{}. placed {} {keys}{offset}", placed.operation, placed.nth)
            }
            Event::SettledKey { key, how } => {
                let word = match how {
                    Settle::Ack => "done",
                    Settle::Requeue => "back",
                    Settle::Reject => "failed",
                };
                format!("{word} {}", self.of(&[*key]))
            }
            Event::Done { job, failed } => {
                let word = if *failed { "failed" } else { "done" };
                format!("job {word} {}", self.of(&[*job]))
            }
            Event::Answered { operation, error } => {
                format!("{operation}. {}", error.as_deref().unwrap_or("answered"))
            }
            Event::Delivered(delivered) => format!(
                "{}{} of {} {}",
                if delivered.redelivered { "again " } else { "" },
                delivered.name,
                delivered.destination,
                self.message(&delivered.message)
            ),
            Event::Committed(committed) => format!(
                "commit {} {} p{} @{}",
                committed.group, committed.destination, committed.partition, committed.offset
            ),
            Event::Assigned(to) => {
                format!("reads {} {} p{}", to.group, to.destination, to.partition)
            }
            Event::Group(group) => format!("group {group}"),
            other => format!("{other:?}"),
        }
    }
}

//! What is read of real libraries' conversations with Redis.
//!
//! In: recordings in `tests/redis/` (see `record.py` there), replayed one connection each. Out: their events, compared with the `.events`
//! file beside them (`BLESS=1` writes it anew). Always holds: the same events come however the bytes are cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

mod queue_text;
mod redis_recorded;

use agent_protocol::queue::redis::Client;
use agent_protocol::queue::{Conversation, Event, Keyer, Limits, Settle};
use agent_protocol::stream::{Begin, Input};
use queue_text::event_text;
use redis_recorded::{LIBRARIES, Line, folder, recording};

fn client() -> Client {
    Client::new(Begin::Boundary, Limits::default(), Keyer::new([7; 16]))
}

/// Events of all connections in order, each piece cut as `cut` says.
fn replay(lines: &[Line], cut: impl Fn(&[u8]) -> Vec<&[u8]>) -> Vec<(u32, Event)> {
    let mut clients: HashMap<u32, Client> = HashMap::new();
    let mut events = Vec::new();
    for (connection, way, bytes) in lines {
        let client = clients.entry(*connection).or_insert_with(client);
        for piece in cut(bytes) {
            client.push(*way, Input::Bytes(piece), &mut |event| {
                events.push((*connection, event));
            });
        }
        assert!(!client.is_hopeless());
    }
    events
}

fn whole(bytes: &[u8]) -> Vec<&[u8]> {
    vec![bytes]
}

fn written(events: &[(u32, Event)]) -> String {
    let mut text = String::new();
    for (connection, event) in events {
        writeln!(text, "{connection} {}", event_text(event)).unwrap();
    }
    text
}

#[test]
fn recorded_conversations_give_these_events() {
    for library in LIBRARIES {
        let read = written(&replay(&recording(library), whole));
        let file = folder().join(format!("{library}.events"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &read).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap();
        for (at, (read, wanted)) in read.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(read, wanted, "{library}.events, line {}", at + 1);
        }
        assert_eq!(read.lines().count(), wanted.lines().count(), "{library}");
    }
}

#[test]
fn events_are_the_same_however_the_bytes_are_cut() {
    for library in LIBRARIES {
        let lines = recording(library);
        let once = replay(&lines, whole);
        for size in [1, 2, 3, 7, 64, 1000] {
            let cut = replay(&lines, |bytes| bytes.chunks(size).collect());
            assert!(once == cut, "{library} in pieces of {size}");
        }
    }
}

/// What is known of each library: a job that was delivered had been sent, and ended as it was told to.
#[test]
fn each_delivery_was_sent_before_and_each_job_ends() {
    for library in LIBRARIES {
        let events = replay(&recording(library), whole);
        let (mut sent, mut delivered) = (HashSet::new(), HashSet::new());
        for (_, event) in &events {
            match event {
                Event::Sent(it) | Event::Moved(it) => sent.extend(it.message.keys.iter().copied()),
                Event::Placed(placed) => sent.extend(placed.keys.iter().copied()),
                Event::Delivered(it) => {
                    let keys = &it.message.keys;
                    assert!(
                        keys.iter().any(|key| sent.contains(key)),
                        "{library}: {it:?}"
                    );
                    delivered.extend(keys.iter().copied());
                }
                Event::Done { job, .. } | Event::Claimed(job) => {
                    assert!(delivered.contains(job), "{library}: {job:?}");
                }
                Event::SettledKey { key, .. } => {
                    assert!(delivered.contains(key), "{library}: {key:?}")
                }
                Event::Settled { how, .. } => assert_ne!(*how, Settle::Reject),
                Event::Unparsed(why) => panic!("{library}: {why}"),
                _ => {}
            }
        }
        assert!(delivered.len() >= 4, "{library}");
    }
}

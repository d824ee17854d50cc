//! Steps of a conversation with Redis, as tests write them.
//!
//! In: a step is `> WORD …` (a command), `>> …` (a client's bytes as they are), `< …` (the broker's bytes), `>~ n`, `<~ n` (bytes that were
//! not captured), `>! 0`, `<! 0` (records were lost); `\r\n` is written as `|`, and that sign itself as `¦`. Out: events as text, without keys.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "tests")]

use agent_protocol::queue::redis::Client;
use agent_protocol::queue::{Conversation, Event, Keyer, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use crate::queue_text::event_text;

/// A command on the wire.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// Does a step.
pub fn step(client: &mut Client, step: &str, out: &mut dyn FnMut(Event)) {
    let (sign, rest) = step.split_once(' ').unwrap();
    let raw = rest.replace('|', "\r\n").replace('¦', "|").into_bytes();
    let way = if sign.starts_with('>') {
        Way::ToBroker
    } else {
        Way::ToClient
    };
    let len = || rest.parse::<u64>().unwrap();
    match sign {
        ">" => {
            let words: Vec<&str> = rest.split(' ').collect();
            client.push(way, Input::Bytes(&command(&words)), out);
        }
        ">>" | "<" => client.push(way, Input::Bytes(&raw), out),
        ">~" | "<~" => client.push(
            way,
            Input::Unseen {
                len: len(),
                tail: b"",
            },
            out,
        ),
        ">!" | "<!" => client.push(way, Input::Lost { len: None }, out),
        other => panic!("{other} is no step"),
    }
}

/// Runs steps on a client; keys are left out of the events.
pub fn events_of(client: &mut Client, steps: &[&str]) -> Vec<String> {
    let mut events = Vec::new();
    for text in steps {
        step(client, text, &mut |event| events.push(without_keys(&event)));
    }
    events
}

fn without_keys(event: &Event) -> String {
    let text = event_text(event);
    let words = text.split(' ').filter(|word| {
        let digits = word.rsplit_once(':').map_or("", |(_, digits)| digits);
        !(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// A client at the beginning of a connection or in its middle.
pub fn begun(begin: Begin) -> Client {
    Client::new(begin, Limits::default(), Keyer::new([7; 16]))
}

/// The events that the steps of a connection must give.
pub fn check(steps: &[&str], wanted: &[&str]) {
    let events = events_of(&mut begun(Begin::Boundary), steps);
    assert_eq!(events, wanted, "{steps:#?}");
}

//! Messages, byte by byte, and what a conversation tells of them.

use agent_protocol::queue::postgres::Client;
use agent_protocol::queue::{Conversation, Keyer, Limits, Way};
use agent_protocol::stream::{Begin, Input};

use super::lines::Letters;

pub enum Step {
    Ask(Vec<u8>),
    Answer(Vec<u8>),
    /// Bytes of the server that nobody saw; of the client.
    Unseen(u64),
    UnseenAsked(u64),
    Lost,
}

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 4).to_be_bytes();
    [&[tag], &len[..], body].concat()
}

pub fn startup(pairs: &[u8]) -> Vec<u8> {
    let len = (pairs.len() as u32 + 8).to_be_bytes();
    [&len[..], &[0, 3, 0, 0], pairs].concat()
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), &[0]].concat())
}

/// Columns: name, table's number, number there, type.
pub fn columns(all: &[(&str, u32, u16, u32)]) -> Vec<u8> {
    let mut body = (all.len() as u16).to_be_bytes().to_vec();
    for (name, table, number, type_id) in all {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(table.to_be_bytes());
        body.extend(number.to_be_bytes());
        body.extend(type_id.to_be_bytes());
        body.extend([0; 8]);
    }
    message(b'T', &body)
}

pub fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(*value);
            }
            None => body.extend([0xff; 4]),
        }
    }
    message(b'D', &body)
}

pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), &[0]].concat())
}

pub fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// `INSERT … RETURNING id` of a row, answered.
pub fn inserted(id: &str) -> Vec<u8> {
    [
        columns(&[("id", 77, 1, 20)]),
        row(&[Some(id.as_bytes())]),
        complete("INSERT 0 1"),
        ready(),
    ]
    .concat()
}

pub fn lines(begin: Begin, steps: &[Step]) -> Vec<String> {
    let mut client = Client::new(begin, Limits::default(), Keyer::new([1; 16]));
    let mut letters = Letters::default();
    let mut seen = Vec::new();
    for step in steps {
        let (way, input) = match step {
            Step::Ask(bytes) => (Way::ToBroker, Input::Bytes(bytes)),
            Step::Answer(bytes) => (Way::ToClient, Input::Bytes(bytes)),
            Step::Unseen(len) => (
                Way::ToClient,
                Input::Unseen {
                    len: *len,
                    tail: &[],
                },
            ),
            Step::UnseenAsked(len) => (
                Way::ToBroker,
                Input::Unseen {
                    len: *len,
                    tail: &[],
                },
            ),
            Step::Lost => (Way::ToBroker, Input::Lost { len: None }),
        };
        client.push(way, input, &mut |event| seen.push(letters.line(&event)));
    }
    seen
}

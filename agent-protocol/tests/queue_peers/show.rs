//! Events as lines of text, and conversations played from recordings.
//!
//! In: recordings, pieces. Out: text. Always holds: equal keys have equal labels within one [`Labels`].

use std::collections::HashMap;
use std::path::PathBuf;

use agent_protocol::queue::{
    Conversation, Event, Job, Key, KeyKind, Keyer, Message, NAME_MAX, Sent, Settle, Way,
};
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

/// The secret of all tests.
pub fn keyer() -> Keyer {
    Keyer::new([7; 16])
}

/// Pieces of both directions.
pub type Pieces = Vec<(Way, Vec<u8>)>;

/// Names for keys, in the order in which they came.
#[derive(Default)]
pub struct Labels(HashMap<Key, String>);

impl Labels {
    fn of(&mut self, key: Key) -> String {
        let letter = match key.kind {
            KeyKind::Job | KeyKind::Numbered => 'J',
            KeyKind::Place => 'L',
            KeyKind::MessageId => 'M',
            KeyKind::Payload => 'P',
        };
        let next = self.0.keys().filter(|of| of.kind == key.kind).count() + 1;
        self.0
            .entry(key)
            .or_insert_with(|| format!("{letter}{next}"))
            .clone()
    }

    fn message(&mut self, of: &Message) -> String {
        let keys: Vec<_> = of.keys.iter().map(|key| self.of(*key)).collect();
        let mut text = format!(" [{}] {}B", keys.join(" "), of.body_bytes);
        let mut add = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                assert!(value.len() <= NAME_MAX);
                text.push_str(&format!(" {name}={value}"));
            }
        };
        add("id", &of.id);
        add("conversation", &of.conversation);
        add("group", &of.group);
        add("tracestate", &of.tracestate);
        add("retries", &of.retries.map(|count| count.to_string()));
        match of.traceparent {
            Traceparent::Absent => {}
            Traceparent::Valid(context) => {
                text.push_str(&format!(" parent={:02x}..", context.parent_id[0]));
            }
            Traceparent::Invalid(why) => text.push_str(&format!(" parent={why:?}")),
        }
        if let Some(Job {
            system,
            name,
            retries,
            ..
        }) = &of.job
        {
            text.push_str(&format!(" job={system:?}:{name}:{retries:?}"));
        }
        text
    }

    fn sent(&mut self, of: &Sent) -> String {
        let flag = |is: bool, word: &'static str| if is { word } else { "" };
        format!(
            "{} {} {}{}{}{}{}",
            of.operation,
            of.name,
            of.destination,
            flag(of.is_delayed, " delayed"),
            flag(of.is_unanswered, " unanswered"),
            flag(of.is_temporary, " temporary"),
            self.message(&of.message)
        )
    }

    /// One line.
    pub fn line(&mut self, event: &Event) -> String {
        let flag = |is: bool, word: &'static str| if is { word } else { "" };
        match event {
            Event::Sent(of) => format!("sent {}", self.sent(of)),
            Event::Moved(of) => format!("moved {}", self.sent(of)),
            Event::Answered { operation, error } => match error {
                None => format!("answered {operation}"),
                Some(error) => format!("answered {operation} {error}"),
            },
            Event::Unanswered { operation } => format!("answer to {operation} not told apart"),
            Event::Placed(of) => {
                let keys: Vec<_> = of.keys.iter().map(|key| self.of(*key)).collect();
                format!("placed {} [{}]", of.operation, keys.join(" "))
            }
            Event::Fetching => "fetching".into(),
            Event::Delivered(of) => format!(
                "delivered {:x} {} {}{}{}{}",
                of.delivery,
                of.name,
                of.destination,
                flag(of.redelivered, " again"),
                flag(of.is_temporary, " temporary"),
                self.message(&of.message)
            ),
            Event::Settled { delivery, how } => {
                let how = match how {
                    Settle::Ack => "ack",
                    Settle::Requeue => "requeue",
                    Settle::Reject => "reject",
                };
                format!("settled {delivery:x} {how}")
            }
            Event::Claimed(key) => format!("claimed {}", self.of(*key)),
            Event::Done { job, failed } => {
                format!("done {}{}", self.of(*job), flag(*failed, " failed"))
            }
            Event::SettledKey { .. } => "settled by key".into(),
            Event::Committed(of) => format!("committed {} {}", of.destination, of.offset),
            Event::Assigned(of) => format!("reads {} {}", of.destination, of.partition),
            Event::Group(name) => format!("group {name}"),
            Event::Unparsed(why) => format!("unparsed {why}"),
        }
    }
}

/// Plays pieces; a line for each event, with who moved the piece that gave it.
pub fn play(conversation: &mut dyn Conversation, pieces: &Pieces, labels: &mut Labels) -> String {
    let mut text = String::new();
    for (way, piece) in pieces {
        conversation.push(*way, Input::Bytes(piece), &mut |event| {
            text.push_str(match way {
                Way::ToBroker => "> ",
                Way::ToClient => "< ",
            });
            text.push_str(&labels.line(&event));
            text.push('\n');
        });
    }
    text
}

/// The same pieces, a byte each.
pub fn bytes_of(pieces: &Pieces) -> Pieces {
    let each = |(way, piece): &(Way, Vec<u8>)| {
        let way = *way;
        piece
            .iter()
            .map(move |byte| (way, vec![*byte]))
            .collect::<Vec<_>>()
    };
    pieces.iter().flat_map(each).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/queue_peers/recorded")
        .join(name)
}

/// A recording's pieces.
pub fn recorded(name: &str) -> Pieces {
    let path = path(&format!("{name}.rec"));
    let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let (mut rest, mut pieces) = (&bytes[..], Vec::new());
    while let [way, len @ ..] = rest {
        let (len, after) = len.split_first_chunk::<4>().unwrap();
        let (piece, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        let way = if *way == 0 {
            Way::ToBroker
        } else {
            Way::ToClient
        };
        pieces.push((way, piece.to_vec()));
        rest = after;
    }
    assert!(!pieces.is_empty());
    pieces
}

/// Plays recordings of one story, and compares.
pub fn check(story: &str, connections: &[&str], make: &dyn Fn() -> Box<dyn Conversation>) {
    let run = |cut: &dyn Fn(&Pieces) -> Pieces| {
        let mut labels = Labels::default();
        let mut text = String::new();
        for name in connections {
            let mut conversation = make();
            text.push_str(&format!("# {name}\n"));
            text.push_str(&play(
                &mut *conversation,
                &cut(&recorded(name)),
                &mut labels,
            ));
            assert!(!conversation.is_hopeless(), "{name}");
        }
        text
    };
    let whole = run(&Pieces::clone);
    assert_eq!(whole, run(&bytes_of), "{story}: cut at every byte");
    let path = path(&format!("{story}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &whole).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(whole, expected, "{story}");
}

/// First bytes of what is not a queue's protocol, or another's.
pub const OTHER_PROTOCOLS: &[&[u8]] = &[
    b"",
    b"\x01",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"PUT /x HTTP/1.1\r\nHost: a\r\n",
    b"PATCH /x HTTP/1.1\r\n",
    b"CONNECT a:443 HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-L",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r",
    b"+OK\r\n",
    b"+PONG\r\n",
    b"-ERR unknown command\r\n",
    b"$-1\r\n",
    b":1\r\n",
    b"PING\r\n",
    b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
    b"\x01\x01\x01\0\0\x08\0\0\0\x01\0\0\0\0\0\0",
    b"\x01\x06\0\x01\0\x12\x06\0Status: 404 Nope",
    b"\x01\x06\x01\0\0\x12\x06\0Status: 404 Nope",
    b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdefgh",
    b"\x17\x03\x03\0\x30abcdefghijklmnopqr",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x2c\0\x03\0\0user\0postgres\0",
    b"Q\0\0\0\x0dselect 1\0",
    b"P\0\0\0\x10s1\0select 1\0",
    b"R\0\0\0\x08\0\0\0\0S\0\0\0\x16applica",
    b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
    b"\0\0\0\x30\0\x03\0\x09\0\0\0\x01\0\x08client-1",
    b"\x01\0\0\0\x0e",
    b"\x01\0\0\0\x01",
    b"\x01\0\0\x01\x02\x17\0\0\x02\x03def",
    b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB",
    b"set a 0 0 1\r\nx\r\n",
    b"INFORMATION",
    b"220 mail ESMTP\r\n",
    b"EHLO host\r\n",
    b"SSH-2.0-OpenSSH_9.2p1\r\n",
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

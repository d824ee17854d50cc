//! Lines of NATS (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
//!
//! In: a line without its end, and who wrote it. Out: an [`Op`]. Always holds: names are not empty and have no spaces. Refuses: verbs that
//! this end does not say, wrong numbers of arguments, sizes over [`SIZE_MAX`].

use crate::queue::Way;

/// Most bytes of a message's headers and body; servers refuse more than 64 MiB in their configuration.
pub(super) const SIZE_MAX: u64 = 64 << 20;

/// What a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// INFO, CONNECT, PING, PONG, +OK: of no message.
    Other,
    Put,
    PutWithHeaders,
    Subscribe,
    Unsubscribe,
    Gift,
    GiftWithHeaders,
    Wrong,
}

const VERBS: [(&[u8], Way, Verb); 14] = [
    (b"INFO", Way::ToClient, Verb::Other),
    (b"CONNECT", Way::ToBroker, Verb::Other),
    (b"PING", Way::ToBroker, Verb::Other),
    (b"PING", Way::ToClient, Verb::Other),
    (b"PONG", Way::ToBroker, Verb::Other),
    (b"PONG", Way::ToClient, Verb::Other),
    (b"+OK", Way::ToClient, Verb::Other),
    (b"-ERR", Way::ToClient, Verb::Wrong),
    (b"PUB", Way::ToBroker, Verb::Put),
    (b"HPUB", Way::ToBroker, Verb::PutWithHeaders),
    (b"SUB", Way::ToBroker, Verb::Subscribe),
    (b"UNSUB", Way::ToBroker, Verb::Unsubscribe),
    (b"MSG", Way::ToClient, Verb::Gift),
    (b"HMSG", Way::ToClient, Verb::GiftWithHeaders),
];

const BLANK: [u8; 2] = [b' ', b'\t'];

/// Whether a line of this end can begin so. Blanks before a verb are none of any client's.
pub(super) fn may_begin(line: &[u8], way: Way) -> bool {
    let word = line.split(|byte| BLANK.contains(byte) || *byte == b'\r');
    let word = word.clone().next().unwrap_or_default();
    let is_whole = word.len() < line.len();
    VERBS.iter().any(|(verb, of, _)| {
        *of == way
            && if is_whole {
                verb.eq_ignore_ascii_case(word)
            } else {
                verb.get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(word))
            }
    })
}

/// The verb of a line that [`may_begin`], as soon as a blank follows it.
pub(super) fn verb(line: &[u8], way: Way) -> Option<Verb> {
    let end = line.iter().position(|byte| BLANK.contains(byte))?;
    let word = line.get(..end)?;
    let found = VERBS
        .iter()
        .find(|(verb, of, _)| *of == way && verb.eq_ignore_ascii_case(word));
    found.map(|(_, _, verb)| *verb)
}

/// A message's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    pub subject: Vec<u8>,
    /// Number of the subscription, in what a client is given.
    pub sid: Vec<u8>,
    /// Empty: no answer is wanted.
    pub reply: Vec<u8>,
    /// Of the headers.
    pub header_bytes: u64,
    /// Of the body.
    pub body_bytes: u64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Message(Envelope),
    Subscribe { sid: Vec<u8>, group: Vec<u8> },
    Unsubscribe { sid: Vec<u8> },
    Wrong(Vec<u8>),
    Other,
}

impl Op {
    pub(super) fn of(line: &[u8], way: Way) -> Option<Self> {
        let verb = match verb(line, way) {
            Some(verb) => verb,
            None if may_begin(&[line, b" "].concat(), way) => Verb::Other,
            None => return None,
        };
        if verb == Verb::Wrong {
            return Some(Self::Wrong(line.to_vec()));
        }
        let mut words = line
            .split(|byte| BLANK.contains(byte))
            .filter(|word| !word.is_empty())
            .skip(1);
        let args: Vec<&[u8]> = words.by_ref().take(6).collect();
        let message = |subject: &[u8], sid: &[u8], reply: &[u8], header: &[u8], total: &[u8]| {
            let (header_bytes, total) = (size(header)?, size(total)?);
            Some(Self::Message(Envelope {
                subject: subject.to_vec(),
                sid: sid.to_vec(),
                reply: reply.to_vec(),
                header_bytes,
                body_bytes: total.checked_sub(header_bytes)?,
            }))
        };
        match (verb, &args[..]) {
            (Verb::Other, _) => Some(Self::Other),
            (Verb::Put, [subject, total]) => message(subject, b"", b"", b"0", total),
            (Verb::Put, [subject, reply, total]) => message(subject, b"", reply, b"0", total),
            (Verb::PutWithHeaders, [subject, header, total]) => {
                message(subject, b"", b"", header, total)
            }
            (Verb::PutWithHeaders, [subject, reply, header, total]) => {
                message(subject, b"", reply, header, total)
            }
            (Verb::Gift, [subject, sid, total]) => message(subject, sid, b"", b"0", total),
            (Verb::Gift, [subject, sid, reply, total]) => message(subject, sid, reply, b"0", total),
            (Verb::GiftWithHeaders, [subject, sid, header, total]) => {
                message(subject, sid, b"", header, total)
            }
            (Verb::GiftWithHeaders, [subject, sid, reply, header, total]) => {
                message(subject, sid, reply, header, total)
            }
            (Verb::Subscribe, [_, sid]) => Some(Self::Subscribe {
                sid: sid.to_vec(),
                group: Vec::new(),
            }),
            (Verb::Subscribe, [_, group, sid]) => Some(Self::Subscribe {
                sid: sid.to_vec(),
                group: group.to_vec(),
            }),
            // With a number of messages after which it ends: they may still come.
            (Verb::Unsubscribe, [_, _]) => Some(Self::Other),
            (Verb::Unsubscribe, [sid]) => Some(Self::Unsubscribe { sid: sid.to_vec() }),
            _ => None,
        }
    }
}

fn size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0, |value, digit| 10 * value + u64::from(digit - b'0'));
    (value <= SIZE_MAX).then_some(value)
}

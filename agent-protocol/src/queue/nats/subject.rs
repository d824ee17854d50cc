//! What a subject says by its name, and what JetStream says in its own messages.
//!
//! In: subjects, bodies and headers of messages. Out: what they are for. Always holds: nothing is copied. Refuses: an ack subject with
//! another number of words than the server makes.

use crate::queue::Settle;
use crate::tracecontext::{Traceparent, tracestate_is_valid};

/// Subjects that are the server's own, or stand for a store rather than a queue: JetStream's API and flow control, system and service
/// discovery, key-value buckets and object stores.
pub(super) fn is_internal(subject: &[u8]) -> bool {
    [&b"$JS."[..], b"$SYS.", b"$SRV.", b"$KV.", b"$O."]
        .iter()
        .any(|start| subject.starts_with(start))
}

/// A subject that a client made to read one answer at, with the prefix that clients use unless told otherwise.
pub(super) fn is_inbox(subject: &[u8]) -> bool {
    subject.starts_with(b"_INBOX")
}

/// By it a delivery of JetStream is acknowledged: `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.
/// <pending>`, with domain and account hash after `ACK` in newer servers, and a last word that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack<'a> {
    pub stream: &'a [u8],
    pub consumer: &'a [u8],
    pub deliveries: u32,
    /// In digits.
    pub sequence: &'a [u8],
}

impl<'a> Ack<'a> {
    pub(super) fn of(subject: &'a [u8]) -> Option<Self> {
        let rest = subject.strip_prefix(b"$JS.ACK.")?;
        let words: Vec<&[u8]> = rest.split(|&byte| byte == b'.').take(11).collect();
        let words = match words.len() {
            7 => &words[..],
            9.. => &words[2..],
            _ => return None,
        };
        let [stream, consumer, deliveries, sequence, ..] = *words else {
            return None;
        };
        let deliveries = std::str::from_utf8(deliveries).ok()?.parse().ok()?;
        (!sequence.is_empty() && sequence.iter().all(u8::is_ascii_digit)).then_some(Self {
            stream,
            consumer,
            deliveries,
            sequence,
        })
    }
}

/// What an ack's body says; whether it asks for one more message.
pub(super) fn settle(body: &[u8]) -> (Option<Settle>, bool) {
    let word = body.split(u8::is_ascii_whitespace).next().unwrap_or(body);
    match word {
        b"" | b"+ACK" => (Some(Settle::Ack), false),
        b"-NAK" => (Some(Settle::Requeue), false),
        b"+TERM" => (Some(Settle::Reject), false),
        b"+NXT" => (Some(Settle::Ack), asks_for_one(&body[word.len()..])),
        // Still at work.
        _ => (None, false),
    }
}

/// A pull of JetStream, and it asks for exactly one message: who asks for several reads ahead of its work.
pub(super) fn is_pull_of_one(subject: &[u8], body: &[u8]) -> bool {
    let rest = subject.strip_prefix(b"$JS.").unwrap_or_default();
    // A domain may stand before `API`.
    let api = rest.strip_prefix(b"API.").or_else(|| {
        let dot = rest.iter().position(|&byte| byte == b'.')?;
        rest[dot + 1..].strip_prefix(b"API.")
    });
    api.is_some_and(|api| api.starts_with(b"CONSUMER.MSG.NEXT.")) && asks_for_one(body)
}

/// Nothing, a number, or `{"batch": N, ...}`.
fn asks_for_one(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    match body {
        b"" | b"1" => true,
        [b'{', ..] => {
            #[derive(serde::Deserialize)]
            struct Pull {
                #[serde(default)]
                batch: u64,
            }
            serde_json::from_slice::<Pull>(body).is_ok_and(|pull| pull.batch <= 1)
        }
        _ => false,
    }
}

/// JetStream's answer to a put.
#[derive(Debug, serde::Deserialize)]
pub(super) struct PutAnswer {
    pub stream: Option<String>,
    #[serde(default)]
    pub seq: u64,
    /// The stream has a message of this id already, and dropped this one.
    #[serde(default)]
    pub duplicate: bool,
    pub error: Option<ApiError>,
}

/// What was wrong.
#[derive(Debug, serde::Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub code: u32,
    #[serde(default)]
    pub err_code: u32,
}

impl PutAnswer {
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        body.starts_with(b"{").then_some(())?;
        let answer: Self = serde_json::from_slice(body).ok()?;
        (answer.stream.is_some() || answer.error.is_some()).then_some(answer)
    }
}

/// What is kept of headers (`NATS/1.0`, then lines as in HTTP).
#[derive(Debug, Default)]
pub(super) struct Headers<'a> {
    pub traceparent: Traceparent,
    pub tracestate: Option<&'a str>,
    pub message_id: Option<&'a [u8]>,
    /// The server's, e.g. 503 when nobody listens; or a service's own code for what was wrong.
    pub status: Option<&'a [u8]>,
    /// The server itself wrote it.
    pub is_status: bool,
}

impl<'a> Headers<'a> {
    /// Of a block that may be cut at its end.
    pub(super) fn of(block: &'a [u8]) -> Self {
        let mut headers = Self::default();
        // What stands behind the last line's end may be a part of a line.
        let end = block.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        let mut lines = block[..end].split(|&byte| byte == b'\n');
        let status = lines.next().and_then(|line| line.strip_prefix(b"NATS/1.0"));
        if let Some(code @ [_, ..]) = status.map(|status| status.trim_ascii()) {
            headers.status = code.get(..3);
            headers.is_status = true;
        }
        for line in lines {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"traceparent") {
                headers.traceparent.add(value);
            } else if name.eq_ignore_ascii_case(b"tracestate") {
                let text = std::str::from_utf8(value).ok();
                headers.tracestate = text.filter(|text| tracestate_is_valid(text));
            } else if name == b"Nats-Msg-Id" && !value.is_empty() {
                headers.message_id = Some(value);
            } else if name == b"Nats-Service-Error-Code" && !value.is_empty() {
                headers.status = Some(value);
            }
        }
        if !matches!(headers.traceparent, Traceparent::Valid(_)) {
            headers.tracestate = None;
        }
        headers
    }
}

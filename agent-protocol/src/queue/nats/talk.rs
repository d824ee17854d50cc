//! What lines and messages of both directions mean together.
//!
//! In: [`Said`] of either end. Out: [`Event`]s. Always holds: no list is longer than `Limits::in_flight`. Refuses: the server's own subjects.

use std::collections::BTreeMap;

use super::line::Op;
use super::read::{Content, Said};
use super::subject::{Ack, Headers, PutAnswer, is_inbox, is_internal, is_pull_of_one, settle};
use crate::queue::recent::Recent;
use crate::queue::{
    Delivered, Event, Key, Keyer, Limits, Message, NAME_MAX, Placed, Sent, Settle, Way, clip,
};

/// Last puts, one of which the server may refuse.
const REFUSABLE_MAX: usize = 64;

/// A put whose answer is awaited.
#[derive(Debug)]
struct Asked {
    operation: u32,
    /// Number of the subject.
    subject: u128,
    body_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Talk {
    keyer: Keyer,
    most: usize,
    operations: u32,
    /// By the subject of the answer.
    asked: Recent<Asked>,
    /// Deliveries that want an answer, by its subject.
    owed: Recent<()>,
    /// Operations by subject.
    refusable: Recent<u32>,
    /// Queue groups by number of subscription.
    groups: BTreeMap<Vec<u8>, String>,
}

impl Talk {
    pub(super) fn new(limits: Limits, keyer: Keyer) -> Self {
        Self {
            keyer,
            most: limits.in_flight,
            operations: 0,
            asked: Recent::new(limits.in_flight),
            owed: Recent::new(limits.in_flight),
            refusable: Recent::new(REFUSABLE_MAX),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn held(&self) -> usize {
        let groups = self
            .groups
            .iter()
            .map(|(sid, group)| sid.len() + group.len());
        self.asked.held() + self.owed.held() + self.refusable.held() + groups.sum::<usize>()
    }

    pub(super) fn take(&mut self, way: Way, said: Said<'_>, out: &mut dyn FnMut(Event)) {
        match said {
            Said::Message(content) => match way {
                Way::ToBroker => self.put(content, out),
                Way::ToClient => self.given(content, out),
            },
            Said::Line(Op::Subscribe { sid, group }) if !group.is_empty() => {
                if self.groups.len() < self.most && sid.len() <= NAME_MAX {
                    self.groups.insert(sid, clip::name(&group));
                }
            }
            Said::Line(Op::Unsubscribe { sid }) => drop(self.groups.remove(&sid)),
            Said::Line(Op::Wrong(text)) => self.refused(&text, out),
            Said::Line(_) => {}
            Said::Broken(why) => out(Event::Unparsed(why)),
        }
    }

    /// A subject's number, also that of a delivery which is settled by it.
    fn number(&self, subject: &[u8]) -> u128 {
        self.keyer.place(&[b"nats", subject]).hash
    }

    fn delivery(&self, subject: &[u8]) -> u64 {
        (self.number(subject) as u64).max(1)
    }

    fn put(&mut self, content: &Content, out: &mut dyn FnMut(Event)) {
        let subject = &content.envelope.subject[..];
        let reply = &content.envelope.reply[..];
        let body = if content.first_is_whole {
            Some(&content.first[..])
        } else {
            None
        };
        if subject.starts_with(b"$JS.ACK.") {
            let (how, asks) = body.map_or((None, false), settle);
            let delivery = self.delivery(subject);
            if let Some(how) = how {
                out(Event::Settled { delivery, how });
            }
            if asks {
                out(Event::Fetching);
            }
            return;
        }
        if is_internal(subject) {
            if body.is_some_and(|body| is_pull_of_one(subject, body)) {
                out(Event::Fetching);
            }
            return;
        }
        let number = self.number(subject);
        if self.owed.contains(number) || is_inbox(subject) {
            // The answer to a message is the end of its delivery, and no message of its own.
            if self.owed.take(number).is_some() {
                let (delivery, how) = (self.delivery(subject), Settle::Ack);
                out(Event::Settled { delivery, how });
            }
            return;
        }
        self.operations = self.operations.wrapping_add(1);
        let operation = self.operations;
        self.refusable.insert(number, operation);
        if !reply.is_empty() {
            let asked = Asked {
                operation,
                subject: number,
                body_bytes: content.envelope.body_bytes,
            };
            self.asked.insert(self.number(reply), asked);
        }
        out(Event::Sent(Sent {
            operation,
            name: "publish",
            destination: clip::name(subject),
            is_unanswered: reply.is_empty(),
            message: self.message(content, &Headers::of(&content.header)),
            ..Sent::default()
        }));
    }

    fn given(&mut self, content: &Content, out: &mut dyn FnMut(Event)) {
        let subject = &content.envelope.subject[..];
        let reply = &content.envelope.reply[..];
        let headers = Headers::of(&content.header);
        if let Some(asked) = self.asked.take(self.number(subject)) {
            self.answered(&asked, content, &headers, out);
            return;
        }
        // What the server says to a pull: that it timed out, or found nothing.
        let is_status = headers.is_status && content.envelope.body_bytes == 0;
        if is_internal(subject) || is_inbox(subject) || is_status {
            return;
        }
        let mut message = self.message(content, &headers);
        let group = self.groups.get(&content.envelope.sid);
        message.group = group.cloned();
        let mut delivered = Delivered {
            name: "receive",
            destination: clip::name(subject),
            ..Delivered::default()
        };
        if let Some(ack) = Ack::of(reply) {
            let (subject, size) = (self.number(subject), content.envelope.body_bytes);
            let key = self.place(ack.stream, ack.sequence, subject, size);
            message.keys.insert(0, key);
            message.group = Some(clip::name(ack.consumer));
            message.retries = Some(ack.deliveries.saturating_sub(1));
            delivered.redelivered = ack.deliveries > 1;
            delivered.delivery = self.delivery(reply);
        } else if !reply.is_empty() && !is_internal(reply) {
            self.owed.insert(self.number(reply), ());
            delivered.delivery = self.delivery(reply);
        }
        delivered.message = message;
        out(Event::Delivered(delivered));
    }

    fn answered(
        &self,
        asked: &Asked,
        content: &Content,
        headers: &Headers<'_>,
        out: &mut dyn FnMut(Event),
    ) {
        let operation = asked.operation;
        let answer = if content.first_is_whole {
            PutAnswer::of(&content.first)
        } else {
            None
        };
        let mut error = headers.status.map(clip::name);
        match answer {
            Some(PutAnswer {
                error: Some(of), ..
            }) => {
                let code = if of.err_code == 0 {
                    of.code
                } else {
                    of.err_code
                };
                error = Some(code.to_string());
            }
            Some(PutAnswer {
                stream: Some(stream),
                seq: sequence @ 1..,
                duplicate: false,
                ..
            }) => {
                let (sequence, size) = (sequence.to_string(), asked.body_bytes);
                let stream = stream.as_bytes();
                let key = self.place(stream, sequence.as_bytes(), asked.subject, size);
                out(Event::Placed(Placed {
                    operation,
                    keys: vec![key],
                    ..Placed::default()
                }));
            }
            _ => {}
        }
        out(Event::Answered { operation, error });
    }

    /// Subject and size are the same at both ends, and tell streams of one name on two servers apart as far as may be.
    fn place(&self, stream: &[u8], sequence: &[u8], subject: u128, body_bytes: u64) -> Key {
        let (subject, size) = (subject.to_le_bytes(), body_bytes.to_le_bytes());
        let words: [&[u8]; 5] = [b"jetstream", stream, sequence, &subject, &size];
        self.keyer.place(&words)
    }

    fn message(&self, content: &Content, headers: &Headers<'_>) -> Message {
        let envelope = &content.envelope;
        let (subject, reply) = (&envelope.subject[..], &envelope.reply[..]);
        let mut message = Message {
            traceparent: headers.traceparent,
            tracestate: headers.tracestate.map(str::to_owned),
            id: headers.message_id.and_then(clip::some_name),
            body_bytes: envelope.body_bytes,
            ..Message::default()
        };
        if let Some(id) = headers.message_id {
            let size = envelope.body_bytes.to_le_bytes();
            let words: [&[u8]; 4] = [b"nats", subject, id, &size];
            message.keys.push(self.keyer.message_id(&words));
        }
        if content.first_is_whole {
            // An inbox is made for one request; with the body, so that several under one inbox differ.
            if is_inbox(reply) {
                let words: [&[u8]; 4] = [b"nats reply", subject, reply, &content.first];
                message.keys.push(self.keyer.message_id(&words));
            }
            let whole = envelope.body_bytes;
            message
                .keys
                .extend(self.keyer.payload(subject, &content.first, whole));
        }
        message
    }

    /// `-ERR 'Permissions Violation for Publish to "subject"'`, and the like.
    fn refused(&mut self, line: &[u8], out: &mut dyn FnMut(Event)) {
        let quoted = line.splitn(3, |&byte| byte == b'"').nth(1);
        let (Some(subject), true) = (quoted, contains(line, b"for Publish to")) else {
            return;
        };
        if let Some(operation) = self.refusable.take(self.number(subject)) {
            let error = Some("Permissions Violation".to_owned());
            out(Event::Answered { operation, error });
        }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

//! What the broker's answers and pushes mean.
//!
//! In: their elements as they become complete, and what was expected. Out: events. Always holds: messages of one answer are reported one by
//! one, so that their number is not bounded by memory; while it is not known which command an answer belongs to, only those answers
//! count that name a key that was asked for. Refuses: nothing.

use super::command::payload;
use super::frame::{Frame, Kind};
use super::pending::{Due, Expect, Keys, Place, Script};
use super::state::{self, Out, State, short};
use super::{asynq, bullmq, library};
use crate::queue::{Delivered, Event, KEYS_MAX, Key, Placed, System, job};

/// An element of an answer: its depth below the answer, its place there, its node, and the answer's own node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) depth: usize,
    pub(super) index: u64,
    pub(super) node: usize,
    pub(super) root: usize,
}

impl State {
    /// An element is complete. True: it has been dealt with and may be forgotten.
    pub(super) fn element(
        &mut self,
        expect: &Expect,
        frame: &Frame,
        at: Element,
        out: Out<'_>,
    ) -> bool {
        let kind = frame.node(at.node).map_or(Kind::Null, |node| node.kind);
        match expect {
            Expect::Messages { name, key, kept_in } if at.depth == 1 && kind == Kind::Bulk => {
                if self.is_aligned {
                    self.message(name, (key, kept_in.as_deref()), (frame, at.node), out);
                }
                true
            }
            Expect::Keyed { name, keys }
                if kind == Kind::Bulk && at.index + at.depth as u64 > 1 =>
            {
                let key = frame.text(at.root + 1);
                if self.is_proved(*keys, key) {
                    self.message(name, (key, None), (frame, at.node), out);
                }
                true
            }
            Expect::Entries { .. } if kind == Kind::Array => {
                self.entry(expect, frame, at.node, out)
            }
            Expect::Due(Due::Rq) if at.depth == 1 => {
                if self.is_aligned {
                    let job = self.keyer.job(System::Rq, frame.text(at.node));
                    self.is_moving(job);
                }
                true
            }
            Expect::Due(Due::Envelope) if at.depth == 1 => {
                self.due(frame, at.node);
                true
            }
            Expect::Jobs {
                name,
                kind: Script::Dramatiq,
                queue,
                ..
            } if at.depth == 1 => {
                self.dramatiq_job(name, queue, (frame, at.node), out);
                true
            }
            _ => false,
        }
    }

    /// The word of an answer that is an error.
    pub(super) fn error(&self, frame: &Frame, root: usize) -> Option<String> {
        let is_error = frame
            .node(root)
            .is_some_and(|node| node.kind == Kind::Error);
        is_error.then(|| error_word(frame.text(root)))
    }

    /// An answer is complete.
    pub(super) fn answer(&mut self, expect: &Expect, frame: &Frame, root: usize, out: Out<'_>) {
        let Some(node) = frame.node(root) else {
            return;
        };
        let error = self.error(frame, root);
        match expect {
            Expect::Sent(operation) | Expect::Placed { operation, .. } if self.is_aligned => {
                let operation = *operation;
                if let (Expect::Placed { place, .. }, Some(id)) = (expect, frame.word(root)) {
                    let key = self.place(place, id);
                    out(Event::Placed(Placed {
                        operation,
                        keys: vec![key],
                        ..Placed::default()
                    }));
                }
                out(Event::Answered { operation, error });
            }
            Expect::Transaction(list) => {
                // Its elements were answered one by one; without elements none of it was done.
                if node.kind == Kind::Array || !self.is_aligned {
                    return;
                }
                for (_, expect) in list {
                    if let Expect::Sent(operation) | Expect::Placed { operation, .. } = expect {
                        out(Event::Answered {
                            operation: *operation,
                            error: Some(error.clone().unwrap_or_else(|| "WATCH".to_owned())),
                        });
                    }
                }
            }
            Expect::Messages { name, key, kept_in }
                if node.kind == Kind::Bulk && self.is_aligned =>
            {
                self.message(name, (key, kept_in.as_deref()), (frame, root), out);
            }
            Expect::Members { name, key, keys } if node.kind == Kind::Array => {
                self.members(name, (key.as_deref(), *keys), (frame, root), out);
            }
            Expect::Due(Due::Envelope) => self.due(frame, root),
            Expect::Jobs {
                name,
                kind,
                queue,
                sent,
            } if self.is_aligned || self.is_from(*kind, queue, frame.text(root)) => {
                if let Some(operation) = *sent {
                    out(Event::Answered { operation, error });
                }
                match kind {
                    Script::BullMq => self.bullmq_job(name, queue, (frame, root), out),
                    Script::Asynq if node.kind == Kind::Bulk => {
                        self.asynq_job(name, (frame, root), out);
                    }
                    Script::Asynq | Script::Dramatiq => {}
                }
            }
            _ => {}
        }
    }

    /// `[word, channel, message]`, or with the pattern before the channel. Subscriptions are confirmed in the same way.
    pub(super) fn pushed_to_client(&mut self, frame: &Frame, root: usize, out: Out<'_>) {
        let elements: Vec<usize> = frame.children(root).take(4).collect();
        let word = elements.first().map_or(&b""[..], |node| frame.text(*node));
        let (name, channel, message) = match (word, elements.as_slice()) {
            (b"message", [_, channel, message]) => ("message", *channel, *message),
            (b"smessage", [_, channel, message]) => ("smessage", *channel, *message),
            (b"pmessage", [_, _, channel, message]) => ("pmessage", *channel, *message),
            _ => return,
        };
        self.deliver(
            name,
            (frame.text(channel), payload(frame, message)),
            None,
            out,
        );
    }

    /// A job that the client took to put it elsewhere.
    fn due(&mut self, frame: &Frame, node: usize) {
        if frame.node(node).is_some_and(|node| node.kind == Kind::Null) {
            self.restoring = None;
        }
        let text = frame.text(node);
        let text = job::first_element(text).map_or(text, |element| element.raw);
        // (Out of step it is one as well: of a library, in the answer to a script that takes such.)
        if let Some(envelope) = job::of_payload(text) {
            let job = self.keyer.job(envelope.system, envelope.id.as_bytes());
            self.is_moving(job);
        }
    }

    fn message(
        &mut self,
        name: &'static str,
        (key, kept_in): (&[u8], Option<&[u8]>),
        (frame, node): (&Frame, usize),
        out: Out<'_>,
    ) {
        let payload = payload(frame, node);
        let settled_by =
            kept_in.and_then(|list| self.keyer.payload(list, payload.seen, payload.len));
        self.deliver(name, (key, payload), settled_by, out);
    }

    /// The answer names a key that was asked for: so it is the command's, and those after it are in step as well.
    fn is_proved(&mut self, keys: Keys, key: &[u8]) -> bool {
        let has = keys.has(short(key));
        self.is_aligned |= has;
        has
    }

    /// The job says that it lies in the queue that was asked for: the same proof.
    fn is_from(&mut self, kind: Script, queue: &[u8], job: &[u8]) -> bool {
        let envelope = match kind {
            Script::Dramatiq => job::of_payload(job),
            Script::Asynq => asynq::envelope(job),
            Script::BullMq => None,
        };
        let says = envelope.and_then(|envelope| envelope.queue);
        let has = says.is_some_and(|says| !queue.is_empty() && says.as_bytes() == queue);
        self.is_aligned |= has;
        has
    }

    /// One of the messages that dramatiq's script took out of a queue.
    fn dramatiq_job(
        &mut self,
        name: &'static str,
        queue: &[u8],
        (frame, node): (&Frame, usize),
        out: Out<'_>,
    ) {
        if !self.is_aligned && !self.is_from(Script::Dramatiq, queue, frame.text(node)) {
            return;
        }
        // What waits for its time is nobody's work, also where too little of it was captured to know it.
        let waits = library::is_waiting_room(System::Dramatiq, queue);
        if !waits || library::envelope(queue, payload(frame, node)).is_some() {
            self.message(name, (queue, None), (frame, node), out);
        }
    }

    fn place(&self, place: &Place, id: &[u8]) -> Key {
        match place {
            Place::Stream(key) => self.keyer.place(&[key, id]),
            Place::BullMq(prefix) => bullmq::job_key(&self.keyer, prefix, id),
        }
    }

    /// `[id, [field, value, …]]`; true if it is one.
    fn entry(&mut self, expect: &Expect, frame: &Frame, node: usize, out: Out<'_>) -> bool {
        let Expect::Entries {
            name,
            key,
            keys,
            is_settled,
            redelivered,
        } = expect
        else {
            return false;
        };
        let key = match key {
            Some(key) if self.is_aligned => &**key,
            Some(_) => return is_entry(frame, node),
            // `name [entry …]`: what came before this entry has been forgotten.
            None => node
                .checked_sub(2)
                .and_then(|name| frame.word(name))
                .unwrap_or(b""),
        };
        if is_entry(frame, node) && *keys != Keys::default() && !self.is_proved(*keys, key) {
            return true;
        }
        self.stream_entry((name, key), (*is_settled, *redelivered), (frame, node), out)
    }

    /// The same of the stream `key`.
    pub(super) fn stream_entry(
        &mut self,
        (name, key): (&'static str, &[u8]),
        (is_settled, redelivered): (bool, bool),
        (frame, node): (&Frame, usize),
        out: Out<'_>,
    ) -> bool {
        let mut elements = frame.children(node);
        let id = elements.next().and_then(|id| frame.word(id));
        let (Some(id), Some(fields)) = (id.filter(|id| is_entry_id(id)), elements.next()) else {
            return false;
        };
        if library::is_internal(key) {
            return true;
        }
        let key = short(key);
        let fields: Vec<usize> = frame.children(fields).collect();
        // BullMQ's own stream, whatever its prefix is.
        if fields
            .first()
            .is_some_and(|field| frame.text(*field) == b"event")
            && library::last_word(key) == b"events"
        {
            return true;
        }
        let pairs = fields.chunks_exact(2).map(|pair| {
            let value = payload(frame, pair[1]);
            (frame.text(pair[0]), value.seen, value.len)
        });
        let mut message = state::entry(&self.keyer, key, pairs);
        let place = self.keyer.place(&[key, id]);
        message.keys.push(place);
        message.keys.sort_by_key(|key| key.kind);
        message.keys.truncate(KEYS_MAX);
        message.id.get_or_insert_with(|| job::name_of(id));
        let delivered = Delivered {
            delivery: 0,
            name,
            destination: library::destination(key, None),
            redelivered,
            message,
            ..Delivered::default()
        };
        self.delivered(key, delivered, is_settled.then_some(place), out);
        true
    }

    /// Members with scores, in the three forms that commands and versions of the protocol have.
    fn members(
        &mut self,
        name: &'static str,
        (key, keys): (Option<&[u8]>, Keys),
        (frame, root): (&Frame, usize),
        out: Out<'_>,
    ) {
        let elements: Vec<usize> = frame.children(root).collect();
        let is_nested = |node: &usize| frame.node(*node).is_some_and(|it| it.kind == Kind::Array);
        let (key, members): (&[u8], Vec<usize>) = match (key, elements.as_slice()) {
            (Some(_), _) if !self.is_aligned => return,
            (Some(key), [first, ..]) if is_nested(first) => (key, elements),
            (Some(key), flat) => (key, flat.iter().copied().step_by(2).collect()),
            (None, [key, list]) if is_nested(list) => {
                (frame.text(*key), frame.children(*list).collect())
            }
            (None, [key, member, _]) => (frame.text(*key), vec![*member]),
            (None, _) => return,
        };
        if keys != Keys::default() && !self.is_proved(keys, key) {
            return;
        }
        for member in members {
            let member = if is_nested(&member) {
                member + 1
            } else {
                member
            };
            self.message(name, (key, None), (frame, member), out);
        }
    }
}

/// Whether it is an array that begins with an entry's id.
fn is_entry(frame: &Frame, node: usize) -> bool {
    let id = frame.children(node).next().and_then(|id| frame.word(id));
    id.is_some_and(is_entry_id) && frame.children(node).nth(1).is_some()
}

/// `1526919030474-0`
pub(super) fn is_entry_id(id: &[u8]) -> bool {
    let mut parts = id.split(|&byte| byte == b'-');
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// `WRONGTYPE` of `WRONGTYPE Operation against a key …`.
fn error_word(text: &[u8]) -> String {
    let word = text.split(|&byte| byte == b' ').next().unwrap_or(&[]);
    job::name_of(word.get(..64).unwrap_or(word))
}

//! BullMQ's scripts.
//!
//! In: calls whose keys are `PREFIX:QUEUE:WORD`. Out: events. Always holds: which script it is, is told by the words of its first keys; a
//! job is known by the name of its hash, `PREFIX:QUEUE:ID`. Refuses: scripts that name no job, and calls whose arguments are not packed as
//! BullMQ 3 to 6 pack them.
//!
//! An id that Redis counts is known only from the answer to the script that adds the job; until then, and for a worker that was quicker,
//! the job's name, time in milliseconds and arguments are the key: equal ones are not told apart.

use super::command::payload;
use super::frame::{Frame, Kind};
use super::library::last_word;
use super::msgpack::{Item, head, members};
use super::pending::{Expect, Place, Script};
use super::scripts::Call;
use super::state::{Out, Payload, State, short};
use crate::queue::job::{self, Envelope};
use crate::queue::{Delivered, Event, Job, Key, Keyer, Message, Sent, System};

/// The key of the job with this id in the queue `PREFIX:QUEUE`.
pub(super) fn job_key(keyer: &Keyer, queue: &[u8], id: &[u8]) -> Key {
    keyer.job(System::BullMq, &[queue, b":", id].concat())
}

/// What a job is made of on both sides.
#[derive(Clone, Copy, Debug)]
struct Made<'a> {
    queue: &'a [u8],
    id: &'a [u8],
    name: &'a [u8],
    ms: &'a [u8],
    arguments: Payload<'a>,
}

impl Made<'_> {
    fn message(&self, keyer: &Keyer, carrier: Option<&[u8]>) -> Message {
        let text = [self.name, b"\0", self.ms, b"\0", self.arguments.seen].concat();
        let more = (text.len() - self.arguments.seen.len()) as u64;
        let mut keys: Vec<Key> = Vec::new();
        if !self.id.is_empty() {
            keys.push(job_key(keyer, self.queue, self.id));
        }
        keys.extend(keyer.payload(self.queue, &text, self.arguments.len + more));
        let id = (!self.id.is_empty()).then(|| job::name_of(self.id));
        // Telemetry packages put a JSON text of their carrier into the options.
        let mut envelope = Envelope::new(System::BullMq, String::new());
        for (key, value) in carrier.into_iter().flat_map(job::members) {
            envelope.context(key, &value);
        }
        let envelope = envelope.finished();
        Message {
            job: keys.first().map(|key| Job {
                system: System::BullMq,
                key: *key,
                name: job::name_of(self.name),
                retries: None,
            }),
            keys,
            traceparent: envelope.traceparent,
            tracestate: envelope.tracestate,
            id,
            body_bytes: self.arguments.len,
            ..Message::default()
        }
    }
}

impl State {
    pub(super) fn bullmq_script(
        &mut self,
        name: &'static str,
        call: Call<'_>,
        out: Out<'_>,
    ) -> Expect {
        let first = call.key(0);
        let Some(queue) = first
            .len()
            .checked_sub(last_word(first).len() + 1)
            .and_then(|len| first.get(..len))
        else {
            return Expect::Nothing;
        };
        // The word of a key of this queue.
        let word = |index: usize| {
            let word = call.key(index).strip_prefix(queue);
            word.and_then(|word| word.strip_prefix(b":")).unwrap_or(b"")
        };
        let jobs = |kind| Expect::Jobs {
            name,
            kind,
            queue: queue.into(),
            sent: None,
        };
        match (word(0), word(1)) {
            (b"wait", b"active") => {
                self.bullmq_queue(queue);
                // With the set of what is finished, and the job's hash after it, the last job is put there first.
                let ended =
                    (8..call.keys()).find(|at| matches!(word(*at), b"completed" | b"failed"));
                if let Some(at) = ended {
                    let job = job_key(&self.keyer, queue, word(at + 1));
                    let failed = word(at) == b"failed";
                    out(Event::Done { job, failed });
                }
                jobs(Script::BullMq)
            }
            (b"marker", b"active") => self.bullmq_again(name, (call, queue, word(4)), true, out),
            (b"active", b"wait") => self.bullmq_again(name, (call, queue, word(3)), false, out),
            _ => {
                let has = |wanted: &[u8]| (0..call.keys()).any(|at| word(at) == wanted);
                if !has(b"id") || !has(b"meta") || !has(b"events") {
                    return Expect::Nothing;
                }
                let is_later = has(b"waiting-children");
                self.bullmq_added(name, (call, queue), is_later, out)
            }
        }
    }

    /// The connection works for this queue.
    fn bullmq_queue(&mut self, queue: &[u8]) {
        match &mut self.bullmq {
            Some(known) if known.as_deref() == Some(queue) => {}
            Some(known) => *known = None,
            None => self.bullmq = Some(Some(short(queue).into())),
        }
    }

    /// `[prefix, id, name, time, …]; arguments; options`
    fn bullmq_added(
        &mut self,
        name: &'static str,
        (call, queue): (Call<'_>, &[u8]),
        mut is_delayed: bool,
        out: Out<'_>,
    ) -> Expect {
        let Some((id, job_name, ms)) = packed_job(call.arg(0), queue) else {
            return Expect::Nothing;
        };
        let mut carrier = None;
        for (key, value) in members(call.arg(2)) {
            match (key, value) {
                (b"delay", Item::Number(ms)) => is_delayed |= ms > 0,
                (b"tm", Item::Text(text)) => carrier = Some(text),
                _ => {}
            }
        }
        let made = Made {
            queue,
            id,
            name: job_name,
            ms: ms.as_bytes(),
            arguments: payload(call.frame, call.node(1)),
        };
        let operation = self.operation();
        let sent = Sent {
            operation,
            name,
            destination: queue_name(queue),
            is_delayed,
            message: made.message(&self.keyer, carrier),
            ..Sent::default()
        };
        self.sent(sent, out);
        let place = Place::BullMq(queue.into());
        Expect::Placed { operation, place }
    }

    /// The worker gives its job back, to be tried again.
    fn bullmq_again(
        &mut self,
        name: &'static str,
        (call, queue, id): (Call<'_>, &[u8], &[u8]),
        is_delayed: bool,
        out: Out<'_>,
    ) -> Expect {
        if id.is_empty() {
            return Expect::Nothing;
        }
        let job = job_key(&self.keyer, queue, id);
        let failed = (0..call.args()).any(|at| {
            let arg = call.arg(at);
            arg.windows(12).take(64).any(|part| part == b"failedReason")
        });
        out(Event::Done { job, failed });
        let operation = self.operation();
        let message = Message {
            keys: vec![job],
            id: Some(job::name_of(id)),
            job: Some(Job {
                system: System::BullMq,
                key: job,
                name: String::new(),
                retries: None,
            }),
            ..Message::default()
        };
        let sent = Sent {
            operation,
            name,
            destination: queue_name(queue),
            is_delayed,
            is_again: true,
            message,
            ..Sent::default()
        };
        self.sent(sent, out);
        // Version 6 answers a move to the delayed ones with the next job.
        Expect::Jobs {
            name,
            kind: Script::BullMq,
            queue: queue.into(),
            sent: Some(operation),
        }
    }

    /// `[[field, value, …], id, …]`
    pub(super) fn bullmq_job(
        &mut self,
        name: &'static str,
        queue: &[u8],
        (frame, root): (&Frame, usize),
        out: Out<'_>,
    ) {
        let elements: Vec<usize> = frame.children(root).take(2).collect();
        let [hash, id] = elements.as_slice() else {
            return;
        };
        let is_hash = frame
            .node(*hash)
            .is_some_and(|node| node.kind == Kind::Array);
        let Some(id) = frame.word(*id).filter(|id| is_hash && !id.is_empty()) else {
            return;
        };
        let nothing = Payload { seen: b"", len: 0 };
        let (mut job_name, mut ms, mut arguments) = (&b""[..], &b""[..], nothing);
        let (mut retries, mut carrier) = (None, None);
        let fields: Vec<usize> = frame.children(*hash).collect();
        for pair in fields.chunks_exact(2) {
            let value = frame.text(pair[1]);
            match frame.text(pair[0]) {
                b"name" => job_name = value,
                b"timestamp" => ms = value,
                b"data" => arguments = payload(frame, pair[1]),
                b"atm" | b"attemptsMade" => {
                    retries = super::command::number(value).and_then(|n| u32::try_from(n).ok());
                }
                b"opts" => {
                    let telemetry = job::members(value).find(|(key, _)| *key == b"tm");
                    carrier = telemetry.and_then(|(_, value)| value.text());
                }
                _ => {}
            }
        }
        let made = Made {
            queue,
            id,
            name: job_name,
            ms,
            arguments,
        };
        let mut message = made.message(&self.keyer, carrier.as_deref().map(str::as_bytes));
        if let Some(job) = &mut message.job {
            job.retries = Some(retries.unwrap_or(0));
        }
        let delivered = Delivered {
            name,
            destination: queue_name(queue),
            message,
            ..Delivered::default()
        };
        self.delivered(queue, delivered, None, out);
    }
}

/// `bull:mail` is the queue `mail`.
fn queue_name(queue: &[u8]) -> String {
    job::name_of(last_word(queue))
}

/// Id, name and time of the packed array; its first element is the queue's prefix.
fn packed_job<'a>(packed: &'a [u8], queue: &[u8]) -> Option<(&'a [u8], &'a [u8], String)> {
    let (Item::Array(4..), rest) = head(packed)? else {
        return None;
    };
    let (Item::Text(prefix), rest) = head(rest)? else {
        return None;
    };
    if prefix.strip_suffix(b":") != Some(queue) {
        return None;
    }
    let (Item::Text(id), rest) = head(rest)? else {
        return None;
    };
    let (Item::Text(name), rest) = head(rest)? else {
        return None;
    };
    let (Item::Number(ms), _) = head(rest)? else {
        return None;
    };
    Some((id, name, ms.to_string()))
}

//! asynq's scripts and its task message.
//!
//! In: calls whose first key begins with `asynq:`. Out: events. Always holds: what a script does is told by which of a queue's sets are
//! among its keys. Refuses: the scripts of its janitor, forwarder, heartbeater and recoverer, which name no task.
//!
//! | script (0.26) | keys |
//! |---|---|
//! | enqueue | `[unique,] asynq:{q}:t:ID, …:pending` |
//! | schedule | `[unique,] …:t:ID, …:scheduled` |
//! | add to group | `[unique,] …:t:ID, …:g:GROUP, …:groups` |
//! | dequeue | `…:pending, …:paused, …:active, …:lease` |
//! | done | `…:active, …:lease, …:t:ID, …:processed:DAY, …` or with `…:completed` before `…:t:ID` |
//! | retry, archive | `…:t:ID, …:active, …:lease, …:retry` or `…:archived` |
//! | requeue | `…:active, …:lease, …:pending, …:t:ID` |

use super::command::payload;
use super::frame::Frame;
use super::pending::{Expect, Script};
use super::scripts::Call;
use super::state::{Out, State, short};
use crate::queue::job::{self, Envelope};
use crate::queue::{Delivered, Event, Sent, Settle, System};

/// Which of a queue's keys are there.
#[derive(Clone, Copy, Debug, Default)]
struct Sets<'a> {
    task: Option<&'a [u8]>,
    has_pending: bool,
    has_paused: bool,
    has_active: bool,
    has_retry: bool,
    has_archived: bool,
    has_later: bool,
    has_processed: bool,
}

impl<'a> Sets<'a> {
    fn of(call: Call<'a>) -> Self {
        let mut sets = Self::default();
        for index in 0..call.keys() {
            let key = call.key(index);
            // `asynq:{queue}:word…`
            let Some(end) = key.windows(2).position(|part| part == b"}:") else {
                continue;
            };
            let word = key.get(end + 2..).unwrap_or(&[]);
            match word {
                b"pending" => sets.has_pending = true,
                b"paused" => sets.has_paused = true,
                b"active" => sets.has_active = true,
                b"retry" => sets.has_retry = true,
                b"archived" => sets.has_archived = true,
                b"scheduled" | b"groups" => sets.has_later = true,
                _ if word.starts_with(b"processed") => sets.has_processed = true,
                _ => {
                    if let Some(id) = word.strip_prefix(b"t:").filter(|id| !id.is_empty()) {
                        sets.task = Some(id);
                    }
                }
            }
        }
        sets
    }
}

impl State {
    pub(super) fn asynq_script(
        &mut self,
        name: &'static str,
        call: Call<'_>,
        out: Out<'_>,
    ) -> Expect {
        let sets = Sets::of(call);
        if sets.has_pending && sets.has_paused && sets.has_active {
            out(Event::Fetching);
            return Expect::Jobs {
                name,
                kind: Script::Asynq,
                queue: queue_of(call.key(0)).into(),
                sent: None,
            };
        }
        let Some(id) = sets.task else {
            return Expect::Nothing;
        };
        let job = self.keyer.job(System::Asynq, id);
        if sets.has_active {
            if sets.has_retry || sets.has_archived {
                out(Event::Done { job, failed: true });
            } else if sets.has_pending {
                self.settle(job, Settle::Requeue, out);
            } else if sets.has_processed {
                out(Event::Done { job, failed: false });
            }
        }
        let is_sent = sets.has_retry || !sets.has_active && (sets.has_pending || sets.has_later);
        let task = (0..call.args())
            .map(|index| call.node(index))
            .find_map(|node| Some((node, task(call.frame.text(node), id)?)));
        match task {
            Some((node, envelope)) if is_sent => {
                let operation = self.operation();
                let payload = payload(call.frame, node);
                let is_delayed = !sets.has_pending;
                let destination = envelope.queue.clone().unwrap_or_default();
                let message =
                    job::message(&self.keyer, b"", payload.seen, payload.len, Some(envelope));
                let sent = Sent {
                    operation,
                    name,
                    destination,
                    is_delayed,
                    is_again: sets.has_active,
                    message,
                    ..Sent::default()
                };
                self.sent(sent, out);
                Expect::Sent(operation)
            }
            _ => Expect::Nothing,
        }
    }

    pub(super) fn asynq_job(
        &mut self,
        name: &'static str,
        (frame, node): (&Frame, usize),
        out: Out<'_>,
    ) {
        let envelope = task(frame.text(node), b"");
        let payload = payload(frame, node);
        let destination = envelope.as_ref().and_then(|it| it.queue.clone());
        let message = job::message(&self.keyer, b"", payload.seen, payload.len, envelope);
        let delivered = Delivered {
            name,
            destination: destination.unwrap_or_default(),
            message,
            ..Delivered::default()
        };
        self.delivered(b"", delivered, None, out);
    }
}

/// Who `asynq:{queue}:…` belongs to.
fn queue_of(key: &[u8]) -> &[u8] {
    let name = key.strip_prefix(b"asynq:{").unwrap_or(&[]);
    let end = name.windows(2).position(|part| part == b"}:");
    short(name.get(..end.unwrap_or(0)).unwrap_or(&[]))
}

/// What the answer to `dequeue` is, if it is a task.
pub(super) fn envelope(answer: &[u8]) -> Option<Envelope> {
    task(answer, b"")
}

/// `asynq.TaskMessage`: type 1, payload 2, id 3, queue 4, retried 6, headers 15. It may be cut after what is needed. `id`: the one it
/// must have, if that is known.
fn task(mut bytes: &[u8], id: &[u8]) -> Option<Envelope> {
    let mut envelope = Envelope::new(System::Asynq, String::new());
    while !bytes.is_empty() {
        let Some((field, value, rest)) = field(bytes) else {
            break;
        };
        bytes = rest;
        match (field, value) {
            (1, Wire::Bytes(text)) => envelope.name = job::name_of(text),
            (3, Wire::Bytes(text)) => envelope.id = job::name_of(text),
            (4, Wire::Bytes(text)) => envelope.queue = Some(job::name_of(text)),
            (6, Wire::Number(number)) => envelope.retries = u32::try_from(number).ok(),
            (15, Wire::Bytes(pair)) => header(&mut envelope, pair),
            _ => {}
        }
    }
    // A long payload stands before the id, which the script's keys have as well.
    if envelope.id.is_empty() {
        envelope.id = job::name_of(id);
    }
    let is_it = !envelope.id.is_empty() && (id.is_empty() || envelope.id.as_bytes() == id);
    (is_it && !envelope.name.is_empty()).then(|| {
        // A first attempt does not write the number.
        envelope.retries.get_or_insert(0);
        envelope.finished()
    })
}

/// An entry of a map of strings: key 1, value 2.
fn header(envelope: &mut Envelope, mut pair: &[u8]) {
    let (mut key, mut value) = (&b""[..], &b""[..]);
    while let Some((number, Wire::Bytes(text), rest)) = field(pair) {
        match number {
            1 => key = text,
            2 => value = text,
            _ => {}
        }
        pair = rest;
    }
    match key {
        b"traceparent" => envelope.traceparent.add(value),
        b"tracestate" => envelope.tracestate = Some(job::name_of(value)),
        _ => {}
    }
}

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// A protobuf field: its number, its value, what follows.
fn field(bytes: &[u8]) -> Option<(u64, Wire<'_>, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let number = tag >> 3;
    match tag & 7 {
        0 => {
            let (value, rest) = varint(rest)?;
            Some((number, Wire::Number(value), rest))
        }
        1 => Some((number, Wire::Fixed, rest.get(8..)?)),
        2 => {
            let (len, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            Some((number, Wire::Bytes(value), rest))
        }
        5 => Some((number, Wire::Fixed, rest.get(4..)?)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

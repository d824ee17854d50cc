//! Scripts of libraries, by the names of the keys they are given.
//!
//! In: `EVAL script numkeys key … argument …`, `EVALSHA`, `FCALL`. Out: events and what the answer will mean. Always holds: neither the
//! script's text nor its hash is looked at, as both change with each version; a script whose keys are no library's means nothing.
//! Refuses: to guess from arguments alone.
//!
//! A client sends the hash first, is told `NOSCRIPT`, and sends the text: the message is reported twice, the first time answered with
//! that error.

use super::command::{number, payload};
use super::frame::Frame;
use super::library;
use super::pending::{Due, Expect, Script};
use super::state::{Out, State, short};
use crate::queue::{Event, Settle};

/// A dramatiq message that is older when it is put into a queue was made before: a new one is put there as it is made.
const DRAMATIQ_MS: u64 = 10;

/// Nodes of a script's keys and arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) frame: &'a Frame,
    /// First key, first argument, end.
    keys: usize,
    args: usize,
    end: usize,
}

impl<'a> Call<'a> {
    fn new(frame: &'a Frame) -> Option<Self> {
        let count = number(frame.word(3)?)?;
        let args = count.checked_add(4).filter(|args| *args <= frame.len())?;
        Some(Self {
            frame,
            keys: 4,
            args,
            end: frame.len(),
        })
    }

    pub(super) fn key(&self, index: usize) -> &'a [u8] {
        let at = self.keys + index;
        if at < self.args {
            self.frame.text(at)
        } else {
            b""
        }
    }

    /// How many keys.
    pub(super) fn keys(&self) -> usize {
        self.args - self.keys
    }

    /// The node of an argument.
    pub(super) fn node(&self, index: usize) -> usize {
        self.args + index
    }

    pub(super) fn arg(&self, index: usize) -> &'a [u8] {
        self.frame.text(self.node(index))
    }

    /// How many arguments.
    pub(super) fn args(&self) -> usize {
        self.end - self.args
    }
}

impl State {
    pub(super) fn script(&mut self, name: &'static str, frame: &Frame, out: Out<'_>) -> Expect {
        let Some(call) = Call::new(frame) else {
            return Expect::Nothing;
        };
        let first = call.key(0);
        if first.starts_with(b"asynq:") {
            return self.asynq_script(name, call, out);
        }
        // `namespace; command, now, queue, worker, heartbeat, …`: dramatiq's one script.
        if call.keys() == 1 && call.args() >= 8 && number(call.arg(1)).is_some() {
            match call.arg(0) {
                b"enqueue" | b"fetch" | b"ack" | b"nack" | b"requeue" => {
                    return self.dramatiq_script(name, call, out);
                }
                _ => {}
            }
        }
        // Sidekiq's poller takes one due job out of a set, huey's scheduler all, and puts them into their queue then.
        let is_set = matches!(library::last_word(first), b"retry" | b"schedule")
            || first.starts_with(b"huey.schedule.");
        if call.keys() == 1 && is_set {
            return Expect::Due(Due::Envelope);
        }
        self.bullmq_script(name, call, out)
    }

    fn dramatiq_script(&mut self, name: &'static str, call: Call<'_>, out: Out<'_>) -> Expect {
        // `command, now, queue, worker, heartbeat time-out, dead message's age, maintenance, unpack size, …`
        let queue = call.arg(2);
        match call.arg(0) {
            b"enqueue" => {
                let payload = payload(call.frame, call.node(9));
                let is_later = queue.ends_with(b".DQ");
                let mut envelope = library::envelope(queue, payload);
                if let Some(envelope) = &mut envelope {
                    // A queue's messages that wait for their time are in a queue of their own. The worker that took them puts them into the
                    // other when they are due, perhaps by another connection of its pool: they keep the time they were made at.
                    let made = library::dramatiq_made(payload.seen);
                    let is_old = made.zip(number(call.arg(1)));
                    let is_old = is_old.is_some_and(|(made, now)| now as u64 > made + DRAMATIQ_MS);
                    let job = self.keyer.job(envelope.system, envelope.id.as_bytes());
                    if is_later {
                        self.is_moved(job);
                    } else if is_old {
                        self.is_moving(job);
                    }
                    envelope.is_later = false;
                    envelope.queue = Some(library::destination(without_suffix(queue), None));
                }
                let operation = self.operation();
                self.send((operation, name), (queue, payload), envelope, is_later, out);
                Expect::Sent(operation)
            }
            b"fetch" => {
                if !queue.ends_with(b".DQ") {
                    out(Event::Fetching);
                }
                Expect::Jobs {
                    name,
                    kind: Script::Dramatiq,
                    queue: short(queue).into(),
                    sent: None,
                }
            }
            command => {
                // `ack`, `nack` and `requeue` name messages by `redis_message_id`.
                let how = match command {
                    b"ack" => Settle::Ack,
                    b"nack" => Settle::Reject,
                    _ => Settle::Requeue,
                };
                for index in 8..call.args() {
                    // Nobody was given what waits.
                    if queue.ends_with(b".DQ") {
                        break;
                    }
                    let key = self.keyer.message_id(&[call.arg(index)]);
                    self.settle(key, how, out);
                }
                Expect::Nothing
            }
        }
    }
}

fn without_suffix(queue: &[u8]) -> &[u8] {
    queue.strip_suffix(b".DQ").unwrap_or(queue)
}

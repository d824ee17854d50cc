//! What known libraries write beside their messages: names of keys, results, lists of what is not acknowledged.
//!
//! In: commands on keys that are known by their names. Out: `Claimed`, `Done`, `Settled` of their jobs; which keys are a library's own.
//! Always holds: a name that is no library's has no meaning. Refuses: to report what libraries tell themselves (heartbeats, events,
//! results, registries) as messages.

use super::frame::Frame;
use super::pending::{Due, Expect};
use super::state::{Out, Payload, State};
use crate::queue::job::{self, Envelope, Value, members};
use crate::queue::{Event, Key, Settle, System};

/// kombu's separator between a queue's name and a priority.
const KOMBU_SEPARATOR: &[u8] = b"\x06\x16";

/// The part after the last colon: libraries and their namespaces put what a key is for there.
pub(super) fn last_word(key: &[u8]) -> &[u8] {
    let at = key.iter().rposition(|&byte| byte == b':');
    key.get(at.map_or(0, |at| at + 1)..).unwrap_or(key)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

/// Keys and channels in which libraries keep their own books.
pub(super) fn is_internal(key: &[u8]) -> bool {
    let celery = contains(key, b"celeryev")
        || contains(key, b"pidbox")
        || contains(key, b"_kombu.")
        || contains(key, b"celery-task")
        || key.ends_with(b"unacked")
        || key.ends_with(b"unacked_index");
    let rq = key.starts_with(b"rq:") && rq_queue(key).is_none();
    // `HOSTNAME:PID:NONCE-signals`, by which Sidekiq's web page stops a process.
    let sidekiq = key.ends_with(b"-signals");
    let bullmq =
        key.ends_with(b":marker") || key.starts_with(b"bull:") && key.ends_with(b":events");
    let asynq = key.starts_with(b"asynq:");
    let dramatiq = key.starts_with(b"dramatiq-results:");
    let huey = key.starts_with(b"huey.results.");
    let redis = key.starts_with(b"__key")
        || key.starts_with(b"__redis__")
        || key.starts_with(b"__sentinel__");
    celery || rq || sidekiq || bullmq || asynq || dramatiq || huey || redis
}

/// Sets and queues where a library's jobs wait for their time, and from which it puts them into their queue itself.
pub(super) fn is_waiting_room(system: System, key: &[u8]) -> bool {
    match system {
        System::Sidekiq => {
            matches!(last_word(key), b"retry" | b"schedule") && !contains(key, b"queue:")
        }
        System::Huey => key.starts_with(b"huey.schedule."),
        System::Dramatiq => key.ends_with(b".DQ"),
        _ => false,
    }
}

/// RQ's queue that a list or set of jobs belongs to.
fn rq_queue(key: &[u8]) -> Option<&[u8]> {
    [&b"rq:queue:"[..], b"rq:scheduled:", b"rq:deferred:"]
        .iter()
        .find_map(|prefix| key.strip_prefix(*prefix))
}

/// An RQ job's id in the name of its hash.
fn rq_job(key: &[u8]) -> Option<&[u8]> {
    let id = key.strip_prefix(b"rq:job:")?;
    (!id.is_empty() && !id.contains(&b':')).then_some(id)
}

/// The envelope of a message in this key.
pub(super) fn envelope(key: &[u8], payload: Payload<'_>) -> Option<Envelope> {
    let Some(queue) = rq_queue(key) else {
        return job::of_payload(payload.seen);
    };
    let is_whole = payload.seen.len() as u64 == payload.len;
    if !is_whole || payload.seen.is_empty() || payload.seen.len() > crate::queue::NAME_MAX {
        return None;
    }
    let id = String::from_utf8_lossy(payload.seen).into_owned();
    let mut envelope = Envelope::new(System::Rq, id);
    envelope.queue = Some(job::name_of(queue));
    Some(envelope)
}

/// The queue's name, as its library says it, or else the key.
pub(super) fn destination(key: &[u8], envelope: Option<&Envelope>) -> String {
    if let Some(queue) = envelope.and_then(|it| it.queue.clone()) {
        return queue;
    }
    let end = key
        .windows(KOMBU_SEPARATOR.len())
        .position(|part| part == KOMBU_SEPARATOR);
    let key = key.get(..end.unwrap_or(key.len())).unwrap_or(key);
    let huey = [&b"huey.redis."[..], b"huey.schedule."];
    let name = huey.iter().find_map(|prefix| key.strip_prefix(*prefix));
    job::name_of(name.unwrap_or(key))
}

/// When a dramatiq message was made, in milliseconds.
pub(super) fn dramatiq_made(message: &[u8]) -> Option<u64> {
    let made = members(message).find(|(key, _)| *key == b"message_timestamp");
    made.and_then(|(_, value)| value.number())
}

/// What is done with a key's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    /// `SET key value`, and the index of its value among the arguments.
    Set(usize),
    /// `HSET key field value …`.
    HashSet,
    /// `HGET key field`.
    HashGet,
    /// `HDEL key field …`.
    HashDelete,
    /// `ZREM key member …`.
    Remove,
    /// `ZRANGEBYSCORE key …`.
    Range,
}

/// Whether this key's book means something: if not, the command need not be read.
pub(super) fn is_book(book: Book, key: &[u8]) -> bool {
    match book {
        Book::Set(_) => contains(key, b"celery-task-meta-"),
        Book::HashSet => rq_job(key).is_some() || key.starts_with(b"huey.results."),
        Book::HashGet | Book::HashDelete => key.ends_with(b"unacked"),
        Book::Remove => [&b"rq:ready:"[..], b"rq:deferred:", b"rq:scheduled:"]
            .iter()
            .any(|prefix| key.starts_with(prefix)),
        Book::Range => key.starts_with(b"rq:scheduled:"),
    }
}

impl State {
    /// A command on a key for which [`is_book`] holds.
    pub(super) fn book(&mut self, book: Book, frame: &Frame, out: Out<'_>) -> Expect {
        let arg = |index: usize| frame.text(index + 1);
        match book {
            Book::Set(value) => self.celery_result(arg(1), arg(value), out),
            Book::HashSet => match rq_job(arg(1)) {
                Some(id) => {
                    let job = self.keyer.job(System::Rq, id);
                    self.rq_hash(job, frame, out);
                }
                // Beside results there are locks and revocations, whose names have a colon or a dot.
                None if arg(2).iter().any(|byte| b":.".contains(byte)) => {}
                None => {
                    let job = self.keyer.job(System::Huey, arg(2));
                    let failed = job::huey_failed(arg(3));
                    self.is_moved(job);
                    out(Event::Done { job, failed });
                }
            },
            Book::HashGet => {
                self.restoring = Some(arg(2).into());
                return Expect::Due(Due::Envelope);
            }
            Book::HashDelete => {
                // kombu looks a delivery up before it gives it back, and only then.
                let is_restored = self.restoring.take_if(|tag| **tag == *arg(2)).is_some();
                let how = if is_restored {
                    Settle::Requeue
                } else {
                    Settle::Ack
                };
                for index in 3..frame.len() {
                    if let Some(tag) = frame.word(index) {
                        let key = self.keyer.message_id(&[tag]);
                        self.settle(key, how, out);
                    }
                }
            }
            Book::Remove => {
                for index in 3..frame.len() {
                    if let Some(id) = frame.word(index) {
                        let job = self.keyer.job(System::Rq, id);
                        // The scheduler removes after it has put, the others before.
                        if arg(1).starts_with(b"rq:scheduled:") {
                            self.is_moved(job);
                        } else {
                            self.is_moving(job);
                        }
                    }
                }
            }
            Book::Range => return Expect::Due(Due::Rq),
        }
        Expect::Nothing
    }

    /// `{"status": "SUCCESS", …}` under `celery-task-meta-ID`.
    fn celery_result(&mut self, key: &[u8], value: &[u8], out: Out<'_>) {
        const PREFIX: &[u8] = b"celery-task-meta-";
        let at = key.windows(PREFIX.len()).position(|part| part == PREFIX);
        let id = at
            .and_then(|at| key.get(at + PREFIX.len()..))
            .unwrap_or(&[]);
        let job = self.keyer.job(System::Celery, id);
        let status = members(value).find(|(key, _)| *key == b"status");
        let status = status.and_then(|(_, value): (_, Value<'_>)| value.plain());
        match status {
            Some(b"STARTED") => out(Event::Claimed(job)),
            Some(b"PENDING" | b"RECEIVED" | b"PROGRESS") => {}
            // The job was put again just before, which ended the attempt; the next one may have begun.
            Some(b"RETRY") => {}
            Some(b"FAILURE" | b"REVOKED" | b"REJECTED") => {
                out(Event::Done { job, failed: true });
            }
            // A status of the user's own says only that the job still works, if it is JSON at all.
            Some(b"SUCCESS") | None => out(Event::Done { job, failed: false }),
            Some(_) => {}
        }
    }

    /// Sidekiq puts a failed job into `retry`, or into `dead`, from where nothing takes it: true for that.
    pub(super) fn sidekiq_failed(&self, key: &[u8], envelope: &Envelope, out: Out<'_>) -> bool {
        let word = last_word(key);
        let is_dead = word == b"dead";
        if envelope.system != System::Sidekiq || !is_dead && word != b"retry" {
            return false;
        }
        let job = self.keyer.job(System::Sidekiq, envelope.id.as_bytes());
        out(Event::Done { job, failed: true });
        is_dead
    }

    /// `HSET rq:job:ID status started …`.
    fn rq_hash(&mut self, job: Key, frame: &Frame, out: Out<'_>) {
        for index in (3..frame.len()).step_by(2) {
            let (Some(field), value) = (frame.word(index), frame.text(index + 1)) else {
                continue;
            };
            match (field, value) {
                (b"description", text) => {
                    // `module.function('argument', …)`: the arguments are nobody's business.
                    let end = text.iter().position(|&byte| byte == b'(').unwrap_or(0);
                    let name = text.get(..end).unwrap_or(&[]);
                    let is_name = name
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"._<>".contains(byte));
                    if is_name && !name.is_empty() {
                        self.named(job, job::name_of(name));
                    }
                }
                (b"status", b"started") => self.claim(job, out),
                (b"status", b"finished") => self.claim_ends(job, false, out),
                (b"status", b"failed" | b"stopped" | b"canceled") => {
                    self.claim_ends(job, true, out)
                }
                // It is tried again.
                (b"status", b"queued" | b"scheduled") if self.has_claimed(job) => {
                    self.claim_ends(job, true, out);
                }
                _ => {}
            }
        }
    }
}

//! Messages on their way: by what each is known at its other end, and who put it.
//!
//! In: keys of messages that were put, and of messages that were delivered. Out: the producer's exchange. Always holds: what is not unique is
//! believed only while one message alone has it; a delivery whose put is recorded a moment later finds it all the same; bounded, the
//! oldest goes first. Refuses: to choose between two messages that look alike.

use std::collections::VecDeque;

use agent_protocol::queue::{Key, KeyKind};
use rustc_hash::FxHashMap;

use crate::aged::Aged;
use crate::span::SpanId;

/// How long a message may be on its way, ns.
const KEEP_NS: u64 = 86_400_000_000_000;
/// How long a delivery waits for the record of its put, ns.
const WAIT_NS: u64 = 2_000_000_000;
/// How long after it was put a message that goes to many may still be delivered to one of them, ns: an equal one that is put earlier is
/// not told from it.
const FAN_OUT_NS: u64 = 60_000_000_000;

/// A message that was put.
struct Post {
    span: SpanId,
    at_ns: u64,
    /// Name of its job, where it says so and its delivery may not.
    job: Option<Box<str>>,
    /// Puts with this key that were not delivered. Counts for payloads only.
    waiting: u32,
    /// Two of them looked alike.
    is_ambiguous: bool,
    /// An equal one was put before it.
    has_twin: bool,
    /// It may be delivered more often than it was put, so that deliveries do not tell when all equal ones are through.
    is_fan_out: bool,
}

impl Post {
    /// Whether all that was put with this key was delivered before `at_ns`: what comes now was put by somebody who is not seen.
    fn is_through(&self, at_ns: u64) -> bool {
        self.waiting == 0 && (!self.is_fan_out || self.at_ns.saturating_add(FAN_OUT_NS) < at_ns)
    }
}

/// A put as it is noted.
pub(crate) struct Put<'a> {
    pub(crate) keys: &'a [Key],
    pub(crate) span: SpanId,
    pub(crate) at_ns: u64,
    pub(crate) job: Option<&'a str>,
    /// It may be delivered more than once.
    pub(crate) is_fan_out: bool,
}

/// Who put a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This exchange, when, and the job's name if it said one.
    By(SpanId, u64, Option<Box<str>>),
    /// Messages that look alike.
    Ambiguous,
    /// Nobody that was seen.
    Unknown,
}

/// See the module.
pub(crate) struct Posts {
    limit: usize,
    posts: FxHashMap<Key, Post>,
    by_age: VecDeque<(u64, Key)>,
    /// Deliveries without a put so far.
    early: Aged<Key, (u64, SpanId)>,
}

impl Posts {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            posts: FxHashMap::default(),
            by_age: VecDeque::new(),
            early: Aged::new(limit, WAIT_NS),
        }
    }

    /// Whether a message with one of these keys is on its way, or was.
    pub(crate) fn knows(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.posts.contains_key(key))
    }

    /// A message was put. Returns the consumer that was given it before this was recorded.
    pub(crate) fn put(&mut self, put: &Put<'_>) -> Option<SpanId> {
        let mut consumer = None;
        for &key in put.keys {
            // A job that its own worker puts again was not given to that worker by this.
            if let Some((at_ns, early)) = self.early.take(&key)
                && put.at_ns <= at_ns
            {
                consumer = consumer.or(Some(early));
            }
            self.put_one(key, put);
        }
        consumer
    }

    fn put_one(&mut self, key: Key, put: &Put<'_>) {
        let mut post = Post {
            span: put.span,
            at_ns: put.at_ns,
            job: put.job.filter(|name| !name.is_empty()).map(Box::from),
            waiting: 1,
            is_ambiguous: false,
            has_twin: false,
            is_fan_out: put.is_fan_out,
        };
        if let Some(before) = self.posts.get_mut(&key) {
            if key.kind == KeyKind::Payload {
                let overlaps = before.waiting > 0
                    || (put.is_fan_out && before.at_ns.saturating_add(FAN_OUT_NS) > put.at_ns);
                post.waiting = before.waiting.saturating_add(1);
                post.is_ambiguous = overlaps;
                post.has_twin = true;
            }
            post.job = post.job.or(before.job.take());
            *before = post;
            return;
        }
        while self.by_age.len() >= self.limit {
            self.forget_oldest();
        }
        self.posts.insert(key, post);
        self.by_age.push_back((put.at_ns, key));
    }

    /// A message was delivered to `consumer` at `at_ns`; `is_again`: not for the first time, so that it may be older than the latest equal one.
    pub(crate) fn take(
        &mut self,
        keys: &[Key],
        consumer: SpanId,
        at_ns: u64,
        is_again: bool,
    ) -> Found {
        let mut found = Found::Unknown;
        for key in keys {
            let Some(post) = self.posts.get_mut(key) else {
                continue;
            };
            if post.at_ns > at_ns {
                continue;
            }
            let is_ambiguous = key.kind == KeyKind::Payload
                && (post.is_ambiguous
                    || is_again && post.has_twin
                    || !is_again && post.is_through(at_ns));
            post.waiting = post.waiting.saturating_sub(1);
            if post.waiting == 0 && is_ambiguous && !post.is_fan_out {
                self.posts.remove(key);
                if found == Found::Unknown {
                    found = Found::Ambiguous;
                }
                continue;
            }
            if found != Found::Unknown {
                continue;
            }
            found = if is_ambiguous {
                Found::Ambiguous
            } else {
                Found::By(post.span, post.at_ns, post.job.clone())
            };
        }
        if found == Found::Unknown {
            self.wait(keys, consumer, at_ns);
        }
        found
    }

    fn wait(&mut self, keys: &[Key], consumer: SpanId, at_ns: u64) {
        // A payload that is not known yet may be that of several.
        for key in keys.iter().filter(|key| key.kind != KeyKind::Payload) {
            self.early.put(*key, (at_ns, consumer), at_ns);
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.early.sweep(now_ns);
        while self
            .by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(KEEP_NS) < now_ns)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at, key)) = self.by_age.pop_front()
            && let Some(post) = self.posts.get(&key)
        {
            // Put again since: it is as old as that.
            if post.at_ns > at && self.by_age.len() < self.limit {
                let at = post.at_ns;
                self.by_age.push_back((at, key));
            } else {
                self.posts.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_protocol::queue::{Key, KeyKind};

    use super::{Found, Posts, Put};
    use crate::span::SpanId;

    const JOB: Key = Key {
        kind: KeyKind::Job,
        hash: 1,
    };
    const PAYLOAD: Key = Key {
        kind: KeyKind::Payload,
        hash: 2,
    };

    fn id(number: u8) -> SpanId {
        SpanId([number; 8])
    }

    fn put(
        posts: &mut Posts,
        keys: &[Key],
        span: u8,
        at_ns: u64,
        is_fan_out: bool,
    ) -> Option<SpanId> {
        posts.put(&Put {
            keys,
            span: id(span),
            at_ns,
            job: None,
            is_fan_out,
        })
    }

    fn by(span: u8, at_ns: u64) -> Found {
        Found::By(id(span), at_ns, None)
    }

    #[test]
    fn equal_payloads_that_wait_at_once_are_nobodys() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, false);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 20, false), by(1, 10));
        put(&mut posts, &[PAYLOAD], 2, 30, false);
        put(&mut posts, &[PAYLOAD], 3, 40, false);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 50, false), Found::Ambiguous);
        put(&mut posts, &[PAYLOAD], 4, 55, false);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 60, false), Found::Ambiguous);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 70, false), Found::Ambiguous);
        put(&mut posts, &[PAYLOAD], 5, 80, false);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 90, false), by(5, 80));
    }

    #[test]
    fn a_message_for_many_is_found_by_each_unless_an_equal_one_is_near() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, true);
        for _ in 0..3 {
            assert_eq!(posts.take(&[PAYLOAD], id(9), 20, false), by(1, 10));
        }
        put(&mut posts, &[PAYLOAD], 2, 30, true);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 40, false), Found::Ambiguous);
    }

    #[test]
    fn an_equal_message_that_somebody_unseen_put_is_nobodys() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, false);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 20, false), by(1, 10));
        assert_eq!(posts.take(&[PAYLOAD], id(9), 30, false), Found::Ambiguous);
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, true);
        let late = 11 + super::FAN_OUT_NS;
        assert_eq!(posts.take(&[PAYLOAD], id(9), late, false), by(1, 10));
        assert_eq!(
            posts.take(&[PAYLOAD], id(9), late + 1, false),
            Found::Ambiguous
        );
    }

    #[test]
    fn a_late_second_delivery_does_not_make_the_next_equal_message_certain() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, true);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 20, false), by(1, 10));
        put(&mut posts, &[PAYLOAD], 2, 30, true);
        // Of the first one, to another consumer.
        assert_eq!(posts.take(&[PAYLOAD], id(9), 40, false), Found::Ambiguous);
        put(&mut posts, &[PAYLOAD], 3, 50, true);
        // Of the second one.
        assert_eq!(posts.take(&[PAYLOAD], id(9), 60, false), Found::Ambiguous);
    }

    #[test]
    fn what_is_delivered_again_is_not_the_latest_of_equal_messages() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[PAYLOAD], 1, 10, true);
        assert_eq!(posts.take(&[PAYLOAD], id(9), 20, false), by(1, 10));
        assert_eq!(posts.take(&[PAYLOAD], id(9), 25, true), by(1, 10));
        let later = 30 + super::FAN_OUT_NS;
        put(&mut posts, &[PAYLOAD], 2, later, true);
        assert_eq!(
            posts.take(&[PAYLOAD], id(9), later + 1, true),
            Found::Ambiguous
        );
        assert_eq!(
            posts.take(&[PAYLOAD], id(9), later + 2, false),
            by(2, later)
        );
    }

    #[test]
    fn each_attempt_of_a_job_belongs_to_the_latest_put() {
        let mut posts = Posts::new(8);
        put(&mut posts, &[JOB], 1, 10, false);
        assert_eq!(posts.take(&[JOB, PAYLOAD], id(9), 20, false), by(1, 10));
        assert_eq!(posts.take(&[JOB], id(9), 30, false), by(1, 10));
        put(&mut posts, &[JOB], 2, 40, false);
        assert_eq!(posts.take(&[JOB], id(9), 50, false), by(2, 40));
    }

    #[test]
    fn a_delivery_waits_for_the_record_of_its_put() {
        let mut posts = Posts::new(8);
        assert_eq!(
            posts.take(&[JOB, PAYLOAD], id(9), 20, false),
            Found::Unknown
        );
        assert_eq!(put(&mut posts, &[JOB, PAYLOAD], 1, 10, false), Some(id(9)));
        posts.sweep(10_000_000_000);
        assert_eq!(put(&mut posts, &[JOB], 2, 30, false), None);
    }
}

//! By what a message is known at both of its ends.
//!
//! In: ids and payloads. Out: [`Key`]s of fixed size. Always holds: equal inputs give equal keys within one agent's life; what a key
//! was made of cannot be found from it without the secret. Refuses: nothing; an empty input is an input.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::HASHED_BYTES;
use super::event::System;

/// How sure a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// A job's id in its library's envelope, or a broker's own id of a message that keeps it: the same in each attempt.
    Job,
    /// The same, but the broker or its database gives numbers: those of two of them are equal.
    Numbered,
    /// The broker's own place of the message (stream and entry id; topic, partition and offset): one message.
    Place,
    /// A message id that its sender made.
    MessageId,
    /// Destination and payload: two messages may be equal, and then neither is known by it.
    Payload,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// How sure.
    pub kind: KeyKind,
    /// Keyed hash of what it stands for.
    pub hash: u128,
}

impl Key {
    /// Whether it is the same in each attempt of a job.
    #[must_use]
    pub const fn is_of_a_job(&self) -> bool {
        matches!(self.kind, KeyKind::Job | KeyKind::Numbered)
    }
}

/// Makes keys under one secret. SipHash-1-3 with 128 bits (Aumasson and Bernstein 2012; the `siphasher` crate).
#[derive(Clone, Copy, Debug)]
pub struct Keyer(SipHasher13);

impl Keyer {
    /// Under a secret, random for each start of an agent and fixed for a replay.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&secret))
    }

    /// A job of a library, by its id.
    #[must_use]
    pub fn job(&self, system: System, id: &[u8]) -> Key {
        let kind = match system {
            System::BullMq | System::Procrastinate => KeyKind::Numbered,
            System::Celery
            | System::Rq
            | System::Dramatiq
            | System::Huey
            | System::Sidekiq
            | System::Asynq => KeyKind::Job,
        };
        self.key(kind, &[&[system as u8], id])
    }

    /// A message that has the same id each time its broker delivers it: the broker's kind, and the id.
    #[must_use]
    pub fn kept(&self, words: &[&[u8]]) -> Key {
        self.key(KeyKind::Job, words)
    }

    /// A place in a broker's log: its words in the order topic, partition, offset.
    #[must_use]
    pub fn place(&self, words: &[&[u8]]) -> Key {
        self.key(KeyKind::Place, words)
    }

    /// A message id within a destination or a broker.
    #[must_use]
    pub fn message_id(&self, words: &[&[u8]]) -> Key {
        self.key(KeyKind::MessageId, words)
    }

    /// A payload: at most [`HASHED_BYTES`] of it and its whole length. `None` when less of it was seen, and for less than four bytes,
    /// which say nothing.
    #[must_use]
    pub fn payload(&self, destination: &[u8], seen: &[u8], whole_len: u64) -> Option<Key> {
        let wanted = usize::try_from(whole_len)
            .unwrap_or(HASHED_BYTES)
            .min(HASHED_BYTES);
        let first = seen.get(..wanted).filter(|first| first.len() >= 4)?;
        Some(self.key(
            KeyKind::Payload,
            &[destination, &whole_len.to_le_bytes(), first],
        ))
    }

    fn key(&self, kind: KeyKind, words: &[&[u8]]) -> Key {
        let mut hasher = self.0;
        hasher.write_u8(match kind {
            KeyKind::Job | KeyKind::Numbered => 0,
            KeyKind::Place => 1,
            KeyKind::MessageId => 2,
            KeyKind::Payload => 3,
        });
        for word in words {
            // With the length before it, so that no two lists of words are the same bytes.
            hasher.write_u64(word.len() as u64);
            hasher.write(word);
        }
        Key {
            kind,
            hash: hasher.finish128().as_u128(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Keyer, System};

    #[test]
    fn keys_differ_in_kind_words_and_secret() {
        let keyer = Keyer::new([7; 16]);
        let keys = [
            keyer.job(System::Celery, b"a"),
            keyer.job(System::Rq, b"a"),
            keyer.place(&[b"a"]),
            keyer.message_id(&[b"a"]),
            keyer.message_id(&[b"a", b""]),
            keyer.message_id(&[b"", b"a"]),
            Keyer::new([8; 16]).job(System::Celery, b"a"),
        ];
        for (index, key) in keys.iter().enumerate() {
            for other in &keys[index + 1..] {
                assert_ne!(key, other);
            }
        }
        assert_eq!(keyer.place(&[b"a"]), keyer.place(&[b"a"]));
    }

    #[test]
    fn a_payload_is_known_by_its_first_bytes_and_its_length() {
        let keyer = Keyer::new([7; 16]);
        let long = vec![b'x'; 3000];
        for (seen, whole, other_seen, other_whole, equal) in [
            (&long[..], 3000, &long[..1024], 3000, true),
            (&long[..], 3000, &long[..1023], 3000, false),
            (&long[..], 3000, &long[..], 2999, false),
            (b"abcd", 4, b"abcd", 4, true),
            (b"abcd", 4, b"abce", 4, false),
        ] {
            let left = keyer.payload(b"q", seen, whole);
            let right = keyer.payload(b"q", other_seen, other_whole);
            assert_eq!(left == right, equal, "{whole} {other_whole}");
        }
        assert_eq!(keyer.payload(b"q", b"abc", 3), None);
        assert_eq!(keyer.payload(b"q", b"abcd", 5), None);
    }
}

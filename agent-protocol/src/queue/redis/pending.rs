//! Answers that are awaited, in the order of their commands.
//!
//! In: what each command's answer will mean. Out: the same, when the answer comes. Always holds: one entry for any number of commands
//! whose answers mean nothing; at most `in_flight` others, after which answers are only counted. Refuses: nothing.

use std::collections::VecDeque;

/// What the answer to a command will mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nothing.
    #[default]
    Nothing,
    /// The operation was done, or why not.
    Sent(u32),
    /// The same, and it is the message's id within this key.
    Placed { operation: u32, place: Place },
    /// A message, or an array of messages, from this list (`LPOP`, `LMOVE`); `kept_in` is the list where it waits for its ack.
    Messages {
        name: &'static str,
        key: Box<[u8]>,
        kept_in: Option<Box<[u8]>>,
    },
    /// `[key, message]` (`BLPOP`) or `[key, [message, …]]` (`LMPOP`): `keys` are those that were asked for.
    Keyed { name: &'static str, keys: Keys },
    /// Members and scores: `[member, score, …]` or `[[member, score], …]` of this set (`ZPOPMIN`); `[key, member, score]` (`BZPOPMIN`);
    /// `[key, [[member, score], …]]` (`ZMPOP`).
    Members {
        name: &'static str,
        key: Option<Box<[u8]>>,
        keys: Keys,
    },
    /// Entries of the streams in the answer (`XREAD`), or of this stream (`XCLAIM`).
    Entries {
        name: &'static str,
        key: Option<Box<[u8]>>,
        keys: Keys,
        /// They must be acknowledged.
        is_settled: bool,
        redelivered: bool,
    },
    /// Ids or envelopes of jobs that the client is going to put elsewhere.
    Due(Due),
    /// A library's script that fetches jobs; with `sent` it did this operation before.
    Jobs {
        name: &'static str,
        kind: Script,
        queue: Box<[u8]>,
        sent: Option<u32>,
    },
    /// Answers of those of a transaction's commands that mean something, by their place in it.
    Transaction(Vec<(u64, Expect)>),
}

/// What a place's first words are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The answer is an entry's id in this stream.
    Stream(Box<[u8]>),
    /// The answer is a BullMQ job's id, with this before it.
    BullMq(Box<[u8]>),
}

/// What due jobs are told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// RQ's ids.
    Rq,
    /// Envelopes that say themselves whose they are, also as the first of an array (kombu's `unacked`).
    Envelope,
}

/// Scripts that fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// `[[field, value, …], id, …]`.
    BullMq,
    /// A protobuf message.
    Asynq,
    /// An array of dramatiq's JSON.
    Dramatiq,
}

/// Which keys were asked for: never forgets one, seldom takes another for one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(u128);

impl Keys {
    pub(super) fn add(&mut self, key: &[u8]) {
        self.0 |= Self::bits(key);
    }

    pub(super) fn has(self, key: &[u8]) -> bool {
        let bits = Self::bits(key);
        self.0 & bits == bits
    }

    /// Three bits of FNV-1a.
    fn bits(key: &[u8]) -> u128 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        [0, 20, 40]
            .iter()
            .fold(0, |bits, shift| bits | 1 << (hash >> shift & 127))
    }
}

#[derive(Clone, Debug)]
struct Slot {
    expect: Expect,
    times: u64,
}

/// The queue of them.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    slots: VecDeque<Slot>,
    /// Answers in `slots` that mean something.
    meant: usize,
    most: usize,
}

impl Pending {
    pub(super) fn new(most: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            meant: 0,
            most: most.max(1),
        }
    }

    pub(super) fn push(&mut self, expect: Expect) {
        let meant = expect.meant();
        let expect = if self.meant + meant <= self.most {
            self.meant += meant;
            expect
        } else {
            Expect::Nothing
        };
        match self.slots.back_mut() {
            Some(slot) if expect == Expect::Nothing && slot.expect == Expect::Nothing => {
                slot.times += 1;
            }
            _ => self.slots.push_back(Slot { expect, times: 1 }),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Expect> {
        let slot = self.slots.front_mut()?;
        slot.times -= 1;
        if slot.times > 0 {
            return Some(Expect::Nothing);
        }
        let expect = self.slots.pop_front()?.expect;
        self.meant = self.meant.saturating_sub(expect.meant());
        Some(expect)
    }

    /// The next answer means nothing.
    pub(super) fn is_nothing_next(&self) -> bool {
        self.slots
            .front()
            .is_some_and(|slot| slot.expect == Expect::Nothing)
    }

    /// The numbers of operations that are awaited.
    pub(super) fn operations(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().flat_map(|slot| {
            let listed = match &slot.expect {
                Expect::Transaction(list) => list.as_slice(),
                _ => &[],
            };
            let listed = listed.iter().filter_map(|(_, expect)| expect.operation());
            slot.expect.operation().into_iter().chain(listed)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.meant = 0;
    }

    pub(super) fn held(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self
                .slots
                .iter()
                .map(|slot| slot.expect.held())
                .sum::<usize>()
    }
}

impl Expect {
    /// The operation that the answer says to be done, if it is one.
    pub(super) fn operation(&self) -> Option<u32> {
        match self {
            Self::Sent(operation) | Self::Placed { operation, .. } => Some(*operation),
            Self::Jobs { sent, .. } => *sent,
            _ => None,
        }
    }

    fn meant(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Transaction(list) => list.len(),
            _ => 1,
        }
    }

    /// Bytes beside itself.
    pub(super) fn held(&self) -> usize {
        let of = |key: &Option<Box<[u8]>>| key.as_ref().map_or(0, |key| key.len());
        match self {
            Self::Nothing | Self::Sent(_) | Self::Keyed { .. } | Self::Due(_) => 0,
            Self::Placed { place, .. } => match place {
                Place::Stream(key) | Place::BullMq(key) => key.len(),
            },
            Self::Messages { key, kept_in, .. } => key.len() + of(kept_in),
            Self::Members { key, .. } | Self::Entries { key, .. } => of(key),
            Self::Jobs { queue, .. } => queue.len(),
            Self::Transaction(list) => {
                let each = list.iter().map(|(_, expect)| expect.held());
                list.capacity() * size_of::<(u64, Self)>() + each.sum::<usize>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expect, Keys, Pending};

    #[test]
    fn answers_come_in_the_order_of_their_commands_whatever_room_there_is() {
        let mut pending = Pending::new(4);
        for operation in 0..10 {
            pending.push(Expect::Nothing);
            pending.push(Expect::Sent(operation));
        }
        let answers: Vec<_> = std::iter::from_fn(|| pending.pop()).collect();
        assert_eq!(answers.len(), 20);
        for (at, answer) in answers.iter().enumerate() {
            let is_kept = at % 2 == 1 && at < 8;
            let wanted = Expect::Sent(at as u32 / 2);
            assert_eq!(*answer == wanted, is_kept, "{at}");
            assert!(is_kept || *answer == Expect::Nothing, "{at}");
        }
        assert!(pending.is_empty());
    }

    #[test]
    fn keys_that_were_asked_for_are_known() {
        let mut keys = Keys::default();
        let names: Vec<_> = (0..10).map(|n| format!("queue:{n}")).collect();
        names.iter().for_each(|name| keys.add(name.as_bytes()));
        assert!(names.iter().all(|name| keys.has(name.as_bytes())));
        let others = (0..1000).filter(|n| keys.has(format!("other:{n}").as_bytes()));
        assert!(others.count() < 50);
    }
}

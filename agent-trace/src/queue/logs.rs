//! Messages of a log that its consumer fetches once more.
//!
//! In: deliveries of Kafka's records, in the order of their reads; commits; what members of groups were given to read. Out: whether each is new, is the same as
//! before, or is worked on again; for which group it is. Always holds: a consumer is its connection: two groups of one process are given the same
//! records, each once; bounded. Refuses: a group for what two connections of a process are given, or two of its groups read.
//!
//! A client that goes back (a seek, or a failure: kafkajs 2.2 and kafka-python 3.0, `tests/victims/brokers`) fetches from the record that it works on again; those
//! behind it came before as well, and were not begun, as they were not committed. It may fetch them several times until it works on them, so that a
//! record that was not committed is worked on again at most once, as far as is told. What was committed, or is read without a group, is read anew.
//!
//! All clients fetch on another connection than the one on which they are members (eight were recorded, `agent-protocol/tests/queue_kafka`), and each asks
//! there how far its group is in what it was given to read (`OffsetFetch`), before it fetches that: so the fetching connection's group is known.
//! What a group is given once more, on whichever connection of whichever member, is linked to the delivery before (`again`).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use agent_common::abi::{ProcessKey, SegmentRecord, SocketKey};
use agent_protocol::queue::{Assigned, Committed, Delivered};
use rustc_hash::FxHasher;

use super::parcel::log_of;
use super::{Lane, Parcel};
use crate::aged::{Aged, FOR_EVER};
use crate::conn::moved_ktime;
use crate::shared::Shared;
use crate::span::SpanId;

/// Most records that are remembered.
const RECORDS_MAX: usize = 65_536;
/// Most partitions of connections, and of processes.
const PARTITIONS_MAX: usize = 16_384;
/// Most processes that work for groups.
const GROUPED_MAX: usize = 16_384;
/// Most connections that are known to be closed.
const CLOSED_MAX: usize = 16_384;

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// No record of a log, or one that was not seen before.
    New,
    /// The client went back to it: it is worked on once more. Its delivery before, and how many there were.
    Again(SpanId, u32),
    /// The client came by it once more: this delivery is the same.
    Known(SpanId),
}

/// A process that reads a partition.
struct Member {
    /// None where that is not certain.
    group: Option<Arc<str>>,
    /// How often it was given that to read.
    times: u32,
}

/// See the module.
pub(crate) struct Logs {
    /// By connection, and record: its delivery, how many came before it, and as which part of its group.
    records: Aged<(SocketKey, u64, i64), (SpanId, u32, u32)>,
    /// The last record that a connection was given of a partition.
    ends: Aged<(SocketKey, u64), i64>,
    /// How far a process committed a partition.
    committed: Aged<(ProcessKey, u64), i64>,
    grouped: Aged<ProcessKey, ()>,
    /// Groups that a process is a member of.
    joined: Aged<(ProcessKey, u64), ()>,
    /// For whom a process reads a partition.
    members: Aged<(ProcessKey, u64), Member>,
    /// The connection on which a process was last given something of a partition.
    readers: Aged<(ProcessKey, u64), SocketKey>,
    closed: Aged<SocketKey, ()>,
    /// Deliveries of what was given to their group once more.
    moved: Aged<SpanId, ()>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            records: Aged::new(RECORDS_MAX, FOR_EVER),
            ends: Aged::new(PARTITIONS_MAX, FOR_EVER),
            committed: Aged::new(PARTITIONS_MAX, FOR_EVER),
            grouped: Aged::new(GROUPED_MAX, FOR_EVER),
            joined: Aged::new(GROUPED_MAX, FOR_EVER),
            members: Aged::new(PARTITIONS_MAX, FOR_EVER),
            readers: Aged::new(PARTITIONS_MAX, FOR_EVER),
            closed: Aged::new(CLOSED_MAX, FOR_EVER),
            moved: Aged::new(RECORDS_MAX, FOR_EVER),
        }
    }
}

impl Logs {
    /// A process works for a group.
    pub(crate) fn has_group(&mut self, process: ProcessKey, group: &str, at_ns: u64) {
        self.grouped.put(process, (), at_ns);
        self.joined.put((process, hash_of(group)), (), at_ns);
    }

    /// A process asks how far a group is in a partition: where it is a member, it is about to read that.
    pub(crate) fn assigned(&mut self, process: ProcessKey, to: &Assigned, at_ns: u64) {
        if to.destination.is_empty() || !self.joined.has(&(process, hash_of(&to.group))) {
            return;
        }
        let key = (process, log_of(&to.destination, to.partition));
        match self.members.get_mut(&key) {
            Some(known) if known.group.as_deref() != Some(&to.group) => known.group = None,
            Some(known) => known.times = known.times.wrapping_add(1),
            None => {
                let group = Some(to.group.as_str().into());
                let member = Member { group, times: 0 };
                self.members.put(key, member, at_ns);
            }
        }
    }

    /// A connection with a broker was closed.
    pub(crate) fn closed(&mut self, socket: SocketKey, at_ns: u64) {
        self.closed.put(socket, (), at_ns);
    }

    /// For which group a connection of a process is given a record. Two that are given the same are two readers, and which of them is the group's is not known.
    pub(crate) fn group_of(
        &mut self,
        (process, socket): (ProcessKey, SocketKey),
        (topic, partition, offset): (&str, i32, i64),
        at_ns: u64,
    ) -> Option<Arc<str>> {
        let log = log_of(topic, partition);
        let member = self.members.get_mut(&(process, log))?;
        let other = self.readers.get(&(process, log)).copied();
        if let Some(other) = other.filter(|other| *other != socket)
            && !self.closed.has(&other)
            && self
                .ends
                .get(&(other, log))
                .is_some_and(|end| offset <= *end)
        {
            member.group = None;
        }
        self.readers.put((process, log), socket, at_ns);
        member.group.clone()
    }

    /// What this was the delivery of was given to its group once more.
    pub(crate) fn moved(&mut self, consumer: SpanId, at_ns: u64) {
        self.moved.put(consumer, (), at_ns);
    }

    /// A process committed: what lies before is worked on anew if it comes again.
    pub(crate) fn committed(&mut self, process: ProcessKey, upto: &Committed, at_ns: u64) {
        let log = log_of(&upto.destination, upto.partition);
        self.has_group(process, &upto.group, at_ns);
        self.committed.put((process, log), upto.offset, at_ns);
    }

    /// A delivery came on a connection of a process.
    pub(crate) fn fetched(
        &mut self,
        (process, socket): (ProcessKey, SocketKey),
        parcel: &Parcel,
        at_ns: u64,
    ) -> Fetched {
        let Some((log, offset)) = parcel.place_in_log() else {
            return Fetched::New;
        };
        let end = self.ends.get(&(socket, log)).copied();
        self.ends.put((socket, log), offset, at_ns);
        let Some(&(before, number, times)) = self.records.get(&(socket, log, offset)) else {
            return Fetched::New;
        };
        // Given to the group anew, which knows the delivery before.
        if self.times(process, log).is_some_and(|now| now != times) || self.moved.has(&before) {
            return Fetched::New;
        }
        let committed = self.committed.get(&(process, log));
        let is_anew = !self.grouped.has(&process) || committed.is_some_and(|upto| offset < *upto);
        let goes_back = end.is_none_or(|end| offset <= end);
        if is_anew || goes_back && number == 0 {
            Fetched::Again(before, number + 1)
        } else {
            Fetched::Known(before)
        }
    }

    /// This is the record's delivery now, and so many came before it.
    pub(crate) fn is(
        &mut self,
        (process, socket): (ProcessKey, SocketKey),
        parcel: &Parcel,
        at: (SpanId, u32, u64),
    ) {
        let (consumer, number, at_ns) = at;
        if let Some((log, offset)) = parcel.place_in_log() {
            let times = self.times(process, log).unwrap_or_default();
            let record = (socket, log, offset);
            self.records.put(record, (consumer, number, times), at_ns);
        }
    }

    /// How often a process was given a partition to read, where its group is certain.
    fn times(&self, process: ProcessKey, log: u64) -> Option<u32> {
        let member = self.members.get(&(process, log))?;
        member.group.as_ref().map(|_| member.times)
    }
}

fn hash_of(group: &str) -> u64 {
    let mut hasher = FxHasher::default();
    group.hash(&mut hasher);
    hasher.finish()
}

impl Lane {
    /// The group that a record of a log is given to, where that was said on another connection of the process.
    pub(super) fn group_elsewhere(
        &self,
        delivered: &Delivered,
        record: &SegmentRecord,
        shared: &mut Shared,
    ) -> Option<String> {
        let message = &delivered.message;
        let place = (
            delivered.destination.as_str(),
            message.partition?,
            message.offset?,
        );
        let reader = (record.process, self.socket);
        let logs = &mut shared.work.logs;
        let group = logs.group_of(reader, place, moved_ktime(record))?;
        Some(group.as_ref().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{ProcessKey, SocketKey};
    use agent_protocol::queue::Committed;

    use super::{Fetched, Logs};
    use crate::queue::Parcel;
    use crate::span::SpanId;

    const WORKER: ProcessKey = ProcessKey {
        start_ns: 1,
        tgid: 2,
        zero: 0,
    };

    /// Offsets in the order of their reads; those of another connection after a colon; `c` before one that is committed. `+`: new, `a`: again,
    /// `=`: the same.
    fn outcome(has_group: bool, words: &[&str]) -> String {
        let mut logs = Logs::default();
        if has_group {
            logs.has_group(WORKER, "mailers", 1);
        }
        let mut text = String::new();
        for (nth, word) in words.iter().enumerate() {
            if let Some(offset) = word.strip_prefix('c') {
                let upto = Committed {
                    group: "mailers".to_owned(),
                    destination: "mails".to_owned(),
                    partition: 0,
                    offset: offset.parse::<i64>().unwrap_or(0) + 1,
                };
                logs.committed(WORKER, &upto, 1);
                continue;
            }
            let (connection, offset) = word.split_once(':').unwrap_or(("1", word));
            let socket = SocketKey {
                sk: connection.parse().unwrap_or(0),
                ino: 1,
            };
            let parcel = Parcel {
                destination: "mails".to_owned(),
                partition: Some(0),
                offset: offset.parse().ok(),
                ..Parcel::default()
            };
            let consumer = SpanId([nth as u8 + 1; 8]);
            let (sign, number) = match logs.fetched((WORKER, socket), &parcel, 1) {
                Fetched::New => ('+', 0),
                Fetched::Again(_, number) => ('a', number),
                Fetched::Known(_) => {
                    text.push('=');
                    continue;
                }
            };
            text.push(sign);
            logs.is((WORKER, socket), &parcel, (consumer, number, 1));
        }
        text
    }

    #[test]
    fn a_client_that_goes_back_works_again_on_the_first_record_and_on_what_was_committed() {
        for (words, expected) in [
            (&["1", "2", "3"][..], "+++"),
            (&["1", "2", "3", "2", "3", "4"], "+++a=+"),
            (&["1", "2", "1", "2", "1", "2", "3"], "++a===+"),
            (&["1", "2", "2:1", "2:2"], "++++"),
            (&["5", "3", "4", "5", "6"], "+++=+"),
            (&["1", "2", "c1", "c2", "3", "1", "2", "3"], "+++aa="),
        ] {
            assert_eq!(outcome(true, words), expected, "{words:?}");
        }
        assert_eq!(outcome(false, &["1", "2", "1", "2", "1"]), "++aaa");
    }
}

//! Messages of a log that its consumer fetches once more.
//!
//! In: deliveries of Kafka's records, in the order of their reads; commits. Out: whether each is new, is the same as before, or is worked on again. Always
//! holds: a consumer is its connection: two groups of one process are given the same records, each once; bounded. Refuses: what a client fetches again
//! on another connection.
//!
//! A client that goes back (a seek, or a failure: kafkajs 2.2 and kafka-python 3.0, `tests/victims/brokers`) fetches from the record that it works on again; those
//! behind it came before as well, and were not begun, as they were not committed. It may fetch them several times until it works on them, so that a
//! record that was not committed is worked on again at most once, as far as is told. What was committed, or is read without a group, is read anew.

use agent_common::abi::{ProcessKey, SocketKey};
use agent_protocol::queue::Committed;

use super::Parcel;
use super::parcel::log_of;
use crate::aged::{Aged, FOR_EVER};
use crate::span::SpanId;

/// Most records that are remembered.
const RECORDS_MAX: usize = 65_536;
/// Most partitions of connections, and of processes.
const PARTITIONS_MAX: usize = 16_384;
/// Most processes that work for groups.
const GROUPED_MAX: usize = 16_384;

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

/// See the module.
pub(crate) struct Logs {
    /// By connection, and record.
    records: Aged<(SocketKey, u64, i64), (SpanId, u32)>,
    /// The last record that a connection was given of a partition.
    ends: Aged<(SocketKey, u64), i64>,
    /// How far a process committed a partition.
    committed: Aged<(ProcessKey, u64), i64>,
    grouped: Aged<ProcessKey, ()>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            records: Aged::new(RECORDS_MAX, FOR_EVER),
            ends: Aged::new(PARTITIONS_MAX, FOR_EVER),
            committed: Aged::new(PARTITIONS_MAX, FOR_EVER),
            grouped: Aged::new(GROUPED_MAX, FOR_EVER),
        }
    }
}

impl Logs {
    /// A process works for a group.
    pub(crate) fn has_group(&mut self, process: ProcessKey, at_ns: u64) {
        self.grouped.put(process, (), at_ns);
    }

    /// A process committed: what lies before is worked on anew if it comes again.
    pub(crate) fn committed(&mut self, process: ProcessKey, upto: &Committed, at_ns: u64) {
        let log = log_of(&upto.destination, upto.partition);
        self.has_group(process, at_ns);
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
        let Some(&(before, number)) = self.records.get(&(socket, log, offset)) else {
            return Fetched::New;
        };
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
    pub(crate) fn is(&mut self, socket: SocketKey, parcel: &Parcel, at: (SpanId, u32, u64)) {
        let (consumer, number, at_ns) = at;
        if let Some((partition, offset)) = parcel.place_in_log() {
            let record = (socket, partition, offset);
            self.records.put(record, (consumer, number), at_ns);
        }
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
            logs.has_group(WORKER, 1);
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
            logs.is(socket, &parcel, (consumer, number, 1));
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

//! Descriptions of processes, kept while they may still be asked for.
//!
//! In: process keys as the kernel's records name them. Out: [`ProcessFacts`]. Always holds: at most `capacity` processes are
//! kept; what is dropped is counted and would be read again. Refuses: to forget a process because it exited: its last records may still
//! be on their way, and there is nothing left to read.

use std::collections::HashMap;

use agent_common::abi::ProcessKey;
use agent_trace::frame::ProcessFacts;

use super::{facts::describe, host::HostFacts, keys, proc_root::ProcRoot};

/// What the table has done, absolute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Processes read from `/proc`, again after each execve.
    pub described: u64,
    /// Of those, processes that had ended before they could be read: only their thread's name is known.
    pub gone: u64,
    /// Descriptions dropped to keep the table within its bound.
    pub evicted: u64,
}

/// Descriptions by process.
#[derive(Debug)]
pub struct ProcessTable {
    root: ProcRoot,
    host: HostFacts,
    capacity: usize,
    entries: HashMap<ProcessKey, Entry>,
    /// Counts uses; orders entries by their last one.
    clock: u64,
    counts: TableCounts,
}

#[derive(Debug)]
struct Entry {
    facts: ProcessFacts,
    used: u64,
    exited: bool,
}

impl ProcessTable {
    /// A table of at most `capacity` processes (at least 1).
    pub fn new(root: ProcRoot, host: HostFacts, capacity: usize) -> Self {
        ProcessTable {
            root,
            host,
            capacity: capacity.max(1),
            entries: HashMap::new(),
            clock: 0,
            counts: TableCounts::default(),
        }
    }

    /// Whether a process was described and is still kept.
    pub fn knows(&self, key: ProcessKey) -> bool {
        self.entries.contains_key(&key)
    }

    /// Describes a process, from `/proc` the first time. `comm` is the thread name in the kernel's record.
    pub fn describe(&mut self, key: ProcessKey, comm: &str) -> &ProcessFacts {
        if !self.entries.contains_key(&key) {
            self.make_room();
            self.read(key, comm);
        }
        self.clock += 1;
        let used = self.clock;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            facts: ProcessFacts::default(),
            used,
            exited: false,
        });
        entry.used = used;
        &entry.facts
    }

    /// Reads a process again, which is another program since execve.
    ///
    /// If it has ended meanwhile the new program's thread name is all that is known of it, and the old description is wrong.
    pub fn exec(&mut self, key: ProcessKey, comm: &str) -> &ProcessFacts {
        self.entries.remove(&key);
        self.describe(key, comm)
    }

    /// The process ended: it is the first to go when room is needed.
    pub fn exit(&mut self, key: ProcessKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.exited = true;
        }
    }

    /// What the table has done so far.
    pub fn counts(&self) -> TableCounts {
        self.counts
    }

    /// Processes kept now.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no process is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn read(&mut self, key: ProcessKey, comm: &str) {
        let facts = describe(key, comm, &self.root, &self.host);
        self.counts.described += 1;
        if facts
            .attributes
            .iter()
            .any(|(name, _)| name == keys::SUTURE_PROCESS_GONE)
        {
            self.counts.gone += 1;
        }
        self.entries.insert(
            key,
            Entry {
                facts,
                used: self.clock,
                exited: false,
            },
        );
    }

    /// Drops an eighth at once when the table is full, so that the sort is paid once for many processes.
    fn make_room(&mut self) {
        if self.entries.len() < self.capacity {
            return;
        }
        let mut order: Vec<(bool, u64, ProcessKey)> = self
            .entries
            .iter()
            .map(|(key, entry)| (!entry.exited, entry.used, *key))
            .collect();
        order.sort_unstable();
        for (_, _, key) in order.iter().take(self.capacity.div_ceil(8)) {
            self.entries.remove(key);
            self.counts.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::ProcessKey;

    use super::{HostFacts, ProcRoot, ProcessTable, TableCounts};

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey {
            start_ns: 1,
            tgid,
            zero: 0,
        }
    }

    fn table(capacity: usize) -> ProcessTable {
        ProcessTable::new(ProcRoot::at("/nonexistent"), HostFacts::default(), capacity)
    }

    #[test]
    fn a_process_is_read_once_and_again_after_execve() {
        let mut table = table(8);
        assert_eq!(table.describe(key(1), "sh").service_name, "sh");
        assert_eq!(table.describe(key(1), "ignored").service_name, "sh");
        assert_eq!(table.exec(key(1), "curl").service_name, "curl");
        assert_eq!(
            table.counts(),
            TableCounts {
                described: 2,
                gone: 2,
                evicted: 0
            }
        );
    }

    #[test]
    fn the_table_never_exceeds_its_bound_and_drops_the_dead_first() {
        let mut table = table(16);
        for tgid in 0..16 {
            table.describe(key(tgid), "x");
        }
        table.exit(key(14));
        table.exit(key(15));
        table.describe(key(16), "x");
        assert_eq!((table.len(), table.counts().evicted), (15, 2));
        assert!(
            table.entries.contains_key(&key(0)),
            "a living process was dropped before a dead one"
        );
        for tgid in 100..10_000 {
            table.describe(key(tgid), "x");
            assert!(table.len() <= 16);
        }
        let counts = table.counts();
        assert_eq!(
            counts.described - counts.evicted,
            table.len() as u64,
            "every loss is counted"
        );
    }

    #[test]
    fn an_exited_process_is_still_known() {
        let mut table = table(2);
        table.describe(key(1), "curl");
        table.exit(key(1));
        table.describe(key(1), "other");
        assert_eq!(table.counts().described, 1);
    }
}

//! Records of schedulers and of what they begin.
//!
//! In: what becomes of processes. Out: steps. Always holds: as in the parent module. Refuses: nothing.

use agent_common::abi::{ProcessKey, TaskRecord, TickRecord, kind, words_of};
use agent_trace::frame::{ProcessFacts, ResourceValue};

use super::{Step, World, bytes_of};

/// A thread's name as records have it.
fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

impl World {
    /// What the kernel side says of a process of the tick with trace and span `n`.
    pub fn scheduled(&mut self, what: u32, n: u8, process: ProcessKey, by: u32, comm: &str) {
        self.scheduled_by("cron", what, n, process, by, comm);
    }

    /// The same by a scheduler.
    pub fn scheduled_by(
        &mut self,
        scheduler: &str,
        what: u32,
        n: u8,
        process: ProcessKey,
        by: u32,
        comm: &str,
    ) {
        let head = self.head(kind::TICK, size_of::<TickRecord>(), 0);
        let record = TickRecord {
            head,
            process,
            trace_id: words_of([n; 16]),
            span_id: u64::from_ne_bytes([n; 8]),
            what,
            by,
            comm: padded(comm),
            scheduler: padded(scheduler),
        };
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }

    /// What a process is was found in /proc.
    pub fn described(&mut self, process: ProcessKey, attributes: &[(&str, &str)]) {
        self.described_as(process, "victim", attributes);
    }

    /// The same with the name of its service.
    pub fn described_as(
        &mut self,
        process: ProcessKey,
        service: &str,
        attributes: &[(&str, &str)],
    ) {
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ResourceValue::Str((*value).to_owned())))
            .collect();
        self.steps.push(Step::Process(ProcessFacts {
            tgid: process.tgid,
            start_ns: process.start_ns,
            service_name: service.to_owned(),
            attributes,
        }));
    }

    /// The process becomes a program, or ends with a status.
    pub fn lives(&mut self, what: u16, process: ProcessKey, comm: &str, status: u32) {
        let record = TaskRecord {
            head: self.head(what, size_of::<TaskRecord>(), 0),
            process,
            tid: process.tgid,
            other: status,
            comm: padded(comm),
        };
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }
}

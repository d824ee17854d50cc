//! Runtime classes of the processes seen, and when to look again.
//!
//! In: process keys as the kernel's records or `/proc` name them, the time. Out: [`Finding`]s. Always holds: at most `capacity` processes are kept, one for
//! each tgid, as in the kernel's map; units of a program that is no more are void, though the record of its end was lost. Refuses: more
//! processes: they are NATIVE and counted.
//!
//! Classes are looked at again after execve and 1 s and 10 s after a process is first seen, because interpreters map their
//! libraries while they run (gevent is imported by the program, not by Python).
//!
//! ```text
//! first / exec ──> looked ──1 s──> again ──10 s──> settled
//!                    └──── exit at any time ────────> (forgotten)
//! ```

use std::collections::{BTreeSet, HashMap};

use agent_common::abi::{ProcessKey, node_variant, runtime};

use super::{
    elf::ElfMarks,
    proc_root::ProcRoot,
    runtime::{Finding, find},
    units::Follows,
};
use crate::config::NodeTurns;

/// How long after it is first seen a process is looked at again, ns.
const AGAIN_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];

/// Two start times this close are one process': a key made from `/proc` is cut to ticks of 10 ms, and no pid comes round so fast.
const SAME_START_NS: u64 = 30_000_000;

/// Runtime classes of the processes seen, and when to look again. By tgid, as in the kernel's map.
#[derive(Debug)]
pub struct RuntimeClasses {
    root: ProcRoot,
    elf: ElfMarks,
    capacity: usize,
    known: HashMap<u32, Known>,
    /// The same as in `known`, by time: (CLOCK_MONOTONIC ns, tgid).
    due: BTreeSet<(u64, u32)>,
    /// Processes not classified because the table was full.
    refused: u64,
    /// Processes whose units are an old program's, by tgid.
    void: Vec<u32>,
    follows: Follows,
}

/// One process.
#[derive(Clone, Debug)]
struct Known {
    key: ProcessKey,
    finding: Finding,
    /// When it was first looked at, CLOCK_MONOTONIC ns.
    first_ns: u64,
    /// Times it was looked at again.
    again: usize,
}

impl Known {
    /// Whether the key names this process.
    fn is(&self, key: ProcessKey) -> bool {
        self.key.start_ns.abs_diff(key.start_ns) <= SAME_START_NS
    }

    /// Whether it may have units that are no threads.
    fn has_units(&self) -> bool {
        self.finding.class() >= runtime::GO
    }

    /// When to look again; none when the class is settled.
    fn due_ns(&self) -> Option<u64> {
        AGAIN_NS
            .get(self.again)
            .map(|wait_ns| self.first_ns.saturating_add(*wait_ns))
    }
}

impl RuntimeClasses {
    /// Keeps at most `capacity` processes; those beyond are NATIVE and counted.
    pub fn new(root: ProcRoot, capacity: usize) -> Self {
        let (known, due) = (HashMap::new(), BTreeSet::new());
        RuntimeClasses {
            root,
            elf: ElfMarks::default(),
            capacity,
            known,
            due,
            refused: 0,
            void: Vec::new(),
            follows: Follows {
                node_turns: NodeTurns::Off,
                tokio_tasks: false,
            },
        }
    }

    /// What is followed.
    #[must_use]
    pub fn following(mut self, follows: Follows) -> Self {
        self.follows = follows;
        self
    }

    fn find(&mut self, tgid: u32) -> Finding {
        let mut finding = find(&self.root, &mut self.elf, tgid);
        if let Some(fact) = self.follows.refusal(finding.class()) {
            return Finding::of(runtime::MULTIPLEXING, fact);
        }
        if finding.class() == runtime::NODE && self.follows.node_turns == NodeTurns::Auto {
            finding.runtime.variant |= node_variant::ALONE;
        }
        finding
    }

    /// The runtime of a process that listens now, or that ran before the agent. `ktime_ns` is CLOCK_MONOTONIC now.
    pub fn look(&mut self, key: ProcessKey, ktime_ns: u64) -> Finding {
        let before = self.forget(key.tgid);
        if self.known.len() >= self.capacity {
            self.refused += 1;
            return Finding::of(runtime::NATIVE, "the table of processes is full");
        }
        let finding = self.find(key.tgid);
        // Another process, or program: the record of the old one's end, or of execve, was lost.
        let is_other = |old: &Known| !old.is(key) || old.finding != finding;
        self.void.extend(
            before
                .filter(|old| old.has_units() && is_other(old))
                .map(|old| old.key.tgid),
        );
        let known = Known {
            key,
            finding: finding.clone(),
            first_ns: ktime_ns,
            again: 0,
        };
        self.due
            .extend(known.due_ns().map(|due_ns| (due_ns, key.tgid)));
        self.known.insert(key.tgid, known);
        finding
    }

    /// The class of a process met for the first time by a traced record; none when it is known already.
    ///
    /// A worker forked from a server never calls execve: it has the class its parent had when it forked, which may be older than
    /// what both have loaded since (gunicorn imports gevent, then forks).
    pub fn first(&mut self, key: ProcessKey, ktime_ns: u64) -> Option<Finding> {
        let known = self.known.get(&key.tgid);
        (!known.is_some_and(|known| known.is(key))).then(|| self.look(key, ktime_ns))
    }

    /// The runtime of a process that serves already, if it is not the one that is known of it.
    pub fn changed(&mut self, key: ProcessKey, ktime_ns: u64) -> Option<Finding> {
        let before = self.known.get(&key.tgid).map(|known| known.finding.clone());
        let finding = self.look(key, ktime_ns);
        (before.as_ref() != Some(&finding)).then_some(finding)
    }

    /// The process ended. Returns whether it may have had units that are no threads.
    pub fn exit(&mut self, key: ProcessKey) -> bool {
        // A later process with the same pid stays.
        let ended =
            |known: &Known| known.key.start_ns <= key.start_ns.saturating_add(SAME_START_NS);
        let Some(known) = self.known.get(&key.tgid).filter(|known| ended(known)) else {
            return false;
        };
        let had_units = known.has_units();
        self.forget(key.tgid);
        had_units
    }

    /// The next process whose units, as far as the kernel has some of its tgid, are those of a program that is no more.
    pub fn void(&mut self) -> Option<u32> {
        self.void.pop()
    }

    fn forget(&mut self, tgid: u32) -> Option<Known> {
        let known = self.known.remove(&tgid)?;
        if let Some(due_ns) = known.due_ns() {
            self.due.remove(&(due_ns, tgid));
        }
        Some(known)
    }

    /// The next process whose runtime changed by now, with the new one; none when all that was due is unchanged.
    pub fn poll(&mut self, ktime_ns: u64) -> Option<(ProcessKey, Finding)> {
        while let Some((_, tgid)) = self
            .due
            .first()
            .copied()
            .filter(|(due_ns, _)| *due_ns <= ktime_ns)
        {
            self.due.pop_first();
            let Some(known) = self.known.get_mut(&tgid) else {
                continue;
            };
            known.again += 1;
            self.due.extend(known.due_ns().map(|due_ns| (due_ns, tgid)));
            // A process that has ended says nothing; its class stays, and a later one's with its pid is its own.
            let root = &self.root;
            if !root
                .stat(tgid)
                .is_ok_and(|stat| root.is_same(known.key, &stat))
            {
                continue;
            }
            let finding = self.find(tgid);
            let Some(known) = self.known.get_mut(&tgid) else {
                continue;
            };
            if finding != known.finding {
                self.void.extend(known.has_units().then_some(tgid));
                known.finding = finding.clone();
                return Some((known.key, finding));
            }
        }
        None
    }

    /// When [`Self::poll`] has something to look at, CLOCK_MONOTONIC ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.first().map(|(due_ns, _)| *due_ns)
    }

    /// Processes not classified because the table was full, absolute.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

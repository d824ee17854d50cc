//! Whether threads of a worker call for anything between two messages: then nothing tells these calls from those for the next message.
//!
//! In: settlements and calls of threads. Out: since when a thread's calls can be for the message that it settles; whether its process is trusted.
//! Always holds: a process is trusted once its threads made no call for a while after a message, several times; never again once one called after a
//! message and before its next one had come. Refuses: what follows a message that was refused, of which its thread may tell somebody; bounded.
//!
//! ```text
//!   settles M1   [tells somebody]   takes M2, which waited   calls   settles M2        whose the first call is, is not to be seen
//!   settles M1   (quiet)                           M2 comes   calls   settles M2        this worker tells nobody
//! ```

use std::collections::VecDeque;

use agent_common::abi::ProcessKey;

use super::units::UnitKey;
use crate::aged::{Aged, FOR_EVER};

/// Most threads of which the latest settlement is remembered, and processes.
const UNITS_MAX: usize = 16_384;
/// How long after a settlement a thread must have made no call, ns, to be one that has nothing to say to others about it.
const QUIET_NS: u64 = 50_000_000;
/// How often threads of a process must have been quiet.
const QUIET_TIMES: u8 = 3;
/// How long calls of a process that is not trusted yet wait for that, ns: one whose threads are never quiet is not waited for.
const UNSURE_MAX_NS: u64 = 60_000_000_000;

/// What a thread did since it settled a message.
#[derive(Clone, Copy)]
struct Since {
    settled_ns: u64,
    is_ack: bool,
    /// When its first call without a parent began.
    called_ns: Option<u64>,
    /// That it was quiet has been noted.
    is_noted: bool,
}

impl Since {
    /// Whether the thread did not call for a while after it had settled, as far as is known at `now_ns`.
    fn is_quiet(&self, now_ns: u64) -> bool {
        let until_ns = self.called_ns.unwrap_or(now_ns);
        !self.is_noted && until_ns.saturating_sub(self.settled_ns) >= QUIET_NS
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Not known: so often threads were quiet, since this time.
    Unsure(u8, u64),
    Full,
    Never,
}

/// What was known of a thread when it settled.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    /// When it settled before; 0: not seen.
    pub(super) settled_ns: u64,
    /// Whether its calls since then can be for the message that it settles now.
    pub(super) can_be_told: bool,
    /// It just showed that its process is not to be trusted.
    pub(super) is_bad: bool,
}

/// See the module.
pub(super) struct Threads {
    since: Aged<UnitKey, Since>,
    trust: Aged<ProcessKey, Trust>,
    /// Settlements after which threads may be quiet, in their order.
    settled: VecDeque<(u64, UnitKey)>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            since: Aged::new(UNITS_MAX, FOR_EVER),
            trust: Aged::new(UNITS_MAX, FOR_EVER),
            settled: VecDeque::new(),
        }
    }
}

impl Threads {
    /// The thread calls, for nobody that is known. Returns whether it has settled a message before.
    pub(super) fn calls(&mut self, thread: UnitKey, began_ns: u64) -> bool {
        match self.since.get_mut(&thread) {
            Some(since) if since.settled_ns < began_ns => {
                since.called_ns.get_or_insert(began_ns);
                true
            }
            _ => false,
        }
    }

    /// The thread settled a message that came at `came_ns` (none: it cannot be one that it worked on alone).
    pub(super) fn settles(
        &mut self,
        thread: UnitKey,
        came_ns: Option<u64>,
        is_ack: bool,
        at_ns: u64,
    ) -> Before {
        let process = thread.process;
        let since = self.since.get(&thread).copied();
        let called_ns = since.and_then(|since| since.called_ns);
        let is_bad = called_ns
            .zip(came_ns)
            .is_some_and(|(called_ns, came_ns)| called_ns < came_ns)
            && !self.are_bad(process);
        if is_bad {
            self.trust.put(process, Trust::Never, at_ns);
        } else if since.is_some_and(|since| since.is_quiet(at_ns)) {
            self.was_quiet(process, at_ns);
        }
        let trust = self.trust_of(process, at_ns);
        let now = Since {
            settled_ns: at_ns,
            is_ack,
            called_ns: None,
            is_noted: false,
        };
        self.since.put(thread, now, at_ns);
        let is_known = match trust {
            Trust::Full => true,
            Trust::Unsure(times, since_ns) => {
                self.trust
                    .put(process, Trust::Unsure(times, since_ns), at_ns);
                if self.settled.len() < UNITS_MAX {
                    self.settled.push_back((at_ns, thread));
                }
                at_ns.saturating_sub(since_ns) <= UNSURE_MAX_NS
            }
            Trust::Never => false,
        };
        Before {
            settled_ns: since.map_or(0, |since| since.settled_ns),
            can_be_told: is_known && since.is_none_or(|since| since.is_ack),
            is_bad,
        }
    }

    /// Whether what threads of the process settle is known to be what they called for.
    pub(super) fn are_good(&self, process: ProcessKey) -> bool {
        self.trust.get(&process) == Some(&Trust::Full)
    }

    /// Whether they were seen to call for something else.
    pub(super) fn are_bad(&self, process: ProcessKey) -> bool {
        self.trust.get(&process) == Some(&Trust::Never)
    }

    /// A thread of the process may have called between two messages.
    pub(super) fn doubt(&mut self, process: ProcessKey, at_ns: u64) {
        if !self.are_bad(process) {
            self.trust.put(process, Trust::Unsure(0, at_ns), at_ns);
        }
    }

    /// The next process that is trusted because a thread has been quiet until now.
    pub(super) fn next_quiet(&mut self, now_ns: u64, linger_ns: u64) -> Option<ProcessKey> {
        let until_ns = now_ns.saturating_sub(QUIET_NS + linger_ns);
        while let Some((settled_ns, thread)) = self
            .settled
            .pop_front_if(|(settled_ns, _)| *settled_ns <= until_ns)
        {
            // (One that settled again was looked at then.)
            if let Some(since) = self.since.get_mut(&thread)
                && since.settled_ns == settled_ns
                && since.is_quiet(now_ns)
            {
                since.is_noted = true;
                if self.was_quiet(thread.process, now_ns) {
                    return Some(thread.process);
                }
            }
        }
        None
    }

    /// A process ended.
    pub(super) fn exits(&mut self, process: ProcessKey) {
        self.trust.take(&process);
    }

    fn trust_of(&self, process: ProcessKey, now_ns: u64) -> Trust {
        let known = self.trust.get(&process).copied();
        known.unwrap_or(Trust::Unsure(0, now_ns))
    }

    /// Returns whether the process is trusted by that.
    fn was_quiet(&mut self, process: ProcessKey, now_ns: u64) -> bool {
        let Trust::Unsure(times, since_ns) = self.trust_of(process, now_ns) else {
            return false;
        };
        let is_full = times + 1 >= QUIET_TIMES;
        let trust = match is_full {
            true => Trust::Full,
            false => Trust::Unsure(times + 1, since_ns),
        };
        self.trust.put(process, trust, now_ns);
        is_full
    }
}

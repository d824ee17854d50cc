//! Who says what became of a message has worked on it: its calls since it was done with the one before are that message's.
//!
//! In: calls without a parent; what units say of jobs that other units were given. Out: the consumer that a call is for. Always holds: the unit of
//! the call is the one that settled; the call began after the message had come to its process, and after the unit's settlement before; the library
//! settles when the work is done, on the unit that did it. Refuses: the unit that reads messages (it settles for others, and under gevent all
//! run on one thread); several settlements in one write; a job that came once more to a process that had it; a process of which a
//! thread was seen to call between two messages: what it calls for then may as well be called when the next one waits already.
//!
//! ```text
//!   dramatiq 2.2 over Redis      thread T:  [settles M1]  calls  calls  settles M2          both calls are M2's
//!   procrastinate 3.10           Context J: calls; a copy of J (a thread's): calls; another copy of J: finishes M
//!   BullMQ 6.7 (Node.js)         an async function that its loop calls for M, and those that this one calls: call; one of them finishes M
//! ```
//! Only libraries are trusted of which this is known (records, and their code): a consumer of AMQP or of a stream may ack before it works, and then
//! all its calls would be the next message's. NATS' clients settle by a task or goroutine that writes for all.

use agent_common::abi::{ProcessKey, SegmentRecord, evidence, kin_number};
use agent_protocol::queue::{Event, Key, Message, System};

use super::trust::Threads;
use super::units::UnitKey;
use super::waiting::{Call, Waiting};
use super::work::{Open, system_of};
use crate::aged::{Aged, FOR_EVER};
use crate::counters::Counter;
use crate::exchange::{Entry, Exchange};
use crate::shared::Shared;
use crate::span::SpanId;
use crate::tracer::Command;

/// Most processes whose Contexts are told of.
const FOLLOWED_MAX: usize = 16_384;

/// A unit that calls, or settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hand {
    pub(crate) thread: UnitKey,
    /// Where a contextvars Context runs that was seen to be made: its number, and that of the one it was copied from (0: not known).
    pub(crate) kin: u64,
}

impl Hand {
    /// Whose segment it was.
    pub(super) fn of(record: &SegmentRecord) -> Self {
        Self {
            thread: UnitKey::of_thread(record),
            kin: kin_of(record),
        }
    }

    /// Whether one Context is the other, or a copy of it, or both are copies of one; and that one was made since a message came, so that it is
    /// no loop's that takes one after the other.
    fn is_kin_of(self, other: Self, came_ns: u64) -> bool {
        let numbers = |hand: Self| [(hand.kin >> 32) as u32, hand.kin as u32];
        let others = numbers(other);
        let is_younger = |number: u32| number.wrapping_sub(kin_number(came_ns)).cast_signed() >= 0;
        self.thread.process == other.thread.process
            && numbers(self)
                .iter()
                .any(|number| *number != 0 && others.contains(number) && is_younger(*number))
    }
}

/// The Context in which a segment moved, see [`Hand::kin`]; 0: none.
pub(crate) fn kin_of(record: &SegmentRecord) -> u64 {
    match record.exchange.evidence {
        evidence::KIN => record.exchange.parent_span_id,
        _ => 0,
    }
}

/// How a library's units are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Thread,
    /// A Context, or in Node.js an async function: those of one job have one number ([`Hand::kin`]).
    Context,
}

/// Whether who settles a job of this library is who worked on it, always when the work is done, and another than who read it.
pub(super) const fn settled_by_worker(system: System) -> Option<By> {
    match system {
        System::Dramatiq => Some(By::Thread),
        System::Procrastinate | System::BullMq => Some(By::Context),
        // Of Celery's threads nothing tells the end of a task without a result: its calls would be the next one's.
        System::Celery | System::Rq | System::Huey | System::Sidekiq | System::Asynq => None,
    }
}

/// See the module.
pub(crate) struct Settles {
    is_on: bool,
    threads: Threads,
    /// Processes whose Contexts are told of.
    followed: Aged<ProcessKey, ()>,
    pub(super) waiting: Waiting,
}

impl Settles {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            threads: Threads::default(),
            followed: Aged::new(FOLLOWED_MAX, FOR_EVER),
            waiting: Waiting::default(),
        }
    }

    /// A process ended.
    pub(super) fn exits(&mut self, process: ProcessKey) {
        self.waiting.give_up(process);
        self.threads.exits(process);
        self.followed.take(&process);
    }
}

/// How a message's library tells who works on it.
pub(super) fn by(open: &Open) -> Option<By> {
    system_of(open).and_then(settled_by_worker)
}

/// Whether an event says of a delivery what became of it.
pub(super) fn is_settlement(event: &Event) -> bool {
    matches!(
        event,
        Event::Settled { .. } | Event::SettledKey { .. } | Event::Done { .. }
    )
}

impl Shared {
    /// A call begins that nothing ties to anything: it may be for a message that its unit settles later.
    pub(crate) fn may_be_for_a_message(&mut self, exchange: &Exchange) {
        let Entry::Entered(slot) = exchange.entry else {
            return;
        };
        let settles = &mut self.work.settles;
        if !settles.is_on || exchange.tid == 0 {
            return;
        }
        let (process, began_ns) = (exchange.process, exchange.start_ktime_ns);
        let thread = UnitKey {
            process,
            tid: exchange.tid,
        };
        if exchange.kin == 0
            && settles.threads.calls(thread, began_ns)
            && !settles.waiting.has_messages(process, By::Thread)
        {
            // Unless its message came before the agent: the next one that its thread settles tells.
            settles.threads.doubt(process, began_ns);
            settles.waiting.give_up(process);
        }
        let by = match exchange.kin {
            0 if settles.threads.are_bad(process) => return,
            0 => By::Thread,
            _ => By::Context,
        };
        let call = Call {
            span: exchange.ids.span,
            slot,
            hand: Hand {
                thread,
                kin: exchange.kin,
            },
            began_ns,
            consumer: None,
        };
        if !settles.waiting.begin(by, call) {
            self.counters.one(Counter::SettleFull);
        }
    }

    /// A process asks for jobs in a table: where it is procrastinate, on an event loop, its Contexts tell who works.
    pub(super) fn takes_from_table(&mut self, process: ProcessKey, at_ns: u64) {
        let settles = &mut self.work.settles;
        if settles.is_on && !settles.followed.has(&process) {
            settles.followed.put(process, (), at_ns);
            self.commands.push_back(Command::FollowContexts(process));
        }
    }

    /// A unit says what became of the message of `consumer` (none: its delivery was not seen), `is_ack` if all is well; to be told before it is over.
    pub(super) fn settles(
        &mut self,
        consumer: Option<SpanId>,
        hand: Hand,
        (is_only, is_ack): (bool, bool),
        at_ns: u64,
    ) {
        if !self.work.settles.is_on {
            return;
        }
        let process = hand.thread.process;
        let open = consumer.and_then(|consumer| self.work.open.get(&consumer));
        // (Of a message that its unit reads itself nothing is asked here.)
        let known = open.and_then(|open| Some((by(open)?, open)));
        let came_ns = known.map(|(_, open)| open.exchange.start_ktime_ns);
        let is_its = known.is_some_and(|(by, open)| {
            is_only
                && open.exchange.process == process
                && !open.is_doubtful
                && (by == By::Context || open.read_by != hand.thread)
        });
        let consumer = consumer.filter(|_| is_its);
        match known.map(|(by, _)| by) {
            Some(By::Context) => self.context_settles(consumer, hand, came_ns.unwrap_or(at_ns)),
            _ if hand.kin == 0 => {
                self.thread_settles(consumer.zip(came_ns), hand, is_ack, at_ns);
            }
            _ => {}
        }
    }

    fn context_settles(&mut self, consumer: Option<SpanId>, hand: Hand, came_ns: u64) {
        let waiting = &mut self.work.settles.waiting;
        let is_its = |call: &Call| call.hand.is_kin_of(hand, came_ns);
        for call in waiting.take(hand.thread.process, is_its) {
            if let Some(consumer) = consumer
                && call.began_ns > came_ns
            {
                self.graph.is_for(call.slot, call.span, consumer);
            }
        }
    }

    /// `message`: the consumer, and when its message came, where the thread can have worked on it.
    fn thread_settles(
        &mut self,
        message: Option<(SpanId, u64)>,
        hand: Hand,
        is_ack: bool,
        at_ns: u64,
    ) {
        let (thread, process) = (hand.thread, hand.thread.process);
        let settles = &mut self.work.settles;
        let came_ns = message.map(|(_, came_ns)| came_ns);
        let before = settles.threads.settles(thread, came_ns, is_ack, at_ns);
        if before.is_bad {
            self.counters.one(Counter::SettleBetween);
            settles.waiting.give_up(process);
        }
        if let (Some((consumer, came_ns)), true) = (message, before.can_be_told) {
            let from_ns = before.settled_ns.max(came_ns);
            for call in settles.waiting.of_process(process) {
                if call.hand == hand && call.consumer.is_none() && call.began_ns > from_ns {
                    call.consumer = Some(consumer);
                }
            }
        }
        settles
            .waiting
            .take(process, |call| call.hand == hand && call.consumer.is_none());
        if settles.threads.are_good(process) {
            self.are_for_messages(process);
        }
    }

    /// Calls of a process that is trusted are for the messages that their threads settled.
    fn are_for_messages(&mut self, process: ProcessKey) {
        let waiting = &mut self.work.settles.waiting;
        for call in waiting.take(process, |call| call.consumer.is_some()) {
            if let Some(consumer) = call.consumer {
                self.graph.is_for(call.slot, call.span, consumer);
            }
        }
    }

    /// The attempt that the process gives up when it puts this message: its job's next attempt, by its own count.
    pub(super) fn given_up_by(&self, put: &Message, by: ProcessKey) -> Option<SpanId> {
        let job = put.job.as_ref()?;
        settled_by_worker(job.system)?;
        self.attempt_retried(put, by)
    }

    /// The consumer of the message with this key.
    pub(super) fn consumer_of(&self, key: &Key) -> Option<SpanId> {
        self.work.by_key.get(key).copied()
    }

    /// Hands on what no longer waits for its unit's word, so that its span is made.
    pub(crate) fn release_waiting(&mut self, all: bool) {
        let now_ns = self.now_ns;
        let linger_ns = self.config.linger_ns;
        while let Some(process) = self.work.settles.threads.next_quiet(now_ns, linger_ns) {
            self.are_for_messages(process);
        }
        let waiting = &mut self.work.settles.waiting;
        let late = waiting.give_up_old(now_ns, all);
        self.counters.add(Counter::SettleLate, late);
        while let Some((slot, at_ns, exchange)) = self.work.settles.waiting.next_free() {
            self.graph.keep(slot, false);
            self.done.put(at_ns, exchange);
        }
    }

    /// Whether the exchange, which is over, waits for the word of a unit that made its call, or the call above it: keeps it then.
    pub(crate) fn waits(&mut self, at_ns: u64, exchange: Box<Exchange>) -> Option<Box<Exchange>> {
        let waiting = &mut self.work.settles.waiting;
        let Entry::Entered(slot) = exchange.entry else {
            return Some(exchange);
        };
        if waiting.is_empty() {
            return Some(exchange);
        }
        let id = exchange.ids.span;
        let Some(call) = self.graph.first_above(slot, id, |span| waiting.has(span)) else {
            return Some(exchange);
        };
        match waiting.hold(call, (slot, at_ns, exchange)) {
            None => self.graph.keep(slot, true),
            full => {
                self.counters.one(Counter::SettleFull);
                return full;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{ProcessKey, kin_number};

    use super::{Hand, UnitKey};

    const SECOND: u64 = 1_000_000_000;

    /// A Context made at `own`, which was copied from one made at `from`, in s; 0: not known.
    fn hand(tgid: u32, own: u64, from: u64) -> Hand {
        let number = |at: u64| match at {
            0 => 0,
            at => u64::from(kin_number(at * SECOND)),
        };
        let process = ProcessKey {
            tgid,
            ..ProcessKey::default()
        };
        Hand {
            thread: UnitKey { process, tid: 1 },
            kin: number(own) << 32 | number(from),
        }
    }

    #[test]
    fn a_job_s_contexts_are_copies_of_one_that_was_made_when_its_message_had_come() {
        for (what, call, settles, expect) in [
            ("the job's own", (1, 20, 5), (1, 23, 20), true),
            ("a copy of it", (1, 22, 20), (1, 23, 20), true),
            ("the one that settles", (1, 23, 20), (1, 23, 20), true),
            ("another job's", (1, 21, 5), (1, 23, 20), false),
            ("copies of the loop's", (1, 20, 5), (1, 23, 5), false),
            ("of another process", (2, 20, 5), (1, 23, 20), false),
            ("a copy of a copy", (1, 22, 21), (1, 23, 20), false),
            ("not known", (1, 0, 0), (1, 0, 0), false),
            ("made by one that is too old", (1, 20, 0), (1, 23, 0), false),
            ("numbers that begin again", (1, 275, 5), (1, 276, 275), true),
        ] {
            let [call, settles] = [call, settles].map(|(tgid, own, from)| hand(tgid, own, from));
            let came_ns = if what.starts_with("numbers") { 274 } else { 10 } * SECOND;
            assert_eq!(call.is_kin_of(settles, came_ns), expect, "{what}");
        }
    }
}

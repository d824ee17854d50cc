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
//! ```
//! Only libraries are trusted of which this is known (strace, and their code): a consumer of AMQP or of a stream may ack before it works, and then
//! all its calls would be the next message's. NATS' clients settle by a task or goroutine that writes for all.

use agent_common::abi::{ProcessKey, SegmentRecord, evidence, kin_number};
use agent_protocol::queue::{Event, Key, Message, System};

use super::units::UnitKey;
use super::waiting::{Call, Waiting};
use super::work::{Open, system_of};
use crate::aged::{Aged, FOR_EVER};
use crate::counters::Counter;
use crate::exchange::{Entry, Exchange};
use crate::shared::Shared;
use crate::span::SpanId;
use crate::tracer::Command;

/// Most threads of which the latest settlement is remembered, and processes.
const UNITS_MAX: usize = 16_384;

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
        let is_younger =
            |number: u32| number.wrapping_sub(kin_number(came_ns)).cast_signed() >= 0;
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
    Context,
}

/// Whether who settles a job of this library is who worked on it, always when the work is done, and another than who read it.
pub(super) const fn settled_by_worker(system: System) -> Option<By> {
    match system {
        System::Dramatiq => Some(By::Thread),
        System::Procrastinate => Some(By::Context),
        // Of Celery's threads nothing tells the end of a task without a result: its calls would be the next one's.
        System::Celery
        | System::Rq
        | System::Huey
        | System::BullMq
        | System::Sidekiq
        | System::Asynq => None,
    }
}

/// What a thread did since it settled a message.
#[derive(Clone, Copy)]
struct Since {
    settled_ns: u64,
    /// When its first call without a parent began.
    called_ns: Option<u64>,
}

/// See the module.
pub(crate) struct Settles {
    is_on: bool,
    threads: Aged<UnitKey, Since>,
    /// Processes whose threads call between two messages.
    between: Aged<ProcessKey, ()>,
    /// Processes whose Contexts are told of.
    followed: Aged<ProcessKey, ()>,
    pub(super) waiting: Waiting,
}

impl Settles {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            threads: Aged::new(UNITS_MAX, FOR_EVER),
            between: Aged::new(UNITS_MAX, FOR_EVER),
            followed: Aged::new(UNITS_MAX, FOR_EVER),
            waiting: Waiting::default(),
        }
    }

    /// A thread settled something, whatever it was.
    fn has_settled(&mut self, thread: UnitKey, settled_ns: u64) {
        let since = Since {
            settled_ns,
            called_ns: None,
        };
        self.threads.put(thread, since, settled_ns);
    }

    /// A process ended.
    pub(super) fn exits(&mut self, process: ProcessKey) {
        self.waiting.give_up(process);
        self.between.take(&process);
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
            && let Some(since) = settles.threads.get_mut(&thread)
            && since.settled_ns < began_ns
        {
            since.called_ns.get_or_insert(began_ns);
        }
        if settles.between.has(&process) {
            return;
        }
        let by = match exchange.kin {
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

    /// A unit says what became of the message of `consumer` (none: its delivery was not seen); to be told before it is over.
    pub(super) fn settles(
        &mut self,
        consumer: Option<SpanId>,
        hand: Hand,
        is_only: bool,
        at_ns: u64,
    ) {
        if !self.work.settles.is_on {
            return;
        }
        let process = hand.thread.process;
        let open = consumer.and_then(|consumer| self.work.open.get(&consumer));
        // (Of a message that its unit reads itself nothing is asked here.)
        let known = open.and_then(|open| Some((by(open)?, open)));
        let Some((by, open)) = known else {
            self.is_done_with_others(hand, at_ns);
            return;
        };
        let came_ns = open.exchange.start_ktime_ns;
        let counts = is_only
            && open.exchange.process == process
            && !open.is_doubtful
            && (by == By::Context || open.read_by != hand.thread);
        let settles = &mut self.work.settles;
        let since = settles.threads.get(&hand.thread).copied();
        let mut from_ns = came_ns;
        if by == By::Thread {
            if let Some(since) = since.filter(|_| counts) {
                from_ns = from_ns.max(since.settled_ns);
                if since.called_ns.is_some_and(|called_ns| called_ns < came_ns)
                    && !settles.between.has(&process)
                {
                    self.counters.one(Counter::SettleBetween);
                    settles.between.put(process, (), at_ns);
                    settles.waiting.give_up(process);
                }
            }
            settles.has_settled(hand.thread, at_ns);
        }
        let is_its = |call: &Call| match by {
            By::Thread => hand.kin == 0 && call.hand == hand,
            By::Context => call.hand.is_kin_of(hand, came_ns),
        };
        let calls = settles.waiting.take(process, at_ns, is_its);
        let consumer = consumer.filter(|_| counts && !settles.between.has(&process));
        for call in calls {
            if let Some(consumer) = consumer
                && call.began_ns > from_ns
            {
                self.graph.is_for(call.slot, call.span, consumer);
            }
        }
    }

    /// A thread says what became of a message of which it is not known who works on it.
    fn is_done_with_others(&mut self, hand: Hand, at_ns: u64) {
        let settles = &mut self.work.settles;
        if hand.kin == 0 {
            settles.has_settled(hand.thread, at_ns);
            settles
                .waiting
                .take(hand.thread.process, at_ns, |call| call.hand == hand);
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

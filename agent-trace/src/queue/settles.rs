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

use std::collections::VecDeque;

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
/// How long after a settlement a thread must have made no call, ns, to be one that has nothing to say to others about it.
const QUIET_NS: u64 = 50_000_000;
/// How long calls of a process wait to be told apart from what its threads call between messages, ns: one that is never quiet is not waited for.
const UNSURE_MAX_NS: u64 = 60_000_000_000;
/// How often threads of a process must have been quiet.
const QUIET_TIMES: u8 = 3;

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
    /// It was done with it, and did not refuse it: who tells somebody of that does so then.
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

/// Whether threads of a process call for anything between two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Not known: so often they were quiet after a message, since this time.
    Quiet(u8, u64),
    /// They do not.
    Full,
    /// They do.
    Never,
}

/// See the module.
pub(crate) struct Settles {
    is_on: bool,
    threads: Aged<UnitKey, Since>,
    trust: Aged<ProcessKey, Trust>,
    /// Settlements after which threads may be quiet, in their order.
    quiet: VecDeque<(u64, UnitKey)>,
    /// Processes whose Contexts are told of.
    followed: Aged<ProcessKey, ()>,
    pub(super) waiting: Waiting,
}

impl Settles {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            threads: Aged::new(UNITS_MAX, FOR_EVER),
            trust: Aged::new(UNITS_MAX, FOR_EVER),
            quiet: VecDeque::new(),
            followed: Aged::new(UNITS_MAX, FOR_EVER),
            waiting: Waiting::default(),
        }
    }

    /// A thread settled something, whatever it was.
    fn has_settled(&mut self, thread: UnitKey, is_ack: bool, settled_ns: u64) {
        let since = Since {
            settled_ns,
            is_ack,
            called_ns: None,
            is_noted: false,
        };
        self.threads.put(thread, since, settled_ns);
        if matches!(self.trust_of(thread.process, settled_ns), Trust::Quiet(..))
            && self.quiet.len() < UNITS_MAX
        {
            self.quiet.push_back((settled_ns, thread));
        }
    }

    fn trust_of(&self, process: ProcessKey, now_ns: u64) -> Trust {
        let known = self.trust.get(&process).copied();
        known.unwrap_or(Trust::Quiet(0, now_ns))
    }

    /// A thread was quiet after a message. Returns whether its process is trusted by that.
    fn is_quiet(&mut self, process: ProcessKey, now_ns: u64) -> bool {
        let Trust::Quiet(times, since_ns) = self.trust_of(process, now_ns) else {
            return false;
        };
        let is_full = times + 1 >= QUIET_TIMES;
        let trust = if is_full { Trust::Full } else { Trust::Quiet(times + 1, since_ns) };
        self.trust.put(process, trust, now_ns);
        is_full
    }

    /// A process ended.
    pub(super) fn exits(&mut self, process: ProcessKey) {
        self.waiting.give_up(process);
        self.trust.take(&process);
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
            if !settles.waiting.has_messages(process, By::Thread)
                && settles.trust_of(process, began_ns) != Trust::Never
            {
                // Unless its message came before the agent: the next one that its thread settles tells.
                settles.trust.put(process, Trust::Quiet(0, began_ns), began_ns);
                settles.waiting.give_up(process);
            }
        }
        let by = match exchange.kin {
            0 if settles.trust_of(process, began_ns) == Trust::Never => return,
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
        let since = settles.threads.get(&thread).copied();
        let is_between = |(since, (_, came_ns)): (Since, (SpanId, u64))| {
            since.called_ns.is_some_and(|called_ns| called_ns < came_ns)
        };
        let trust = settles.trust_of(process, at_ns);
        if since.zip(message).is_some_and(is_between) && trust != Trust::Never {
            self.counters.one(Counter::SettleBetween);
            settles.trust.put(process, Trust::Never, at_ns);
            settles.waiting.give_up(process);
        }
        settles.has_settled(thread, is_ack, at_ns);
        let trust = settles.trust_of(process, at_ns);
        if let Trust::Quiet(0, since_ns) = trust {
            settles.trust.put(process, Trust::Quiet(0, since_ns), at_ns);
        }
        let can_be_told = match trust {
            Trust::Full => true,
            Trust::Quiet(_, since_ns) => at_ns.saturating_sub(since_ns) <= UNSURE_MAX_NS,
            Trust::Never => false,
        };
        let message =
            message.filter(|_| can_be_told && since.is_none_or(|since| since.is_ack));
        if let Some((consumer, came_ns)) = message {
            let from_ns = since.map_or(came_ns, |since| since.settled_ns.max(came_ns));
            for call in settles.waiting.of_process(process) {
                if call.hand == hand && call.consumer.is_none() && call.began_ns > from_ns {
                    call.consumer = Some(consumer);
                }
            }
        }
        settles
            .waiting
            .take(process, |call| call.hand == hand && call.consumer.is_none());
        if trust == Trust::Full {
            self.are_for_messages(process);
        }
        if since.is_some_and(|since| since.is_quiet(at_ns)) {
            self.was_quiet(process, at_ns);
        }
    }

    fn was_quiet(&mut self, process: ProcessKey, now_ns: u64) {
        if self.work.settles.is_quiet(process, now_ns) {
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

    /// Looks which threads have been quiet since they settled.
    fn look_at_quiet(&mut self) {
        let now_ns = self.now_ns;
        let until_ns = now_ns.saturating_sub(QUIET_NS + self.config.linger_ns);
        while let Some(&(settled_ns, thread)) = self.work.settles.quiet.front() {
            if settled_ns > until_ns {
                return;
            }
            self.work.settles.quiet.pop_front();
            // (One that settled again was looked at then.)
            if let Some(since) = self.work.settles.threads.get_mut(&thread)
                && since.settled_ns == settled_ns
                && since.is_quiet(now_ns)
            {
                since.is_noted = true;
                self.was_quiet(thread.process, now_ns);
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
        self.look_at_quiet();
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

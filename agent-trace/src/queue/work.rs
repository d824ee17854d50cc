//! Work on messages: consumers' exchanges from delivery to their end.
//!
//! In: deliveries; fetches, acks, results, claims; processes that end. Out: exchanges that are over. Always holds: a consumer's parent is
//! whoever put its message; each attempt of a job knows the one before; bounded. Refuses: to guess an end: work whose end nobody says is
//! unfinished after an hour.
//!
//! ```text
//!   delivered --> open --settled, done, its unit asks for the next, next delivery without acks--> over
//!                  |--claimed by another process: that one works for it
//!                  '--its process ends: failed        an hour: unfinished
//! ```

use std::collections::VecDeque;

use agent_common::abi::{ProcessKey, SocketKey};
use agent_protocol::queue::{Key, KeyKind, Settle, System};
use agent_protocol::tracecontext::TraceContext;
use rustc_hash::FxHashMap;

use super::again::Attempt;
use super::batches::Batches;
use super::candidates::Candidates;
use super::held::Held;
use super::logs::Logs;
use super::outcome_of;
use super::parcel::Parcel;
use super::posts::{Found, Posts};
use super::readers::Reader;
use super::settles::{self, Settles};
use super::units::{At, UnitKey};
use crate::aged::{Aged, FOR_EVER};
use crate::counters::Counter;
use crate::exchange::{Exchange, Outcome};
use crate::graph::Origin;
use crate::semconv;
use crate::shared::Shared;
use crate::span::{Evidence, SpanId};

/// Most jobs whose latest attempt is remembered.
const ATTEMPTS_MAX: usize = 65_536;
/// Most threads that are remembered.
const UNITS_MAX: usize = 16_384;
/// How long a call to a queue's server can be passed on, ns: as long as one waits, and some.
const AT_SERVERS_NS: u64 = 60_000_000_000;
/// Age at which work is given up, ns.
const STALE_NS: u64 = 3_600_000_000_000;

/// A consumer at work.
pub(super) struct Open {
    pub(super) exchange: Box<Exchange>,
    keys: Vec<Key>,
    pub(super) unit: Option<UnitKey>,
    /// The thread that read it, whether or not it is sure that it works for it.
    pub(super) reader: Option<UnitKey>,
    pub(super) socket: SocketKey,
    /// Its consumer says by its number what became of it.
    pub(super) is_numbered: bool,
    /// The unit is not the one it was delivered to, but one that said that it works for it.
    is_claimed: bool,
    /// Whose call brought it.
    pub(super) read_by: UnitKey,
    /// Its process had it before, and may be at work on that one.
    pub(super) is_doubtful: bool,
}

/// Who is given a message.
#[derive(Clone, Copy)]
pub(crate) struct Taker {
    /// The unit that works for it, where that is sure.
    pub(super) unit: Option<UnitKey>,
    /// The thread that read it.
    pub(super) reader: Option<UnitKey>,
    /// Whose call brought it.
    pub(super) read_by: UnitKey,
    /// Where it came.
    pub(super) socket: SocketKey,
    /// Its consumer says by its number what became of it.
    pub(super) is_numbered: bool,
}

/// See the module.
pub(crate) struct Work {
    pub(crate) posts: Posts,
    limit: usize,
    pub(super) open: FxHashMap<SpanId, Open>,
    /// In the order in which they were taken up.
    by_age: VecDeque<(u64, SpanId)>,
    pub(super) by_key: FxHashMap<Key, SpanId>,
    pub(super) units: FxHashMap<UnitKey, At>,
    pub(super) held: Held,
    /// Of each connection, what came there and is not over.
    by_socket: FxHashMap<SocketKey, Vec<SpanId>>,
    /// The latest attempt of each job.
    pub(super) attempts: Aged<Key, Attempt>,
    /// The latest delivery of each message that is no job's, by who put it and where to: the broker may deliver it once more.
    pub(super) deliveries: Aged<(SpanId, u64), (SpanId, u32)>,
    /// Goroutines that read from brokers, by the context of their latest read.
    pub(super) readers: Aged<SpanId, Reader>,
    pub(super) candidates: Candidates,
    pub(super) batches: Batches,
    pub(super) logs: Logs,
    pub(super) settles: Settles,
    /// The one delivery that was refused of a message, by who put it; none where there were several.
    pub(super) refused: Aged<SpanId, Option<SpanId>>,
    /// Processes that commit offsets.
    pub(super) committers: Aged<ProcessKey, ()>,
    /// Server exchanges that are calls to a queue's server: what their processes call then may be the same once more.
    pub(crate) at_servers: Aged<SpanId, ()>,
}

impl Work {
    pub(crate) fn new(posts: usize, limit: usize, has_settles: bool) -> Self {
        Self {
            posts: Posts::new(posts),
            limit,
            open: FxHashMap::default(),
            by_age: VecDeque::new(),
            by_key: FxHashMap::default(),
            units: FxHashMap::default(),
            held: Held::default(),
            by_socket: FxHashMap::default(),
            attempts: Aged::new(ATTEMPTS_MAX, FOR_EVER),
            deliveries: Aged::new(ATTEMPTS_MAX, FOR_EVER),
            readers: Aged::new(UNITS_MAX, FOR_EVER),
            candidates: Candidates::default(),
            batches: Batches::default(),
            logs: Logs::default(),
            settles: Settles::new(has_settles),
            refused: Aged::new(ATTEMPTS_MAX, FOR_EVER),
            committers: Aged::new(UNITS_MAX, FOR_EVER),
            at_servers: Aged::new(UNITS_MAX, AT_SERVERS_NS),
        }
    }

    pub(super) fn set_unit(&mut self, unit: UnitKey, at: At) {
        if self.units.len() >= UNITS_MAX && !self.units.contains_key(&unit) {
            // Threads of processes whose end was not told.
            self.units.clear();
        }
        self.units.insert(unit, at);
    }

    /// One that lasts must not keep the places of all that were over long before it.
    fn note_age(&mut self, at_ns: u64, consumer: SpanId) {
        if self.by_age.len() >= 2 * self.limit {
            let open = &self.open;
            self.by_age
                .retain(|(_, consumer)| open.contains_key(consumer));
        }
        self.by_age.push_back((at_ns, consumer));
    }

    fn close(&mut self, consumer: SpanId) -> Option<Open> {
        let open = self.open.remove(&consumer)?;
        self.held.release(open.reader, open.is_numbered);
        if let Some(by) = settles::by(&open) {
            self.settles.waiting.is_over(open.exchange.process, by);
        }
        if let Some(others) = self.by_socket.get_mut(&open.socket) {
            others.retain(|other| *other != consumer);
            if others.is_empty() {
                self.by_socket.remove(&open.socket);
            }
        }
        for key in &open.keys {
            if self.by_key.get(key) == Some(&consumer) {
                self.by_key.remove(key);
            }
        }
        Some(open)
    }

    /// Work of which this holds, in the order of its ids.
    pub(super) fn open_where(&self, which: impl Fn(&Open) -> bool) -> Vec<SpanId> {
        let fits = self.open.iter().filter(|(_, open)| which(open));
        in_order(fits.map(|(span, _)| *span))
    }

    /// The same of one connection.
    pub(super) fn open_at(&self, socket: SocketKey, which: impl Fn(&Open) -> bool) -> Vec<SpanId> {
        let there = self.by_socket.get(&socket).into_iter().flatten();
        let fits = there.filter(|consumer| self.open.get(consumer).is_some_and(&which));
        in_order(fits.copied())
    }
}

/// In the order of the ids, so that the same records give the same spans.
fn in_order(found: impl Iterator<Item = SpanId>) -> Vec<SpanId> {
    let mut found: Vec<SpanId> = found.collect();
    found.sort_unstable();
    found
}

/// Whether a message ends when the next one is asked for or comes; `system` of its job, if it is one.
pub(super) fn ends_with_the_next(system: Option<System>, delivery: u64) -> bool {
    delivery == 0 && works_in_turn(system)
}

/// Whether a worker of this library asks for its next message only when it is done with the one before.
pub(super) fn works_in_turn(system: Option<System>) -> bool {
    match system {
        None | Some(System::Sidekiq | System::Huey | System::Rq) => true,
        // (Several of procrastinate's jobs run on one event loop.)
        Some(
            System::Celery
            | System::Dramatiq
            | System::BullMq
            | System::Asynq
            | System::Procrastinate,
        ) => false,
    }
}

pub(super) fn system_of(open: &Open) -> Option<System> {
    let parcel = open.exchange.message.as_deref()?;
    parcel.job.as_ref().map(|job| job.system)
}

impl Shared {
    /// A message was delivered: returns its consumer, which is at work from now on, and whether that is followed and new.
    pub(crate) fn takes_up(
        &mut self,
        mut exchange: Box<Exchange>,
        keys: &[Key],
        header: Option<TraceContext>,
        taker: Taker,
    ) -> (SpanId, bool) {
        let Taker { unit, socket, .. } = taker;
        let (consumer, at_ns) = (exchange.ids.span, exchange.start_ktime_ns);
        if let Some(known) = self.fetched(&mut exchange, unit, socket) {
            return (known, false);
        }
        self.serves(exchange.process, at_ns);
        let is_again = exchange.message.as_deref().is_some_and(Parcel::is_again);
        match self.work.posts.take(keys, consumer, at_ns, is_again) {
            Found::By(producer, put_ns, job) => {
                self.is_message(producer, &exchange);
                self.delivered_again(producer, &mut exchange, is_again);
                exchange.ids.origin = Origin::Kernel(producer, Evidence::Message);
                if let Some(parcel) = &mut exchange.message {
                    parcel.queue_ns = Some(at_ns.saturating_sub(put_ns));
                    if let (Some(known), Some(name)) = (&mut parcel.job, job)
                        && known.name.is_empty()
                    {
                        known.name = name.into();
                    }
                }
            }
            Found::Ambiguous => {
                self.counters.one(Counter::MessageAmbiguous);
                // Whose it is is not known, but that messages are put there is.
                self.is_from_queue(&exchange);
            }
            Found::Unknown => self.counters.one(Counter::MessageUnknown),
        }
        let job = keys.iter().find(|key| key.is_of_a_job()).copied();
        let before = job.and_then(|job| self.work.by_key.get(&job));
        let is_doubtful = before
            .and_then(|before| self.work.open.get(before))
            .is_some_and(|before| before.exchange.process == exchange.process);
        if let Some(job) = job {
            self.is_attempt(job, &mut exchange, is_again);
            // One that was given to somebody else meanwhile.
            self.put_again(&[job], at_ns);
        }
        self.confirm(&mut exchange, header);
        if self.work.open.len() >= self.work.limit {
            self.counters.one(Counter::WorkFull);
            self.complete(exchange, Outcome::Unfinished, at_ns, at_ns);
            return (consumer, false);
        }
        for key in keys.iter().filter(|key| key.kind != KeyKind::Payload) {
            self.work.by_key.insert(*key, consumer);
        }
        if let Some(unit) = unit {
            self.work.set_unit(unit, At::Working(consumer));
        }
        self.work.note_age(at_ns, consumer);
        self.work.held.hold(taker.reader, taker.is_numbered);
        self.work
            .by_socket
            .entry(socket)
            .or_default()
            .push(consumer);
        let open = Open {
            exchange,
            keys: keys.to_vec(),
            unit,
            reader: taker.reader,
            socket,
            is_numbered: taker.is_numbered,
            is_claimed: false,
            read_by: taker.read_by,
            is_doubtful,
        };
        if let Some(by) = settles::by(&open) {
            let process = open.exchange.process;
            self.work.settles.waiting.takes_up(process, by);
        }
        self.work.open.insert(consumer, open);
        (consumer, true)
    }

    /// A job is put again: the attempt that runs is over, and it did not succeed.
    pub(crate) fn put_again(&mut self, keys: &[Key], at_ns: u64) {
        for job in keys.iter().filter(|key| key.is_of_a_job()) {
            let Some(consumer) = self.work.by_key.get(job).copied() else {
                continue;
            };
            // Not by the put it was made by, which can be recorded after its delivery.
            let has_begun = self
                .work
                .open
                .get(&consumer)
                .is_some_and(|open| open.exchange.start_ktime_ns < at_ns);
            if has_begun {
                self.end_work(consumer, Outcome::Failed(semconv::ERROR_RETRIED), at_ns);
            }
        }
    }

    /// What became of a delivery.
    pub(crate) fn settled(&mut self, consumer: SpanId, how: Settle, at_ns: u64) {
        let Some(open) = self.work.open.get(&consumer) else {
            return;
        };
        let (unit, reader) = (open.unit, open.unit.or(open.reader));
        // Celery acks before it works, unless it is told otherwise; its result is the end. (With a countdown it acks after a child has
        // taken the job: seen with 5.7.)
        if system_of(open) == Some(System::Celery) && how == Settle::Ack {
            if let Some(unit) = unit.filter(|_| !open.is_claimed) {
                self.work.units.remove(&unit);
            }
            return;
        }
        if how == Settle::Reject
            && let Origin::Kernel(producer, Evidence::Message) = open.exchange.ids.origin
        {
            let is_only = !self.work.refused.has(&producer);
            let only = Some(consumer).filter(|_| is_only);
            self.work.refused.put(producer, only, at_ns);
        }
        self.end_work(consumer, outcome_of(how), at_ns);
        let Some(unit) = reader else { return };
        match self.work.units.get(&unit) {
            Some(At::Working(at)) if *at == consumer => {
                self.work.set_unit(unit, At::Settled(consumer));
            }
            // The last one of all that it took.
            Some(At::Mixed) if !self.work.held.has_any(unit) => {
                self.work.set_unit(unit, At::Settled(consumer));
            }
            _ => {}
        }
    }

    /// The same, by one of the message's keys.
    pub(crate) fn settled_key(&mut self, key: Key, how: Settle, at_ns: u64) {
        if let Some(consumer) = self.work.by_key.get(&key).copied() {
            self.settled(consumer, how, at_ns);
        }
    }

    /// A process works for a job from now on: returns the consumer. Until then it waited, as in the queue, in the process that took it.
    pub(crate) fn claimed(
        &mut self,
        job: Key,
        process: ProcessKey,
        unit: Option<UnitKey>,
        at_ns: u64,
    ) -> Option<SpanId> {
        let consumer = self.work.by_key.get(&job).copied()?;
        self.serves(process, at_ns);
        let open = self.work.open.get_mut(&consumer)?;
        let exchange = &mut open.exchange;
        let waited_ns = at_ns.saturating_sub(exchange.start_ktime_ns);
        if !open.is_claimed && waited_ns > 0 {
            exchange.start_ktime_ns = at_ns;
            if let Some(parcel) = &mut exchange.message {
                parcel.queue_ns = parcel.queue_ns.map(|queue_ns| queue_ns + waited_ns);
            }
        }
        if let Some(before) = open.unit.take()
            && unit != Some(before)
            && self.work.units.get(&before) == Some(&At::Working(consumer))
        {
            self.work.units.remove(&before);
        }
        open.exchange.process = process;
        open.unit = unit;
        open.is_claimed = true;
        let (reader, is_numbered) = (open.reader.take(), open.is_numbered);
        self.work.held.release(reader, is_numbered);
        if let Some(unit) = unit {
            self.work.set_unit(unit, At::Working(consumer));
        }
        Some(consumer)
    }

    /// A job ended.
    pub(crate) fn done_with(&mut self, job: Key, failed: bool, at_ns: u64) {
        let Some(consumer) = self.work.by_key.get(&job).copied() else {
            return;
        };
        let outcome = if failed {
            Outcome::Failed(semconv::ERROR_JOB)
        } else {
            Outcome::Complete
        };
        let open = self.work.open.get(&consumer);
        let (unit, system) = (open.and_then(|open| open.unit), open.and_then(system_of));
        self.end_work(consumer, outcome, at_ns);
        // huey puts a retry after it wrote what the attempt failed with; its thread is free when it fetches.
        if system == Some(System::Huey) {
            return;
        }
        self.graph.contexts().end(consumer, at_ns);
        if let Some(unit) = unit
            && self.work.units.get(&unit) == Some(&At::Working(consumer))
        {
            self.work.units.remove(&unit);
        }
    }

    /// A process ended.
    pub(crate) fn worker_exited(&mut self, process: ProcessKey, at_ns: u64) {
        self.work.units.retain(|unit, _| unit.process != process);
        self.work.settles.exits(process);
        let gone = self
            .work
            .open_where(|open| open.exchange.process == process);
        for consumer in gone {
            self.end_work(
                consumer,
                Outcome::Failed(semconv::ERROR_PROCESS_EXIT),
                at_ns,
            );
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep_work(&mut self, now_ns: u64) {
        self.work.posts.sweep(now_ns);
        self.work.at_servers.sweep(now_ns);
        self.work.batches.sweep(now_ns);
        while let Some(&(at, consumer)) = self.work.by_age.front() {
            if self.work.open.contains_key(&consumer) {
                if at.saturating_add(STALE_NS) > now_ns {
                    break;
                }
                self.counters.one(Counter::ExchangeStale);
                self.end_work(consumer, Outcome::Unfinished, now_ns);
            }
            self.work.by_age.pop_front();
        }
    }

    /// The tracer stops.
    pub(crate) fn abandon_work(&mut self, at_ns: u64) -> u64 {
        let open = self.work.open_where(|_| true);
        let count = open.len() as u64;
        for consumer in open {
            self.end_work(consumer, Outcome::Unfinished, at_ns);
        }
        count
    }

    pub(super) fn end_work(&mut self, consumer: SpanId, outcome: Outcome, at_ns: u64) {
        if let Some(open) = self.work.close(consumer) {
            if outcome == Outcome::Complete {
                self.has_succeeded(&open.keys, consumer);
            }
            self.complete(open.exchange, outcome, at_ns, at_ns);
        }
    }
}

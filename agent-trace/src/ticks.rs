//! Ticks: commands that a scheduler began, as spans that are the parents of what they call.
//!
//! In: which processes belong to a tick, what they become, how they end; processes that serve. Out: an exchange for each tick, which is over
//! when its processes are; the tick of a process at a time, for calls that have no other parent. Always holds: a process that serves others,
//! or works off a queue, belongs to no tick from then on; what a tick leaves behind belongs to it for a minute; bounded. Refuses: calls later than
//! [`TICK_CLAIM_MAX_NS`] after the tick's begin.
//!
//! ```text
//!   begun by systemd --its process is described--> begun, if a timer began its unit; else it never was a tick
//!   begun --first process ends, others are left--> left behind --they end, or a minute later--> over
//!     |--first process ends, nobody is left: over
//!     |--first process serves: over, and nobody belongs to it any more
//!     '--nothing for a day, the agent stops: unfinished
//! ```

mod command;

use std::collections::VecDeque;

use agent_common::abi::{ProcessKey, TickRecord, bytes_of, tick};
use agent_common::limits::{TICK_CLAIM_MAX_NS, TICK_LEFT_BEHIND_NS};
use rustc_hash::FxHashMap;

pub(crate) use self::command::Ticked;
use self::command::{Program, is_scheduler, is_shell};
use crate::aged::Aged;
use crate::counters::Counter;
use crate::exchange::{Entry, Exchange, Ids, Outcome};
use crate::frame::{ProcessFacts, ResourceValue};
use crate::graph::{Origin, Side};
use crate::semconv;
use crate::shared::Shared;
use crate::span::{SpanId, TraceId};
use crate::tracer::{Command, text};

/// Most ticks that are followed at once.
const TICKS_MAX: usize = 4_096;
/// Most processes remembered, those that ended included.
const MEMBERS_MAX: usize = 32_768;
/// How long a process is remembered, ns: what it called may be told later.
const MEMBER_KEEP_NS: u64 = TICK_CLAIM_MAX_NS + 2 * TICK_LEFT_BEHIND_NS;
/// Age at which the end of a tick is not waited for any more, ns.
const STALE_NS: u64 = 86_400_000_000_000;

/// Name of the scheduler that begins more than ticks.
const SYSTEMD: &str = "systemd";

/// A text attribute of a process' Resource.
fn attribute<'a>(facts: &'a ProcessFacts, key: &str) -> Option<&'a str> {
    let found = facts.attributes.iter().find(|(name, _)| name == key);
    match found {
        Some((_, ResourceValue::Str(text))) => Some(text),
        _ => None,
    }
}

/// A process that belongs to a tick, or did.
#[derive(Clone, Copy, Debug)]
struct Member {
    tick: SpanId,
    since_ns: u64,
    until_ns: u64,
}

/// A tick that is not over.
struct Open {
    /// Its process is the first one, until it is over.
    exchange: Box<Exchange>,
    /// Processes that live and belong to it, by tgid.
    alive: FxHashMap<u32, ProcessKey>,
    /// When its first process ended.
    ended_ns: Option<u64>,
    /// Whether it is a tick at all is not known yet: it is in no table.
    is_pending: bool,
}

impl Open {
    fn is_described(&mut self, facts: &ProcessFacts, process: ProcessKey) {
        let is_first = self.exchange.process == process;
        let Some(ticked) = &mut self.exchange.ticked else {
            return;
        };
        let program = match &mut ticked.other {
            _ if is_first => Some(&mut ticked.first),
            Some((other, program)) if *other == process => Some(program),
            _ => None,
        };
        if let Some(program) = program {
            program.service = Some(facts.service_name.clone());
        }
    }

    fn is_of_systemd(&self) -> bool {
        let ticked = self.exchange.ticked.as_deref();
        ticked.is_some_and(|ticked| ticked.scheduler == SYSTEMD)
    }
}

/// See the module.
pub(crate) struct Ticks {
    open: FxHashMap<SpanId, Open>,
    members: Aged<ProcessKey, Member>,
    /// Ticks whose first process has ended, in the order in which they did.
    left_behind: VecDeque<(u64, SpanId)>,
    /// Ticks in the order in which they began.
    by_age: VecDeque<(u64, SpanId)>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self {
            open: FxHashMap::default(),
            members: Aged::new(MEMBERS_MAX, MEMBER_KEEP_NS),
            left_behind: VecDeque::new(),
            by_age: VecDeque::new(),
        }
    }
}

impl Ticks {
    /// The tick to which a process belonged at a time.
    pub(crate) fn of(&self, process: ProcessKey, at_ns: u64) -> Option<SpanId> {
        let member = self.members.get(&process)?;
        let last_ns = member
            .until_ns
            .min(member.since_ns.saturating_add(TICK_CLAIM_MAX_NS));
        (at_ns >= member.since_ns && at_ns < last_ns).then_some(member.tick)
    }

    /// The tick to which a process belongs now.
    fn now(&self, process: ProcessKey) -> Option<SpanId> {
        let member = self.members.get(&process)?;
        (member.until_ns == u64::MAX).then_some(member.tick)
    }

    /// The tick to which a process belongs, or did before it ended.
    fn of_any(&self, process: ProcessKey) -> Option<SpanId> {
        self.members.get(&process).map(|member| member.tick)
    }

    fn join(&mut self, process: ProcessKey, tick: SpanId, since_ns: u64, at_ns: u64) {
        let member = Member {
            tick,
            since_ns,
            until_ns: u64::MAX,
        };
        self.members.put(process, member, at_ns);
        if let Some(open) = self.open.get_mut(&tick) {
            open.alive.insert(process.tgid, process);
        }
    }

    /// The process belongs to its tick no longer.
    fn part(&mut self, process: ProcessKey, at_ns: u64) {
        let Some(member) = self.members.get_mut(&process) else {
            return;
        };
        member.until_ns = member.until_ns.min(at_ns);
        if let Some(open) = self.open.get_mut(&member.tick) {
            open.alive.remove(&process.tgid);
        }
    }

    /// The next tick of which what is left behind has had its time.
    fn due(&mut self, now_ns: u64) -> Option<SpanId> {
        match self.left_behind.front() {
            Some(&(at, tick)) if at.saturating_add(TICK_LEFT_BEHIND_NS) <= now_ns => {
                self.left_behind.pop_front();
                Some(tick)
            }
            _ => None,
        }
    }

    fn stale(&mut self, now_ns: u64) -> Option<SpanId> {
        while let Some(&(at, tick)) = self.by_age.front() {
            let is_open = self.open.contains_key(&tick);
            if is_open && at.saturating_add(STALE_NS) > now_ns {
                return None;
            }
            self.by_age.pop_front();
            if is_open {
                return Some(tick);
            }
        }
        None
    }
}

impl Shared {
    /// What the kernel side says of a tick.
    pub(crate) fn on_tick_record(&mut self, record: &TickRecord) {
        let at_ns = record.head.ktime_ns;
        match record.what {
            tick::BEGUN => self.tick_begins(record, at_ns),
            tick::JOINED => self.tick_grows(record, at_ns),
            _ => self.counters.one(Counter::RecordUnknownKind),
        }
    }

    fn tick_begins(&mut self, record: &TickRecord, at_ns: u64) {
        let span = SpanId(record.span_id.to_ne_bytes());
        if span == SpanId::default() || self.ticks.open.len() >= TICKS_MAX {
            self.counters.one(Counter::TicksFull);
            return;
        }
        let ids = Ids {
            span,
            trace: TraceId(bytes_of(record.trace_id)),
            origin: Origin::None,
        };
        let begun = Exchange::begun(
            ids,
            Side::Server,
            record.process,
            at_ns,
            self.epoch_offset_ns,
        );
        let ticked = Ticked {
            scheduler: text(&record.scheduler),
            first: Program::of(&record.comm),
            ..Ticked::default()
        };
        let mut exchange = self.place(Exchange {
            ticked: Some(Box::new(ticked)),
            ..begun
        });
        let is_pending = text(&record.scheduler) == SYSTEMD;
        if !is_pending {
            self.confirm(&mut exchange, None);
        }
        if exchange.entry == Entry::Refused {
            return;
        }
        let describe = Command::DescribeTick(record.process, text(&record.comm));
        self.commands.push_back(describe);
        self.ticks.by_age.push_back((at_ns, span));
        let open = Open {
            exchange,
            alive: FxHashMap::default(),
            ended_ns: None,
            is_pending,
        };
        self.ticks.open.insert(span, open);
        self.ticks.join(record.process, span, at_ns, at_ns);
    }

    /// What a process is was found out: if it is one that systemd began, whether a timer did.
    pub(crate) fn is_described(&mut self, facts: &ProcessFacts, process: ProcessKey) {
        let Some(tick) = self.ticks.of_any(process) else {
            return;
        };
        let Some(open) = self.ticks.open.get_mut(&tick) else {
            return;
        };
        open.is_described(facts, process);
        if !open.is_pending || open.exchange.process != process {
            return;
        }
        let is_timer = attribute(facts, semconv::SUTURE_SYSTEMD_TRIGGER)
            .is_some_and(|trigger| trigger.ends_with(".timer"));
        if !is_timer {
            self.leave_all(tick, 0);
            self.ticks.open.remove(&tick);
            return;
        }
        let Some(mut open) = self.ticks.open.remove(&tick) else {
            return;
        };
        open.is_pending = false;
        if let Some(ticked) = &mut open.exchange.ticked {
            ticked.unit = attribute(facts, semconv::SUTURE_SYSTEMD_UNIT).map(str::to_owned);
        }
        self.confirm(&mut open.exchange, None);
        self.commands.push_back(Command::CountTick(tick));
        self.ticks.open.insert(tick, open);
    }

    fn tick_grows(&mut self, record: &TickRecord, at_ns: u64) {
        let span = SpanId(record.span_id.to_ne_bytes());
        let since_ns = match self.ticks.open.get(&span) {
            Some(open) if open.alive.contains_key(&record.by) => open.exchange.start_ktime_ns,
            _ => {
                // Of a process that has left.
                self.commands.push_back(Command::LeaveTick(record.process));
                return;
            }
        };
        self.ticks.join(record.process, span, since_ns, at_ns);
    }

    /// The process is another program now.
    pub(crate) fn tick_execs(&mut self, process: ProcessKey, comm: &[u8], at_ns: u64) {
        let Some(tick) = self.ticks.now(process) else {
            return;
        };
        let Some(open) = self.ticks.open.get_mut(&tick) else {
            return;
        };
        let program = Program::of(comm);
        if is_scheduler(&program.comm) {
            self.serves(process, at_ns);
            return;
        }
        let is_first = open.exchange.process == process;
        let Some(ticked) = &mut open.exchange.ticked else {
            return;
        };
        if is_first {
            ticked.first = program;
        } else if ticked.other.is_none() && !is_shell(&program.comm) {
            let describe = Command::DescribeTick(process, program.comm.clone());
            self.commands.push_back(describe);
            ticked.other = Some((process, program));
        }
    }

    /// The process serves others from now on, or works off a queue: what it calls is for them.
    pub(crate) fn serves(&mut self, process: ProcessKey, at_ns: u64) {
        let Some(tick) = self.ticks.now(process) else {
            return;
        };
        self.ticks.part(process, at_ns);
        self.commands.push_back(Command::LeaveTick(process));
        let is_first = |open: &Open| open.exchange.process == process && open.ended_ns.is_none();
        if self.ticks.open.get(&tick).is_some_and(is_first) {
            // A daemon, and all that it began.
            self.leave_all(tick, at_ns);
        }
        self.end_if_alone(tick, at_ns);
    }

    /// The process ended with this status.
    pub(crate) fn tick_exits(&mut self, process: ProcessKey, status: u32, at_ns: u64) {
        let Some(tick) = self.ticks.now(process) else {
            return;
        };
        // What it called may be told only now: it belonged to the tick to its end.
        self.ticks.part(process, at_ns.saturating_add(1));
        let Some(open) = self.ticks.open.get_mut(&tick) else {
            return;
        };
        if open.exchange.process == process {
            open.ended_ns = Some(at_ns);
            if let Some(ticked) = &mut open.exchange.ticked {
                ticked.status = Some(status);
            }
            if !open.alive.is_empty() {
                self.ticks.left_behind.push_back((at_ns, tick));
            }
        }
        self.end_if_alone(tick, at_ns);
    }

    /// Ends ticks of which what is left behind has had its time.
    pub(crate) fn end_ticks(&mut self) {
        while let Some(tick) = self.ticks.due(self.now_ns) {
            let Some(open) = self.ticks.open.get(&tick) else {
                continue;
            };
            let end_ns = open.ended_ns.unwrap_or(self.now_ns);
            self.leave_all(tick, self.now_ns);
            self.end_tick(tick, None, end_ns);
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep_ticks(&mut self, now_ns: u64) {
        self.ticks.members.sweep(now_ns);
        while let Some(tick) = self.ticks.stale(now_ns) {
            self.counters.one(Counter::ExchangeStale);
            self.leave_all(tick, now_ns);
            self.end_tick(tick, Some(Outcome::Unfinished), now_ns);
        }
    }

    /// The tracer stops.
    pub(crate) fn abandon_ticks(&mut self, at_ns: u64) -> u64 {
        let mut open: Vec<SpanId> = self.ticks.open.keys().copied().collect();
        open.sort_unstable();
        let mut unfinished = 0;
        for tick in open {
            let ended_ns = self.ticks.open.get(&tick).and_then(|open| open.ended_ns);
            match ended_ns {
                Some(ended_ns) => self.end_tick(tick, None, ended_ns),
                None => {
                    unfinished += 1;
                    self.end_tick(tick, Some(Outcome::Unfinished), at_ns);
                }
            }
        }
        unfinished
    }

    /// Nobody belongs to the tick from now on.
    fn leave_all(&mut self, tick: SpanId, at_ns: u64) {
        let Some(open) = self.ticks.open.get(&tick) else {
            return;
        };
        let mut alive: Vec<ProcessKey> = open.alive.values().copied().collect();
        alive.sort_unstable();
        for process in alive {
            self.ticks.part(process, at_ns);
            self.commands.push_back(Command::LeaveTick(process));
        }
    }

    fn end_if_alone(&mut self, tick: SpanId, at_ns: u64) {
        let is_alone = |open: &Open| open.alive.is_empty();
        if self.ticks.open.get(&tick).is_some_and(is_alone) {
            self.end_tick(tick, None, at_ns);
        }
    }

    /// The tick is over; its outcome is its first process' where `outcome` says nothing.
    fn end_tick(&mut self, tick: SpanId, outcome: Option<Outcome>, at_ns: u64) {
        let Some(mut open) = self.ticks.open.remove(&tick) else {
            return;
        };
        if open.is_pending {
            // Gone before it could be looked at.
            return;
        }
        if open.is_of_systemd() {
            self.commands.push_back(Command::EndTick(tick));
        }
        let ended = open.exchange.ticked.as_deref().map(Ticked::outcome);
        let outcome = outcome.or(ended).unwrap_or(Outcome::Complete);
        let command = open.exchange.ticked.as_deref();
        if let Some(process) = command.and_then(|ticked| ticked.command().0) {
            open.exchange.process = process;
        }
        // In the order of what was found out: a minute may have passed since its end.
        let found_ns = self.now_ns.max(at_ns);
        self.complete(open.exchange, outcome, at_ns, found_ns);
    }
}

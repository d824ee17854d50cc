//! Who is whose parent: the table of exchanges that can be parents, and the rules of DESIGN §5 and §10.
//!
//! In: what is known of an exchange from its bytes and from the kernel ([`Facts`]). Out: a [`Decision`] per exchange,
//! made once and never changed, so that a child and its parent always agree on the trace. Always holds: a decided
//! parent has evidence; ids the kernel made for an exchange that its bytes do not show are in no table, so nobody's
//! parent; chains are followed at most [`CHAIN_MAX`] steps. Refuses: edges to exchanges that are not known (counted, a root).

mod contexts;
mod learned;
mod table;

use agent_common::{
    abi::{ProcessKey, words_of},
    carried::tag_of,
};
use agent_protocol::tracecontext::TraceContext;

use self::contexts::Contexts;
pub(crate) use self::contexts::Whose;
pub(crate) use self::table::Slot;
use self::table::{Insertion, Node, Table};
use crate::aged::Aged;
use crate::ahead;
use crate::config::Sampler;

use crate::counters::{Counter, Counters};
use crate::ids::derived_trace;
use crate::span::{Evidence, SpanId, TraceId};

/// Most undecided ancestors looked at for one decision.
const CHAIN_MAX: usize = 64;
/// How long a closed exchange can still be named as a parent, ns.
const CLOSED_KEEP_NS: u64 = 60_000_000_000;
/// How long an alias of a trace id is kept, ns.
const ALIAS_KEEP_NS: u64 = 300_000_000_000;
/// Most aliases; the oldest goes first.
const ALIASES_MAX: usize = 16_384;
/// Most pipelined requests waiting for their server side.
const JOINS_MAX: usize = 16_384;
/// Most server exchanges whose calls are doubted; the oldest goes first.
const DOUBTS_MAX: usize = 16_384;

/// Most exchanges about messages whose trace is remembered (about 5 MiB).
const POSTED_MAX: usize = 65_536;
/// How long that is, ns: a job that waits for longer than a day is a root.
const POSTED_KEEP_NS: u64 = 86_400_000_000_000;

/// Which side of a request an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// Reads the request.
    Server,
    /// Writes the request.
    Client,
}

/// A request's place on the wire, the same for both ends of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WirePlace {
    /// The client's address, IPv4-mapped.
    pub(crate) client_addr: [u8; 16],
    /// The client's port.
    pub(crate) client_port: u16,
    /// The server's port.
    pub(crate) server_port: u16,
    /// Sequence number of the request's first byte.
    pub(crate) seq: u32,
}

/// Where an exchange may come from, header aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing is known.
    None,
    /// The kernel side named the parent.
    Kernel(SpanId, Evidence),
    /// A TCP option named the parent, and what its host knew besides.
    Carried {
        parent: SpanId,
        sampled: bool,
        /// `carried::tag_of` the header that the parent's process had received; 0: none.
        tag: u8,
    },
    /// A server exchange the kernel side knew no client for: perhaps a pipelined request of this host.
    Wire(WirePlace),
}

/// Whether an option says that its host only passed on the header that stands in the request, too (see [`Graph::forwards`]).
fn passed_on(facts: &Facts, header: &TraceContext) -> bool {
    let Origin::Carried { tag, .. } = facts.origin else {
        return false;
    };
    let parent = u64::from_ne_bytes(header.parent_id);
    facts.kernel_trace == TraceId(header.trace_id)
        && tag == tag_of(words_of(header.trace_id), parent)
}

/// What is known of an exchange when its request head was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) side: Side,
    pub(crate) process: ProcessKey,
    /// The kernel's trace id; zero when the kernel made none.
    pub(crate) kernel_trace: TraceId,
    pub(crate) origin: Origin,
    /// A valid `traceparent` in the request.
    pub(crate) header: Option<TraceContext>,
    /// Its span is left out, its children go to its parent.
    pub(crate) ignored: bool,
    /// On its connection another request came before its response was over, or the other way round.
    pub(crate) overlaps: bool,
    /// It is about a message: others may name it long after it is over.
    pub(crate) is_of_a_queue: bool,
    /// The tick its process belonged to: the parent of a call that has no other one.
    pub(crate) tick: Option<SpanId>,
}

/// Trace and parent of an exchange, final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) trace: TraceId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) evidence: Evidence,
    /// The parent is in another process.
    pub(crate) remote: bool,
    pub(crate) sampled: bool,
}

/// The exchange table.
pub(crate) struct Graph {
    sampler: Sampler,
    table: Table,
    /// Kernel trace id -> trace id in use, for exchanges whose parent's record was lost. The first alias of a trace id wins.
    aliases: Aged<TraceId, TraceId>,
    /// Pipelined requests by their place on the wire.
    joins: Aged<WirePlace, SpanId>,
    /// Server exchanges to which event-loop turns may have given calls of others.
    doubted: Aged<SpanId, ()>,
    /// Trace and sampling of exchanges about messages, which others may name long after the table forgot them.
    posted: Aged<SpanId, (TraceId, bool)>,
    chain: Vec<Slot>,
    contexts: Contexts,
}

impl Graph {
    pub(crate) fn new(sampler: Sampler, limit: usize) -> Self {
        Self {
            sampler,
            table: Table::new(limit),
            aliases: Aged::new(ALIASES_MAX, ALIAS_KEEP_NS),
            joins: Aged::new(JOINS_MAX, CLOSED_KEEP_NS),
            doubted: Aged::new(DOUBTS_MAX, CLOSED_KEEP_NS),
            posted: Aged::new(POSTED_MAX, POSTED_KEEP_NS),
            chain: Vec::new(),
            contexts: Contexts::new(limit.max(POSTED_MAX)),
        }
    }

    /// Enters an exchange. `None`: its span id is taken, or there is no room for it, and its span must be dropped.
    pub(crate) fn insert(
        &mut self,
        id: SpanId,
        facts: Facts,
        counters: &mut Counters,
    ) -> Option<Slot> {
        match self.table.insert(id, facts) {
            Insertion::Done(slot) => return Some(slot),
            Insertion::Duplicate => counters.one(Counter::DuplicateSpanId),
            Insertion::Full => counters.one(Counter::ExchangesFull),
        }
        None
    }

    /// Contexts of units that read from brokers.
    pub(crate) fn contexts(&mut self) -> &mut Contexts {
        &mut self.contexts
    }

    /// Whether the exchange is in the table, or was a message's.
    pub(crate) fn knows(&self, span: SpanId) -> bool {
        self.table.find(span).is_some() || self.posted.has(&span)
    }

    /// The trace of an exchange that was decided, if it is still known.
    pub(crate) fn trace_of(&self, span: SpanId) -> Option<TraceId> {
        let decided = self.table.find(span).and_then(|slot| self.table.get(slot));
        decided
            .and_then(|node| node.decision)
            .map(|decision| decision.trace)
            .or_else(|| self.posted.get(&span).map(|(trace, _)| *trace))
    }

    /// The trace of an exchange that is known; it is decided now if it was not before.
    pub(crate) fn decided_trace(
        &mut self,
        span: SpanId,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<TraceId> {
        let decided = self
            .table
            .find(span)
            .and_then(|slot| self.decide(slot, span, now_ns, counters));
        decided.map_or_else(|| self.trace_of(span), |decision| Some(decision.trace))
    }

    /// A pipelined request was written: its server side may find it by its place.
    pub(crate) fn announce(&mut self, place: WirePlace, id: SpanId, ktime_ns: u64) {
        self.joins.put(place, id, ktime_ns);
    }

    /// An event loop answered another request in a turn of this one's: calls that turns gave to it and that are not decided yet
    /// are roots.
    pub(crate) fn doubt(&mut self, server: SpanId, ktime_ns: u64) {
        self.doubted.put(server, (), ktime_ns);
    }

    /// Whether an origin stands on turns in which another request may have gone on.
    fn is_doubted(&self, origin: Origin) -> bool {
        matches!(origin, Origin::Kernel(parent, Evidence::Reply | Evidence::Async)
            if self.doubted.has(&parent))
    }

    /// Whether nothing that the kernel side knows ties a call with this origin to a request.
    pub(crate) fn has_no_parent(&self, origin: Origin) -> bool {
        origin == Origin::None || self.stands_alone(origin)
    }

    /// The exchange of this slot is needed soon.
    pub(crate) fn fetch(&self, slot: Slot) {
        if let Some(node) = self.table.get(slot) {
            ahead::fetch((&raw const *node).cast(), size_of::<Node>());
        }
    }

    /// The exchange is over; it can be named as a parent for a while.
    pub(crate) fn close(&mut self, slot: Slot, ktime_ns: u64) {
        self.table.close(slot, ktime_ns);
    }

    /// Trace and parent of the exchange that was entered with this id in this slot; decided now if that was not done
    /// before. `None` when it was forgotten.
    pub(crate) fn decide(
        &mut self,
        slot: Slot,
        id: SpanId,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<Decision> {
        let node = self.table.get(slot).filter(|node| node.id == id)?;
        if let Some(decision) = node.decision {
            return Some(decision);
        }
        let mut chain = std::mem::take(&mut self.chain);
        chain.clear();
        let mut current = slot;
        loop {
            chain.push(current);
            match self.candidate(current) {
                Some((parent, node))
                    if node.decision.is_none()
                        && chain.len() < CHAIN_MAX
                        && !chain.contains(&parent) =>
                {
                    current = parent
                }
                _ => break,
            }
        }
        let mut decision = None;
        while let Some(current) = chain.pop() {
            decision = self.decide_one(current, now_ns, counters);
        }
        self.chain = chain;
        decision
    }

    /// The known exchange that an exchange's origin names, when it is of the side a parent must have.
    fn candidate(&self, slot: Slot) -> Option<(Slot, &Node)> {
        let facts = &self.table.get(slot)?.facts;
        let parent = match facts.origin {
            Origin::None => facts.tick?,
            origin if self.is_doubted(origin) => return None,
            Origin::Kernel(consumer, Evidence::Settle) => consumer,
            Origin::Kernel(parent, by) => match self.contexts.resolve_call(parent, by) {
                Whose::Itself => parent,
                Whose::Of(consumer) => consumer,
                Whose::Nobody => facts.tick?,
            },
            Origin::Carried { parent, .. } => parent,
            Origin::Wire(place) => *self.joins.get(&place)?,
        };
        let parent = self.table.find(parent)?;
        let node = self.table.get(parent)?;
        (node.facts.side != facts.side && parent != slot).then_some((parent, node))
    }

    fn decide_one(&mut self, slot: Slot, now_ns: u64, counters: &mut Counters) -> Option<Decision> {
        let &Node { id, facts, .. } = self.table.get(slot)?;
        let mut candidate = self
            .candidate(slot)
            .and_then(|(_, node)| Some((node.id, node.facts, node.decision?)));
        // A server that goes on with a pipelined request when it has answered the one before does so as part of that.
        if let (Some((_, parent, _)), Origin::Kernel(_, evidence)) = (candidate, facts.origin)
            && parent.overlaps
            && evidence.outlives_the_response()
        {
            candidate = None;
            counters.one(Counter::ParentPipelined);
        } else if self.is_doubted(facts.origin) {
            counters.one(Counter::ParentDoubted);
        } else if candidate.is_none() && self.is_missing(facts.origin) {
            counters.one(Counter::ParentUnknown);
        }
        // A header that names the exchange itself was put there on its behalf: it says nothing about a parent.
        let header = facts.header.filter(|header| header.parent_id != id.0);
        let decision = match (header, candidate) {
            (Some(header), Some((parent, parent_facts, parent_decision)))
                if self.forwards(&facts, &header, &parent_facts) =>
            {
                self.child_of(&facts, parent, &parent_facts, parent_decision)
            }
            (Some(header), None) if passed_on(&facts, &header) => self.carried(&facts)?,
            (Some(header), _) => {
                let trace = TraceId(header.trace_id);
                Decision {
                    trace,
                    parent: Some(SpanId(header.parent_id)),
                    evidence: Evidence::Header,
                    // A client's own header was made inside its process, by its tracing library.
                    remote: facts.side == Side::Server,
                    sampled: self.sampler.samples(trace, Some(header.sampled())),
                }
            }
            (None, Some((parent, parent_facts, parent_decision))) => {
                self.child_of(&facts, parent, &parent_facts, parent_decision)
            }
            (None, None) => self
                .carried(&facts)
                .or_else(|| self.posted(&facts))
                .unwrap_or_else(|| self.root(id, &facts)),
        };
        if facts.is_of_a_queue {
            self.posted
                .put(id, (decision.trace, decision.sampled), now_ns);
        }
        if facts.kernel_trace != TraceId::default()
            && facts.kernel_trace != decision.trace
            && !self.stands_alone(facts.origin)
            && !self.aliases.has(&facts.kernel_trace)
        {
            self.aliases.put(facts.kernel_trace, decision.trace, now_ns);
        }
        self.table.get_mut(slot)?.decision = Some(decision);
        Some(decision)
    }

    /// Whether the header was only passed on: a proxy that writes the very header it received says nothing about
    /// itself, so the evidence of sockets and threads is nearer than the header.
    fn forwards(&self, facts: &Facts, header: &TraceContext, parent: &Facts) -> bool {
        let same = |other: Option<TraceContext>| {
            other.is_some_and(|other| {
                other.trace_id == header.trace_id && other.parent_id == header.parent_id
            })
        };
        match facts.side {
            // The parent is the server exchange this client call belongs to.
            Side::Client => same(parent.header),
            // The parent is the client exchange of the peer; its own parent must have received the header.
            Side::Server => match parent.origin {
                Origin::Kernel(server, evidence) if evidence.is_of_a_unit() => {
                    same(parent.header.or(Some(*header)))
                        && self
                            .table
                            .find(server)
                            .and_then(|slot| self.table.get(slot))
                            .is_some_and(|node| {
                                node.facts.side == Side::Server && same(node.facts.header)
                            })
                }
                _ => false,
            },
        }
    }

    fn child_of(
        &self,
        facts: &Facts,
        parent: SpanId,
        parent_facts: &Facts,
        parent_decision: Decision,
    ) -> Decision {
        let evidence = match facts.origin {
            _ if facts.tick == Some(parent) => Evidence::Tick,
            Origin::Kernel(_, evidence) => evidence,
            Origin::Wire(_) => Evidence::Socket,
            Origin::Carried { .. } => Evidence::Option,
            Origin::None => Evidence::None,
        };
        let sampled = self
            .sampler
            .samples(parent_decision.trace, Some(parent_decision.sampled));
        let trace = parent_decision.trace;
        if parent_facts.ignored {
            return match parent_decision.parent {
                Some(_) => Decision {
                    evidence,
                    sampled,
                    ..parent_decision
                },
                None => Decision {
                    trace,
                    parent: None,
                    evidence: Evidence::None,
                    remote: false,
                    sampled,
                },
            };
        }
        Decision {
            trace,
            parent: Some(parent),
            evidence,
            remote: parent_facts.process != facts.process,
            sampled,
        }
    }

    /// The child of an exchange of another host.
    fn carried(&self, facts: &Facts) -> Option<Decision> {
        let Origin::Carried {
            parent, sampled, ..
        } = facts.origin
        else {
            return None;
        };
        Some(Decision {
            trace: facts.kernel_trace,
            parent: Some(parent),
            evidence: Evidence::Option,
            remote: true,
            sampled: self.sampler.samples(facts.kernel_trace, Some(sampled)),
        })
    }

    /// The child of a producer that the table has forgotten.
    fn posted(&self, facts: &Facts) -> Option<Decision> {
        let Origin::Kernel(producer, Evidence::Message) = facts.origin else {
            return None;
        };
        let (trace, sampled) = *self.posted.get(&producer)?;
        Some(Decision {
            trace,
            parent: Some(producer),
            evidence: Evidence::Message,
            remote: true,
            sampled: self.sampler.samples(trace, Some(sampled)),
        })
    }

    /// Whether the origin names an exchange that should be known.
    fn is_missing(&self, origin: Origin) -> bool {
        match origin {
            Origin::Kernel(producer, Evidence::Message) => !self.posted.has(&producer),
            _ => matches!(origin, Origin::Kernel(..)) && !self.contexts.is_nobodys(origin),
        }
    }

    fn stands_alone(&self, origin: Origin) -> bool {
        self.is_doubted(origin) || self.contexts.is_nobodys(origin)
    }

    fn root(&self, id: SpanId, facts: &Facts) -> Decision {
        let trace = match self.aliases.get(&facts.kernel_trace) {
            // The trace the kernel made it part of is another's, or what a unit did between two jobs.
            _ if self.stands_alone(facts.origin) => derived_trace(id),
            Some(trace) => *trace,
            None if facts.kernel_trace == TraceId::default() => derived_trace(id),
            None => facts.kernel_trace,
        };
        Decision {
            trace,
            parent: None,
            evidence: Evidence::None,
            remote: false,
            sampled: self.sampler.samples(trace, None),
        }
    }

    /// Forgets what is too old. Meant to be called every few seconds.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.contexts.sweep(now_ns);
        self.posted.sweep(now_ns);
        self.table
            .forget_before(now_ns.saturating_sub(CLOSED_KEEP_NS));
        self.joins.sweep(now_ns);
        self.doubted.sweep(now_ns);
        self.aliases.sweep(now_ns);
    }
}

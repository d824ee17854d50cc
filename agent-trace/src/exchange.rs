//! One request and its response, as far as they were seen, on one side of a connection.
//!
//! In: events of the two parsers of a connection. Out: what a span is made of. Always holds: `end_ktime_ns` is not
//! before `start_ktime_ns` once the exchange is over. Refuses: nothing; it only keeps.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use agent_common::abi::{ConnRecord, ExchangeIds, ProcessKey, bytes_of, evidence, said};

use agent_protocol::queue::sqs::Call;

use crate::ahead;
use crate::body::Body;
use crate::graph::{Origin, Side, Slot};
use crate::message::{Request, Response, Texts};
use crate::queue::Parcel;
use crate::span::{Evidence, SpanId, TraceId};
use crate::ticks::Ticked;

/// `AF_UNIX` of Linux.
pub(crate) const AF_UNIX: u16 = 1;

/// Wire protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    FastCgi,
    /// A broker's; which one, the exchange's message says.
    Broker,
}

/// Addresses of a connection, from the side of its process; all its exchanges share them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) local_addr: [u8; 16],
    pub(crate) remote_addr: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) family: u16,
    /// Both addresses as spans show them, empty for unix sockets.
    pub(crate) local_text: String,
    pub(crate) remote_text: String,
}

impl Endpoints {
    pub(crate) fn of(record: &ConnRecord) -> Self {
        let (local_addr, remote_addr) = (bytes_of(record.local_addr), bytes_of(record.remote_addr));
        let text = |address| {
            if record.family == AF_UNIX {
                String::new()
            } else {
                ip(address).to_string()
            }
        };
        Self {
            local_addr,
            remote_addr,
            local_port: record.local_port,
            remote_port: record.remote_port,
            family: record.family,
            local_text: text(local_addr),
            remote_text: text(remote_addr),
        }
    }

    /// The peer's address.
    pub(crate) fn remote(&self) -> IpAddr {
        ip(self.remote_addr)
    }
}

/// An address, IPv4 where it is an IPv4-mapped one.
fn ip(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// Ids and origin of an exchange before its head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) span: SpanId,
    /// Zero: the kernel made none.
    pub(crate) trace: TraceId,
    pub(crate) origin: Origin,
}

impl Ids {
    /// From a record; `None` when the kernel side left the span id zero.
    pub(crate) fn of(ids: &ExchangeIds) -> Option<Self> {
        let parent = SpanId(ids.parent_span_id.to_ne_bytes());
        let evidence = match ids.evidence {
            evidence::SOCKET => Evidence::Socket,
            evidence::THREAD => Evidence::Thread,
            evidence::TURN => Evidence::Turn,
            evidence::GOROUTINE => Evidence::Goroutine,
            evidence::SESSION => Evidence::Session,
            evidence::VIRTUAL_THREAD => Evidence::VirtualThread,
            evidence::CONTEXT => Evidence::Context,
            evidence::REPLY => Evidence::Reply,
            evidence::ASYNC => Evidence::Async,
            evidence::SPAWN => Evidence::Spawn,
            evidence::TASK => Evidence::Task,
            evidence::TICK => Evidence::Tick,
            _ => Evidence::None,
        };
        let named = evidence != Evidence::None && parent != SpanId::default();
        let carried = ids.evidence == evidence::OPTION && parent != SpanId::default();
        Some(Self {
            span: SpanId(ids.span_id.to_ne_bytes()),
            trace: TraceId(bytes_of(ids.trace_id)),
            origin: if carried {
                Origin::Carried {
                    parent,
                    sampled: ids.said & said::SAMPLED != 0,
                    tag: ids.said >> said::TAG_SHIFT,
                }
            } else if named {
                Origin::Kernel(parent, evidence)
            } else {
                Origin::None
            },
        })
        .filter(|ids| ids.span != SpanId::default())
    }
}

/// Whether an exchange is in the exchange table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Not yet: its head was not read.
    Pending,
    /// It can be a parent.
    Entered(Slot),
    /// It cannot be entered, so its span must not be handed out either; why was counted.
    Refused,
}

/// How an exchange ended.
///
/// ```text
///   Open ──response's last byte──▶ Complete
///     ├──connection gone, process gone──▶ Failed(error.type)
///     ├──response passed in a hole──▶ Unseen
///     └──the agent stops, or nothing for an hour──▶ Unfinished
///   (a connection attempt begins and ends as Connect(error.type))
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Complete,
    Failed(&'static str),
    Unseen,
    Unfinished,
    Connect(&'static str),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) ids: Ids,
    pub(crate) side: Side,
    pub(crate) process: ProcessKey,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    pub(crate) wire: Wire,
    pub(crate) start_ktime_ns: u64,
    pub(crate) end_ktime_ns: u64,
    /// What makes both times Unix times: one value, so that a step of the clock cannot turn a duration around.
    pub(crate) epoch_offset_ns: u64,
    /// Stream position of the request's first byte, when it is known exactly.
    pub(crate) pos: Option<u32>,
    /// The connection had changed its direction before this request, so all responses before it were over.
    pub(crate) burst_start: bool,
    /// Another request of the connection came before this one's response was over, or the other way round.
    pub(crate) overlaps: bool,
    /// Its place in the exchange table.
    pub(crate) entry: Entry,
    /// A byte of the final response was seen.
    pub(crate) response_begun: bool,
    /// The response's head passed unseen.
    pub(crate) response_unseen: bool,
    /// Its path is on the list of ignored ones.
    pub(crate) ignored: bool,
    pub(crate) request: Option<Request>,
    /// Those of `request`.
    pub(crate) texts: Texts,
    pub(crate) request_body: Option<u64>,
    /// Of a client's request.
    pub(crate) body: Body,
    /// It is the first one on a connection that its process made; when that began.
    pub(crate) connect_ktime_ns: Option<u64>,
    pub(crate) response: Option<Response>,
    pub(crate) response_body: Option<u64>,
    pub(crate) outcome: Outcome,
    /// It is about a message of a queue: on the client's side the put, on the server's the work.
    pub(crate) message: Option<Box<Parcel>>,
    /// It is a call of a queue's server.
    pub(crate) call: Option<Box<Call>>,
    /// It is no exchange at all, but a command that a scheduler began.
    pub(crate) ticked: Option<Box<Ticked>>,
    /// It makes no span if it succeeds: what it asks for, or says, is in others.
    pub(crate) is_quiet: bool,
    /// The thread that began it; 0: not known.
    pub(crate) tid: u32,
    /// The contextvars Context that began it, where that is known.
    pub(crate) kin: u64,
}

impl Exchange {
    /// An exchange of which nothing is known but that it began.
    pub(crate) fn begun(
        ids: Ids,
        side: Side,
        process: ProcessKey,
        start_ktime_ns: u64,
        epoch_offset_ns: u64,
    ) -> Self {
        Self {
            ids,
            side,
            process,
            endpoints: None,
            wire: Wire::Http1,
            start_ktime_ns,
            end_ktime_ns: 0,
            epoch_offset_ns,
            pos: None,
            burst_start: false,
            overlaps: false,
            entry: Entry::Pending,
            response_begun: false,
            response_unseen: false,
            ignored: false,
            request: None,
            texts: Texts::default(),
            request_body: None,
            body: Body::default(),
            connect_ktime_ns: None,
            response: None,
            response_body: None,
            outcome: Outcome::Open,
            message: None,
            call: None,
            ticked: None,
            is_quiet: false,
            tid: 0,
            kin: 0,
        }
    }

    /// It is needed soon.
    pub(crate) fn fetch(&self) {
        ahead::fetch((&raw const *self).cast(), size_of::<Self>());
    }

    /// The final response's head is still to come.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.response.is_none()
    }
}

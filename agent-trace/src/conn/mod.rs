//! One connection's end: its two directions, and the exchanges open on it.
//!
//! In: segments and state changes of one socket, in the order of records. Out: exchanges that are over (into
//! [`Shared`]). Always holds: responses answer requests in order (RFC 9112 §9.3.2), never one that began after the
//! response's byte moved; nothing here grows beyond a limit. Refuses: bytes of a connection that is ignored.
//!
//! Records of the two directions of one connection can come in the wrong order (a response read by one thread before
//! the record of another thread's write of its request): response bytes without an open request are parked.

mod calls;
mod close;
mod parking;
pub(crate) use calls::TARGET;
pub(crate) use close::tcp_state;
pub(crate) use parking::moved_ktime;
mod request;
mod response;

use std::collections::VecDeque;
use std::sync::Arc;

use agent_common::abi::{
    ConnRecord, ExchangeIds, ProcessKey, SegmentRecord, SocketKey, direction, protocol, role,
    segment_flag,
};
use agent_protocol::http1::ResponseEvent;
use agent_protocol::queue::Event;
use agent_protocol::stream::{Begin, Input};

use crate::counters::Counter;
use crate::exchange::{AF_UNIX, Endpoints, Exchange, Ids, Outcome, Wire};
use crate::graph::Side;
use crate::moves::Moves;
use crate::position::{Place, Position};
use crate::queue::Lane;
use crate::shared::Shared;
use crate::span::SpanId;
use crate::tracer::Command;
use crate::wire::{RequestSide, Requests, ResponseSide};

/// Bytes of heads that did not parse, in a row, after which a connection is given up.
const UNPARSED_MAX: u8 = 8;

/// How a connection attempt stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) ids: ExchangeIds,
    pub(crate) process: ProcessKey,
    pub(crate) began_ktime_ns: u64,
}

/// The two parsers, once it is known which direction carries what.
struct Parsers {
    side: Side,
    wire: Wire,
    request: RequestSide,
    response: ResponseSide,
}

/// What the response parser's next events belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    /// No response is open.
    Nothing,
    /// The front of `open`.
    Front,
    /// A response to a request that was not seen.
    Stray,
}

/// See the module.
pub(crate) struct Conn {
    pub(crate) socket: SocketKey,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    pub(crate) attempt: Option<Attempt>,
    /// When the attempt began that made this connection; the first exchange takes it.
    pub(crate) connect_ktime_ns: Option<u64>,
    parsers: Option<Parsers>,
    /// It is a broker's client.
    lane: Option<Box<Lane>>,
    /// It was seen from its beginning.
    is_whole: bool,
    rx: Position,
    tx: Position,
    /// Requests whose response is not over, oldest first.
    open: VecDeque<Box<Exchange>>,
    /// The exchange whose request is being read; it may have left `open` already.
    receiving: Option<SpanId>,
    answering: Answering,
    /// Stream position of the next byte of the open answer's body, if that is looked at.
    answer_pos: Option<u32>,
    /// What the open answer's segment said of messages.
    heard: Vec<Event>,
    /// Stream position of the next request, where it can be computed.
    next_request_pos: Option<u32>,
    /// Requests came for which the kernel made no ids.
    pipelined: bool,
    /// Ids of the latest exchange the kernel made ids for, and how many requests came since.
    burst: Option<(Ids, u32)>,
    parked: VecDeque<(SegmentRecord, Box<[u8]>)>,
    /// Without what is parked.
    moves: Moves,
    /// Responses are not parked: it is known that their request was not seen.
    stray: bool,
    idle_armed: bool,
    idle_ended: bool,
    /// Part of the current body passed unseen.
    body_unseen: bool,
    ignored: bool,
    unparsed_row: u8,
    last_response_ktime_ns: u64,
    pub(crate) last_ktime_ns: u64,
    /// A read found the end of the stream or an error.
    broken_ktime_ns: Option<u64>,
    /// First close by this end, and whether the peer had closed before.
    local_close_ktime_ns: Option<u64>,
    /// That was the end of both directions.
    is_shut: bool,
    peer_closed: bool,
    pub(crate) closed_ktime_ns: Option<u64>,
    errno: u16,
}

/// Scratch for the events of one push, kept between calls.
#[derive(Default)]
pub(crate) struct Scratch {
    requests: Requests,
    responses: Vec<ResponseEvent>,
}

impl Conn {
    pub(crate) fn new(socket: SocketKey, ktime_ns: u64) -> Self {
        Self {
            socket,
            endpoints: None,
            attempt: None,
            connect_ktime_ns: None,
            parsers: None,
            lane: None,
            is_whole: false,
            rx: Position::default(),
            tx: Position::default(),
            open: VecDeque::new(),
            receiving: None,
            answering: Answering::Nothing,
            answer_pos: None,
            heard: Vec::new(),
            next_request_pos: None,
            pipelined: false,
            burst: None,
            parked: VecDeque::new(),
            moves: Moves::default(),
            stray: false,
            idle_armed: false,
            idle_ended: false,
            body_unseen: false,
            ignored: false,
            unparsed_row: 0,
            last_response_ktime_ns: 0,
            last_ktime_ns: ktime_ns,
            broken_ktime_ns: None,
            local_close_ktime_ns: None,
            is_shut: false,
            peer_closed: false,
            closed_ktime_ns: None,
            errno: 0,
        }
    }

    /// A connection record for this socket.
    pub(crate) fn describe(&mut self, record: &ConnRecord) {
        self.last_ktime_ns = record.head.ktime_ns;
        self.endpoints = Some(Arc::new(Endpoints::of(record)));
        self.is_whole |= record.by_connect == 1;
        if record.by_connect == 1 && self.parsers.is_none() {
            self.attempt = Some(Attempt {
                ids: record.exchange,
                process: record.process,
                began_ktime_ns: record.head.ktime_ns,
            });
        } else if record.family == AF_UNIX {
            // Bytes are about to move, so the attempt was successful. TCP has a state for that.
            self.attempt = None;
        }
    }

    /// Nothing is known of it but its addresses, which come again with its first message.
    pub(crate) fn is_unspoken(&self) -> bool {
        self.parsers.is_none() && self.attempt.is_none() && self.lane.is_none()
    }

    /// It is a broker's client's.
    pub(crate) fn is_with_a_broker(&self) -> bool {
        self.lane.is_some()
    }

    /// No exchange is open and nothing waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.parked.is_empty()
    }

    /// One segment of this socket.
    pub(crate) fn on_segment(
        &mut self,
        record: &SegmentRecord,
        payload: &[u8],
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) {
        self.last_ktime_ns = record.head.ktime_ns;
        if self.ignored {
            return;
        }
        if record.direction == direction::RX
            && record.flags & (segment_flag::ERROR | segment_flag::EOF) != 0
            && self.broken_ktime_ns.is_none()
        {
            self.broken_ktime_ns = Some(record.head.ktime_ns);
        }
        if record.flags & segment_flag::ERROR != 0 {
            if self.errno == 0 {
                self.errno = record.error;
            }
            return;
        }
        let eof = record.flags & segment_flag::EOF != 0;
        if record.len == 0 && !eof {
            return;
        }
        if protocol::is_of_a_broker(record.protocol) {
            self.on_broker(record, payload, shared);
            return;
        }
        self.learn(record, payload, shared);
        let Some(parsers) = &self.parsers else {
            if !eof {
                self.position(record.direction)
                    .place(record.pos, stream_bytes(record), false);
            }
            return;
        };
        let is_request = (record.direction == direction::RX) == (parsers.side == Side::Server);
        if is_request {
            self.on_request(record, payload, shared, scratch);
            self.drain_parked(false, shared, scratch);
        } else if !self.parked.is_empty() || self.must_park(record) {
            self.park(record, payload, shared, scratch);
        } else {
            self.on_response(record, payload, shared, scratch);
        }
        if self
            .parsers
            .as_ref()
            .is_some_and(|parsers| parsers.request.is_hopeless() && self.open.is_empty())
            || self.unparsed_row >= UNPARSED_MAX
        {
            shared.counters.one(Counter::NotHttp);
            self.ignore(shared);
        }
    }

    /// A segment of a broker's client.
    fn on_broker(&mut self, record: &SegmentRecord, payload: &[u8], shared: &mut Shared) {
        if self.lane.is_none() {
            let begin = if self.is_whole {
                Begin::Boundary
            } else {
                Begin::Midstream
            };
            self.lane = Lane::new(record, begin, shared).map(Box::new);
        }
        let Some(lane) = &mut self.lane else {
            self.ignore(shared);
            return;
        };
        lane.on_segment(record, payload, self.endpoints.as_ref(), shared);
        if lane.is_hopeless() {
            shared.counters.one(Counter::NotBroker);
            self.ignore(shared);
        } else if lane.is_of_no_queue(shared) {
            shared.counters.one(Counter::NotQueue);
            self.ignore(shared);
        }
    }

    /// Finds out which direction carries requests, and in which protocol.
    fn learn(&mut self, record: &SegmentRecord, payload: &[u8], shared: &Shared) {
        if self.parsers.is_some() {
            return;
        }
        let fastcgi = record.protocol == protocol::FASTCGI;
        let begins_response = !fastcgi && payload.starts_with(b"HTTP/1.");
        let side = match record.role {
            role::SERVER => Side::Server,
            role::CLIENT => Side::Client,
            _ if begins_response => {
                if record.direction == direction::RX {
                    Side::Client
                } else {
                    Side::Server
                }
            }
            _ if record.flags & segment_flag::EXCHANGE != 0 => {
                if record.direction == direction::RX {
                    Side::Server
                } else {
                    Side::Client
                }
            }
            _ => return,
        };
        let is_request = (record.direction == direction::RX) == (side == Side::Server);
        let wire = if fastcgi { Wire::FastCgi } else { Wire::Http1 };
        let at_boundary = record.flags & segment_flag::EXCHANGE != 0;
        let request = if is_request && at_boundary {
            Begin::Boundary
        } else {
            Begin::Midstream
        };
        // When the first thing seen is a request's beginning, the next byte of the other direction begins its response.
        let response = if begins_response || (is_request && at_boundary) {
            Begin::Boundary
        } else {
            Begin::Midstream
        };
        self.parsers = Some(Parsers {
            side,
            wire,
            request: RequestSide::new(wire, request, &shared.parser_limits),
            response: ResponseSide::new(wire, response, &shared.parser_limits),
        });
    }

    fn position(&mut self, way: u8) -> &mut Position {
        if way == direction::RX {
            &mut self.rx
        } else {
            &mut self.tx
        }
    }

    /// Stops following this connection. What is open on it ends with what was seen.
    fn ignore(&mut self, shared: &mut Shared) {
        self.ignored = true;
        while let Some(exchange) = self.open.pop_front() {
            if exchange.request.is_some() {
                shared.complete(
                    exchange,
                    Outcome::Unfinished,
                    self.last_ktime_ns,
                    self.last_ktime_ns,
                );
            }
        }
        self.parsers = None;
        if let Some(mut lane) = self.lane.take() {
            lane.abandon(self.last_ktime_ns, shared);
        }
        self.receiving = None;
        self.unpark(shared);
        shared
            .commands
            .push_back(Command::IgnoreConnection(self.socket));
        // The kernel side tells no states of ignored connections; records under way are dropped until then.
        if self.closed_ktime_ns.is_none() {
            self.closed_ktime_ns = Some(self.last_ktime_ns);
            shared.closing.push_back((self.last_ktime_ns, self.socket));
        }
    }

    /// See [`place`].
    fn place(
        &mut self,
        record: &SegmentRecord,
        shared: &mut Shared,
    ) -> (Option<Input<'static>>, u32) {
        place(self.position(record.direction), record, shared)
    }
}

/// Places a segment in its direction and says what a parser must be told before its bytes: a hole, and how many of its
/// first bytes to leave out.
pub(crate) fn place(
    position: &mut Position,
    record: &SegmentRecord,
    shared: &mut Shared,
) -> (Option<Input<'static>>, u32) {
    // On a broker's client each segment has ids, so they say nothing about where a message begins; so do those of answers.
    let boundary = record.flags & segment_flag::EXCHANGE != 0
        && !protocol::is_of_a_broker(record.protocol)
        && !calls::is_read_with_context(record);
    match position.place(record.pos, stream_bytes(record), boundary) {
        Place::Next => (None, 0),
        Place::Hole(len) => {
            shared.counters.one(Counter::StreamHole);
            shared
                .counters
                .add(Counter::StreamHoleBytes, u64::from(len));
            (
                Some(Input::Lost {
                    len: Some(u64::from(len)),
                }),
                0,
            )
        }
        Place::Unrelated => {
            shared.counters.one(Counter::StreamOverlap);
            (Some(Input::Lost { len: None }), 0)
        }
        Place::Repeats(len) => {
            shared.counters.one(Counter::StreamOverlap);
            (None, len)
        }
    }
}

/// Bytes that a segment takes in the stream: the program's own, and a header that was written into them.
fn stream_bytes(record: &SegmentRecord) -> u32 {
    record.len.wrapping_add(u32::from(record.injected))
}

/// The pieces of a segment without its first `skip` bytes: what was captured, what was not, and its end where that was captured too.
pub(crate) fn pieces<'a>(
    record: &'a SegmentRecord,
    payload: &'a [u8],
    skip: u32,
) -> [Option<Input<'a>>; 3] {
    let captured = payload
        .get(..payload.len().min(record.len as usize))
        .unwrap_or_default();
    let left = record.len - skip.min(record.len);
    let ending = usize::from(record.ending).min(captured.len());
    let (captured, ending) = captured.split_at(captured.len() - ending);
    let ending = ending
        .get(ending.len().saturating_sub(left as usize)..)
        .unwrap_or_default();
    let bytes = captured
        .get((skip as usize).min(captured.len())..)
        .unwrap_or_default();
    let unseen = u64::from(left) - (bytes.len() + ending.len()) as u64;
    let tail: &[u8] = if record.flags & segment_flag::TAIL != 0 {
        // Right-aligned: min(len, 8) of them count, and no more than were unseen.
        let kept = usize::try_from(unseen)
            .unwrap_or(usize::MAX)
            .min(record.tail.len());
        record
            .tail
            .get(record.tail.len() - kept..)
            .unwrap_or_default()
    } else {
        &[]
    };
    [
        (!bytes.is_empty()).then_some(Input::Bytes(bytes)),
        (unseen > 0).then_some(Input::Unseen { len: unseen, tail }),
        (!ending.is_empty()).then_some(Input::Bytes(ending)),
    ]
}

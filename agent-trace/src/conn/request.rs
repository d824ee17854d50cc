//! The direction that carries requests: exchanges begin here.
//!
//! In: segments of that direction. Out: new exchanges in `open`, confirmed in the exchange table once their head was
//! read. Always holds: the kernel's ids go to the message whose first byte is the segment's first byte, or to none
//! (counted); every other request gets ids computed from them. Refuses: more open requests than the limit.

use agent_common::abi::{SegmentRecord, direction, segment_flag};
use agent_protocol::http1::{BodyEnd, Ended, Reason};
use agent_protocol::queue::sqs::Action;

use super::parking::moved_ktime;
use super::{Conn, Scratch, calls, pieces};
use crate::body::Body;
use crate::counters::Counter;
use crate::exchange::{AF_UNIX, Exchange, Ids, Wire};
use crate::graph::{Origin, Side, WirePlace};
use crate::ids::{derived_span, first_span};
use crate::message::Texts;
use crate::queue::kin_of;
use crate::shared::Shared;
use crate::span::{Evidence, SpanId, TraceId};
use crate::wire::{Head, Heard};

/// What is known about the requests in one segment before its events are looked at.
struct Arrival<'a> {
    record: &'a SegmentRecord,
    /// Events from this one on come from the segment's own bytes.
    own: usize,
    /// The first of those may begin at the segment's first byte.
    at_start: bool,
    /// The connection changed its direction before this segment.
    turned: bool,
    /// The kernel made ids, and they are not used yet.
    kernel_ids: Option<Ids>,
    /// The kernel made ids for this very segment.
    burst_here: bool,
}

impl Conn {
    pub(super) fn on_request(
        &mut self,
        record: &SegmentRecord,
        payload: &[u8],
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) {
        let eof = record.flags & segment_flag::EOF != 0;
        let boundary = record.flags & segment_flag::EXCHANGE != 0;
        let turned = self.moves_with_parked().response_is_newer();
        let (hole, skip) = if eof {
            (None, 0)
        } else {
            self.place(record, shared)
        };
        let Some(parsers) = &mut self.parsers else {
            return;
        };
        let requests = &mut scratch.requests;
        requests.events.clear();
        if eof {
            self.peer_closed |= record.direction == direction::RX;
            parsers.request.end(requests);
        }
        if let Some(hole) = hole {
            parsers.request.push(hole, requests);
        }
        if boundary || (turned && !parsers.request.in_message()) {
            parsers.request.turn(requests);
        }
        let at_start = skip == 0 && !parsers.request.in_message();
        let own = requests.events.len();
        if !eof {
            for piece in pieces(record, payload, skip).into_iter().flatten() {
                parsers.request.push(piece, requests);
            }
            self.moves.request(moved_ktime(record));
        }
        let kernel_ids = if boundary {
            Ids::of(&record.exchange)
        } else {
            None
        };
        let mut arrival = Arrival {
            record,
            own,
            at_start,
            turned,
            kernel_ids,
            burst_here: false,
        };
        let before = self.receiving;
        let mut begun = 0;
        let mut events = std::mem::take(&mut requests.events);
        for (index, event) in events.drain(..).enumerate() {
            match event {
                Heard::Begin => {
                    begun += 1;
                    self.begin(index, &mut arrival, shared);
                }
                Heard::Head(head) => {
                    let unused = self.request_head(head, record, shared);
                    requests.take_back(unused);
                }
                Heard::End(end) => self.request_end(end),
                Heard::Unparsed(reason) => self.request_unparsed(reason, record, shared),
            }
        }
        requests.events = events;
        if !eof {
            self.take_body(before, begun, record, payload, shared);
        }
        if payload.is_empty() && arrival.at_start && arrival.kernel_ids.is_some() {
            // The kernel side saw the request's first bytes, but they could not be copied.
            arrival.own = 0;
            self.begin(0, &mut arrival, shared);
            self.receiving = None;
        }
        if arrival.kernel_ids.is_some() {
            shared.counters.one(Counter::KernelGuessWrong);
        }
    }

    fn begin(&mut self, index: usize, arrival: &mut Arrival<'_>, shared: &mut Shared) {
        let Some(parsers) = &self.parsers else { return };
        let (side, wire) = (parsers.side, parsers.wire);
        let record = arrival.record;
        let first = arrival.at_start && index == arrival.own;
        let pos = if first {
            Some(record.pos)
        } else {
            self.next_request_pos
        };
        self.next_request_pos = None;
        let kernel_ids = if first {
            arrival.kernel_ids.take()
        } else {
            None
        };
        let burst_start = kernel_ids.is_some() || (first && arrival.turned);
        let mut ids = match kernel_ids {
            Some(ids) => {
                arrival.burst_here = true;
                self.burst = Some((ids, 0));
                ids
            }
            None => self.next_ids(record, side, arrival.burst_here),
        };
        if side == Side::Server
            && ids.origin == Origin::None
            && let Some(place) = self.wire_place(Side::Server, record, pos)
        {
            ids.origin = Origin::Wire(place);
        }
        let start_ktime_ns = moved_ktime(record);
        self.moves.request_began(start_ktime_ns);
        self.stray = false;
        self.idle_ended = false;
        self.receiving = None;
        if self.open.len() >= shared.config.limits.pipeline {
            shared.counters.one(Counter::PipelineFull);
            return;
        }
        let overlaps = side == Side::Server && !self.open.is_empty();
        if overlaps {
            for before in &mut self.open {
                before.overlaps = true;
                shared.graph.overlap(before.ids.span);
            }
        }
        self.receiving = Some(ids.span);
        let exchange = Exchange {
            endpoints: self.endpoints.clone(),
            wire,
            pos,
            burst_start,
            overlaps,
            connect_ktime_ns: self.connect_ktime_ns.take(),
            tid: record.tid,
            kin: kin_of(record),
            ..Exchange::begun(
                ids,
                side,
                record.process,
                start_ktime_ns,
                shared.epoch_offset_ns,
            )
        };
        self.open.push_back(shared.place(exchange));
    }

    /// Ids for a request the kernel made none for.
    fn next_ids(&mut self, record: &SegmentRecord, side: Side, same_segment: bool) -> Ids {
        self.pipelined = true;
        let Some((first, count)) = &mut self.burst else {
            let span = first_span(
                self.socket.sk,
                self.socket.ino,
                record.pos,
                record.head.ktime_ns,
            );
            let ids = Ids {
                span,
                trace: TraceId::default(),
                origin: Origin::None,
            };
            self.burst = Some((ids, 0));
            return ids;
        };
        *count = count.saturating_add(1);
        let origin = match (side, first.origin) {
            // One write of one thread: what is true of its first request is true of all.
            (Side::Client, origin) if same_segment => origin,
            // Both ends of a unix connection count alike: the n-th request after the joined one is the n-th there.
            (Side::Server, Origin::Kernel(client, Evidence::Socket))
                if record.flags & segment_flag::COUNTED != 0 =>
            {
                Origin::Kernel(derived_span(client, *count), Evidence::Socket)
            }
            _ => Origin::None,
        };
        Ids {
            span: derived_span(first.span, *count),
            trace: TraceId::default(),
            origin,
        }
    }

    /// The place of a request on the wire, where it can be compared with the other end's.
    fn wire_place(
        &self,
        side: Side,
        record: &SegmentRecord,
        pos: Option<u32>,
    ) -> Option<WirePlace> {
        let ends = self
            .endpoints
            .as_deref()
            .filter(|ends| ends.family != AF_UNIX && record.flags & segment_flag::COUNTED == 0)?;
        let seq = pos?;
        Some(match side {
            Side::Client => WirePlace {
                client_addr: ends.local_addr,
                client_port: ends.local_port,
                server_port: ends.remote_port,
                seq,
            },
            Side::Server => WirePlace {
                client_addr: ends.remote_addr,
                client_port: ends.remote_port,
                server_port: ends.local_port,
                seq,
            },
        })
    }

    fn receiving(&mut self) -> Option<&mut Exchange> {
        let receiving = self.receiving?;
        self.open
            .back_mut()
            .filter(|exchange| exchange.ids.span == receiving)
            .map(|exchange| &mut **exchange)
    }

    /// Gives back texts that are not needed.
    fn request_head(&mut self, head: Head, record: &SegmentRecord, shared: &mut Shared) -> Texts {
        self.unparsed_row = 0;
        let header = shared.header(head.traceparent);
        self.next_request_pos = None;
        let head_bytes = head.head_bytes as u32;
        let complete = head.complete;
        let injected = u32::from(record.injected);
        let Some(exchange) = self.receiving() else {
            return head.texts;
        };
        let target = calls::target_of(&head.request).filter(|_| shared.config.queues);
        exchange.request = Some(head.request);
        let unused = std::mem::replace(&mut exchange.texts, head.texts);
        let (span, side, pos) = (exchange.ids.span, exchange.side, exchange.pos);
        let after_head = pos
            .filter(|_| complete)
            // A header that the kernel side wrote is in the first request of its segment.
            .map(|pos| pos.wrapping_add(head_bytes + if pos == record.pos { injected } else { 0 }));
        exchange.body = Body::at(after_head);
        if let Some(action) = target {
            calls::meets(exchange, action, record, shared);
        }
        shared.confirm(exchange, header);
        let fetches = exchange
            .call
            .as_ref()
            .is_some_and(|call| call.action() == Action::Receive);
        if side == Side::Client
            && self.pipelined
            && let Some(place) = self.wire_place(side, record, pos)
        {
            shared.graph.announce(place, span, record.head.ktime_ns);
        }
        self.next_request_pos = after_head;
        self.said(fetches, Vec::new(), record, shared);
        unused
    }

    /// Bytes of a request's body: of the one that was being read `before`, or of the one that has begun.
    fn take_body(
        &mut self,
        before: Option<SpanId>,
        begun: u32,
        record: &SegmentRecord,
        payload: &[u8],
        shared: &mut Shared,
    ) {
        let has_fields = shared.keys.has_fields();
        let is_looked_at = self.parsers.as_ref().is_some_and(|parsers| {
            parsers.wire == Wire::Http1 && (parsers.side == Side::Client || has_fields)
        });
        if !is_looked_at {
            return;
        }
        // A header that was written into the first request stands before its body.
        let pos = record.pos.wrapping_add(u32::from(record.injected));
        let mut newest = true;
        let mut events = Vec::new();
        for exchange in self.open.iter_mut().rev().take(begun as usize + 1) {
            let of_one = if begun == 0 {
                before == Some(exchange.ids.span)
            } else {
                begun == 1 && newest
            };
            if of_one {
                if has_fields && let Some(first) = exchange.body.first(pos, payload) {
                    shared
                        .keys
                        .carry_fields(exchange.ids.span, first, record.head.ktime_ns);
                }
                calls::take_request(exchange, pos, payload, record.len, &mut events);
                let secret = shared.config.secret;
                exchange.body.take(secret, pos, payload, record.len);
            } else if begun > 0 {
                exchange.body.lose();
            }
            newest = false;
        }
        self.said(false, events, record, shared);
    }

    fn request_end(&mut self, end: BodyEnd) {
        self.next_request_pos = match end.how {
            Ended::NoBody => self.next_request_pos,
            Ended::Length => self
                .next_request_pos
                .map(|pos| pos.wrapping_add(end.body_bytes as u32)),
            Ended::Chunked
            | Ended::Record
            | Ended::Close
            | Ended::Turn
            | Ended::Truncated
            | Ended::Opaque => None,
        };
        let seen = matches!(
            end.how,
            Ended::NoBody | Ended::Length | Ended::Chunked | Ended::Record
        );
        if let Some(exchange) = self.receiving() {
            exchange.request_body = seen.then_some(end.body_bytes);
        }
        self.receiving = None;
    }

    fn request_unparsed(&mut self, reason: Reason, record: &SegmentRecord, shared: &mut Shared) {
        shared.counters.one(Counter::Unparsed);
        self.next_request_pos = None;
        if reason.is_about_body() || reason == Reason::Multiplexed {
            return;
        }
        match reason {
            Reason::Http2 => {
                shared.counters.one(Counter::Http2);
                self.ignore(shared);
                return;
            }
            Reason::NotHttp => self.unparsed_row = self.unparsed_row.saturating_add(1),
            _ => {}
        }
        // Something that began where a request must begin is a request, readable or not; anything else is none.
        let is_request = matches!(
            reason,
            Reason::UnseenHead | Reason::FirstLineCut | Reason::FirstLineTruncated
        );
        let is_open = self.receiving().is_some();
        self.receiving = None;
        if is_open && !is_request {
            self.open.pop_back();
            if record.flags & segment_flag::EXCHANGE != 0 {
                shared.counters.one(Counter::KernelGuessWrong);
            }
        }
    }
}

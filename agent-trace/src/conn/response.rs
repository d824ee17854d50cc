//! The direction that carries responses: exchanges end here.
//!
//! In: segments of that direction, not earlier than their requests. Out: exchanges that are over. Always holds: a
//! response answers the oldest open request that had begun when its bytes moved. Refuses: to give a response to a
//! request when a hole makes it unsure which one it answers.

use std::collections::VecDeque;

use agent_common::abi::{SegmentRecord, direction, segment_flag};
use agent_protocol::http1::framing::{Start, response_start};
use agent_protocol::http1::{BodyEnd, Ended, Reason, ResponseEvent, ResponseHead};
use agent_protocol::stream::Input;

use super::parking::moved_ktime;
use super::{Answering, Conn, Scratch, pieces};
use crate::counters::Counter;
use crate::exchange::{Exchange, Outcome, Wire};
use crate::semconv;
use crate::shared::Shared;

/// A segment whose bytes the parser was given.
struct Piece<'a> {
    record: &'a SegmentRecord,
    payload: &'a [u8],
    /// So many events came of what was before it.
    before: usize,
}

impl Conn {
    pub(super) fn on_response(
        &mut self,
        record: &SegmentRecord,
        payload: &[u8],
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) {
        let ktime_ns = record.head.ktime_ns;
        let moved_ns = moved_ktime(record);
        let eof = record.flags & segment_flag::EOF != 0;
        let (hole, skip) = if eof {
            (None, 0)
        } else {
            self.place(record, shared)
        };
        if !eof && self.idle_ended && !self.is_awaited(moved_ns) {
            shared
                .counters
                .add(Counter::BodyAfterIdleEnd, u64::from(record.len));
            return;
        }
        let awaited = self.is_awaited(moved_ns);
        let turn = self.moves.request_is_newer() && awaited && self.may_begin_response(payload);
        let Some(parsers) = &mut self.parsers else {
            return;
        };
        let begins = !parsers.response.in_message();
        let events = &mut scratch.responses;
        events.clear();
        let mut unseen = hole.is_some();
        let mut is_doubtful = is_loss(&self.open, moved_ns);
        if let Some(hole) = hole {
            let was_inside = parsers.response.in_message();
            parsers.response.push(hole, &mut || None, events);
            // Only a body whose length is known can hold a whole hole for certain.
            let has_length = self
                .open
                .front()
                .and_then(|front| front.response.as_ref())
                .is_some_and(|head| head.has_length);
            is_doubtful |= !(was_inside && has_length && events.is_empty());
        }
        if is_doubtful {
            self.doubt(moved_ns);
        }
        let Some(parsers) = &mut self.parsers else {
            return;
        };
        // The n-th final head of these pieces answers the n-th open request, unless responses are missing.
        let mut next = self.open.iter().filter(|exchange| {
            exchange.is_unanswered() && exchange.start_ktime_ns <= moved_ns && !is_doubtful
        });
        let mut method = || next.next()?.request.as_ref().map(|request| request.asks);
        if turn {
            parsers.response.turn(events);
        }
        // What a hole and a turn say was over before this segment's bytes.
        let before = events.len();
        if eof {
            self.peer_closed |= record.direction == direction::RX;
            parsers.response.end(events);
        } else {
            for piece in pieces(record, payload, skip).into_iter().flatten() {
                unseen |= matches!(piece, Input::Unseen { .. });
                parsers.response.push(piece, &mut method, events);
            }
        }
        let mut events = std::mem::take(&mut scratch.responses);
        if begins && !eof {
            self.answer_pos = Some(record.pos);
        }
        let piece = (!eof).then_some(Piece {
            record,
            payload,
            before,
        });
        self.take_pieces(&mut events, piece, moved_ns, ktime_ns, shared);
        scratch.responses = events;
        self.body_unseen |= unseen;
        if eof {
            return;
        }
        if self.answering == Answering::Front && self.is_in_answer() {
            self.take_answer(record, payload);
        }
        self.was_read(record, shared);
        self.moves.response(moved_ns);
        self.last_response_ktime_ns = ktime_ns;
        if !awaited && self.open.is_empty() && self.answering != Answering::Front {
            self.stray = true;
        }
        self.arm_idle(shared);
    }

    /// Only a response's first bytes are worth a new try of the parser; a turn inside a body would cut it.
    fn may_begin_response(&self, payload: &[u8]) -> bool {
        let is_http = self
            .parsers
            .as_ref()
            .is_some_and(|parsers| parsers.wire == Wire::Http1);
        !is_http || response_start(payload) != Start::No
    }

    /// Events of the response parser, found out by a record of `ktime_ns`.
    pub(super) fn take_responses(
        &mut self,
        events: &mut Vec<ResponseEvent>,
        moved_ns: u64,
        ktime_ns: u64,
        shared: &mut Shared,
    ) {
        self.take_pieces(events, None, moved_ns, ktime_ns, shared);
    }

    /// The head of the open answer was read.
    fn is_in_answer(&self) -> bool {
        let front = self.open.front();
        front.is_some_and(|exchange| exchange.response.is_some())
    }

    /// The same of a segment's bytes.
    fn take_pieces(
        &mut self,
        events: &mut Vec<ResponseEvent>,
        piece: Option<Piece<'_>>,
        moved_ns: u64,
        ktime_ns: u64,
        shared: &mut Shared,
    ) {
        for (nth, event) in events.drain(..).enumerate() {
            match event {
                ResponseEvent::Begin => self.response_begin(moved_ns, ktime_ns, shared),
                ResponseEvent::Interim(_) => self.answering = Answering::Nothing,
                ResponseEvent::Head(head) => self.response_head(head, shared),
                ResponseEvent::End(end) => {
                    let of_piece = piece
                        .as_ref()
                        .filter(|piece| nth >= piece.before && is_end_seen(end.how));
                    if let Some(piece) = of_piece
                        && self.answering == Answering::Front
                    {
                        self.take_answer(piece.record, piece.payload);
                    }
                    self.response_end(end, of_piece.is_some(), ktime_ns, shared);
                }
                ResponseEvent::Unparsed(reason) => {
                    self.response_unparsed(reason, moved_ns, ktime_ns, shared)
                }
            }
        }
    }

    fn response_begin(&mut self, moved_ns: u64, ktime_ns: u64, shared: &mut Shared) {
        while let Some(exchange) = self.open.pop_front_if(|exchange| exchange.response_unseen) {
            shared.complete(
                exchange,
                Outcome::Unseen,
                self.last_response_ktime_ns,
                ktime_ns,
            );
        }
        match self
            .open
            .front_mut()
            .filter(|exchange| exchange.start_ktime_ns <= moved_ns)
        {
            Some(exchange) => {
                exchange.response_begun = true;
                self.answering = Answering::Front;
            }
            None => self.answering = Answering::Stray,
        }
    }

    /// Responses passed unseen, it is not known how many: none of the requests that had begun by then can be sure of
    /// the next one. One status too few is better than a wrong one.
    fn doubt(&mut self, moved_ns: u64) {
        for exchange in &mut self.open {
            if exchange.is_unanswered() && exchange.start_ktime_ns <= moved_ns {
                exchange.response_unseen = true;
            }
        }
    }

    fn response_head(&mut self, head: ResponseHead, shared: &mut Shared) {
        self.unparsed_row = 0;
        self.body_unseen = false;
        self.idle_ended = false;
        match self.answering {
            Answering::Front => {
                if let Some(exchange) = self.open.front_mut() {
                    self.answer_pos = self
                        .answer_pos
                        .filter(|_| exchange.call.is_some())
                        .map(|pos| pos.wrapping_add(head.head_bytes as u32));
                    exchange.response = Some(head.into());
                }
            }
            Answering::Nothing | Answering::Stray => {
                self.answering = Answering::Stray;
                shared.counters.one(Counter::ResponseWithoutRequest);
            }
        }
    }

    /// `is_read`: by the segment that is looked at.
    fn response_end(&mut self, end: BodyEnd, is_read: bool, ktime_ns: u64, shared: &mut Shared) {
        let opaque = end.how == Ended::Opaque;
        let answering = std::mem::replace(&mut self.answering, Answering::Nothing);
        if answering == Answering::Front
            && let Some(mut exchange) = self.open.pop_front()
        {
            exchange.response_body = match end.how {
                Ended::Length | Ended::Chunked | Ended::Record | Ended::NoBody | Ended::Close => {
                    Some(end.body_bytes)
                }
                Ended::Turn | Ended::Truncated | Ended::Opaque => None,
            };
            let last_byte = match end.how {
                Ended::Turn | Ended::Close => self.last_response_ktime_ns,
                Ended::Length
                | Ended::Chunked
                | Ended::Record
                | Ended::NoBody
                | Ended::Truncated
                | Ended::Opaque => ktime_ns,
            };
            self.call_is_over(&mut exchange, is_read, shared);
            let outcome = if end.how == Ended::Truncated {
                Outcome::Failed(self.failure(&exchange, shared))
            } else {
                Outcome::Complete
            };
            shared.complete(exchange, outcome, last_byte, ktime_ns);
        }
        if opaque {
            shared.counters.one(Counter::Upgraded);
            self.ignore(shared);
        }
    }

    fn response_unparsed(
        &mut self,
        reason: Reason,
        moved_ns: u64,
        ktime_ns: u64,
        shared: &mut Shared,
    ) {
        shared.counters.one(Counter::Unparsed);
        if reason.is_about_body() || reason == Reason::Multiplexed {
            self.body_unseen = true;
            return;
        }
        let answering = std::mem::replace(&mut self.answering, Answering::Nothing);
        match reason {
            // FastCGI says that there will be no response.
            Reason::NoHead | Reason::Refused if answering == Answering::Front => {
                let error = if reason == Reason::Refused {
                    semconv::ERROR_REFUSED_REQUEST
                } else {
                    semconv::ERROR_NO_RESPONSE
                };
                if let Some(exchange) = self.open.pop_front() {
                    shared.complete(exchange, Outcome::Failed(error), ktime_ns, ktime_ns);
                }
            }
            Reason::NotHttp => self.unparsed_row = self.unparsed_row.saturating_add(1),
            Reason::LostHead | Reason::UnseenHead | Reason::FirstLineCut => self.doubt(moved_ns),
            _ => {}
        }
    }

    /// Looks again later whether a response whose end cannot be seen goes on.
    fn arm_idle(&mut self, shared: &mut Shared) {
        let unseen = self.open.front().is_some_and(|exchange| {
            exchange.response_unseen || (self.body_unseen && exchange.response.is_some())
        });
        if unseen && !self.idle_armed {
            self.idle_armed = true;
            shared.idle.push_back((
                self.last_response_ktime_ns
                    .saturating_add(shared.config.idle_ns),
                self.socket,
            ));
        }
    }

    /// The time of [`Conn::arm_idle`] has come. Ends the open response if nothing moved for long enough.
    pub(crate) fn on_idle(&mut self, shared: &mut Shared, scratch: &mut Scratch) {
        self.idle_armed = false;
        if self
            .last_response_ktime_ns
            .saturating_add(shared.config.idle_ns)
            > shared.now_ns
        {
            self.arm_idle(shared);
            return;
        }
        let mut was_unseen = false;
        while let Some(exchange) = self.open.pop_front_if(|exchange| exchange.response_unseen) {
            was_unseen = true;
            shared.complete(
                exchange,
                Outcome::Unseen,
                self.last_response_ktime_ns,
                shared.now_ns,
            );
        }
        if was_unseen {
            self.idle_ended = self.open.is_empty();
            return;
        }
        let Some(parsers) = &mut self.parsers else {
            return;
        };
        scratch.responses.clear();
        parsers.response.turn(&mut scratch.responses);
        let ended = !scratch.responses.is_empty();
        let mut events = std::mem::take(&mut scratch.responses);
        self.take_responses(&mut events, shared.now_ns, shared.now_ns, shared);
        scratch.responses = events;
        self.idle_ended = ended && self.open.is_empty();
    }
}

/// Whether the body's last byte said that it is the last. Others are found to be over by what comes next.
const fn is_end_seen(how: Ended) -> bool {
    match how {
        Ended::Length | Ended::Chunked | Ended::Record | Ended::NoBody => true,
        Ended::Turn | Ended::Close | Ended::Truncated | Ended::Opaque => false,
    }
}

/// Whether an answer that begins at that time shows that others are missing: a burst of requests begins after a byte
/// of an answer to the burst before, so the first request of a burst that is not the latest one has been answered.
fn is_loss(open: &VecDeque<Box<Exchange>>, moved_ns: u64) -> bool {
    let is_first = |exchange: &Exchange| exchange.burst_start && exchange.is_unanswered();
    open.front().is_some_and(|front| is_first(front))
        && open
            .iter()
            .skip(1)
            .any(|later| is_first(later) && later.start_ktime_ns <= moved_ns)
}

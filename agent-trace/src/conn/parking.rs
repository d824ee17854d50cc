//! Response bytes that are recorded before the request they answer.
//!
//! In: segments of the responses' direction. Out: the same, once their request is known or will not come any more.
//! Always holds: parked segments are taken up in stream order, after `linger_ns` at the latest. Refuses: more than
//! [`PARKED_MAX`] segments of one connection and `parked_bytes` of all (counted; they are taken up at once).

use agent_common::abi::{SegmentRecord, segment_flag};

use super::{Conn, Scratch};
use crate::counters::Counter;
use crate::moves::{self, Moves};
use crate::shared::Shared;

/// Segments of one connection that may be parked.
const PARKED_MAX: usize = 64;

impl Conn {
    /// Response bytes that no open request can have caused.
    pub(super) fn must_park(&self, record: &SegmentRecord) -> bool {
        let is_end = record.flags & segment_flag::EOF != 0;
        let in_message = self
            .parsers
            .as_ref()
            .is_some_and(|parsers| parsers.response.in_message());
        !in_message
            && !is_end
            && !self.stray
            && !self.idle_ended
            && !self.is_awaited(moved_ktime(record))
    }

    /// Whether a request without a response had begun at that time.
    pub(super) fn is_awaited(&self, ktime_ns: u64) -> bool {
        self.open
            .iter()
            .any(|exchange| exchange.is_unanswered() && exchange.start_ktime_ns <= ktime_ns)
    }

    pub(super) fn park(
        &mut self,
        record: &SegmentRecord,
        payload: &[u8],
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) {
        if self.parked.len() >= PARKED_MAX
            || shared.parked_bytes + payload.len() > shared.config.limits.parked_bytes
        {
            shared.counters.one(Counter::ParkedFull);
            self.drain_parked(true, shared, scratch);
            self.on_response(record, payload, shared, scratch);
            return;
        }
        if self.parked.is_empty() {
            shared.parked.push_back((
                record.head.ktime_ns.saturating_add(shared.config.linger_ns),
                self.socket,
            ));
        }
        shared.parked_bytes += payload.len();
        self.parked.push_back((*record, Box::from(payload)));
    }

    /// Takes up parked segments as far as their requests are known by now, or all of them.
    pub(crate) fn drain_parked(&mut self, all: bool, shared: &mut Shared, scratch: &mut Scratch) {
        while let Some((record, _)) = self.parked.front() {
            let ktime_ns = moved_ktime(record);
            // A request that began later shows that the one of this response will not come any more.
            let stray = self
                .open
                .front()
                .is_some_and(|exchange| exchange.start_ktime_ns > ktime_ns);
            if !all && !stray && !self.stray && self.must_park(record) {
                return;
            }
            let Some((record, payload)) = self.parked.pop_front() else {
                return;
            };
            shared.parked_bytes -= payload.len();
            self.on_response(&record, &payload, shared, scratch);
        }
    }

    /// The connection's moves, with those of what is parked.
    pub(super) fn moves_with_parked(&self) -> Moves {
        let mut moves = self.moves;
        if let Some((latest, _)) = self.parked.back() {
            moves.response(moved_ktime(latest));
        }
        moves
    }

    pub(super) fn unpark(&mut self, shared: &mut Shared) {
        for (_, payload) in self.parked.drain(..) {
            shared.parked_bytes -= payload.len();
        }
    }
}

/// When a segment's bytes can have moved first.
pub(crate) const fn moved_ktime(record: &SegmentRecord) -> u64 {
    moves::moved_ktime(
        record.direction,
        record.enter_ktime_ns,
        record.head.ktime_ns,
    )
}

//! Jobs that a worker's main process hands to its children over a pipe.
//!
//! In: what a child read from a pipe, and wrote. Out: whose its thread's context is; the end of the work. Always holds: a child works for a job
//! only when the pipe named it and its delivery was seen. Refuses: everything else on the pipe.

use agent_common::abi::{SegmentRecord, direction, segment_flag};
use agent_protocol::queue::billiard::{Said, said};
use agent_protocol::queue::{Keyer, System};

use super::units::UnitKey;
use crate::exchange::Ids;
use crate::shared::Shared;
use crate::span::SpanId;

/// A segment of a pipe.
pub(crate) fn on_pipe(record: &SegmentRecord, payload: &[u8], shared: &mut Shared) {
    let (unit, at_ns) = (UnitKey::of_thread(record), record.head.ktime_ns);
    let said = said(payload);
    if record.direction == direction::TX {
        if said == Said::Ready {
            shared.unit_is_ready(unit, at_ns);
        }
        return;
    }
    if record.flags & segment_flag::EXCHANGE == 0 {
        return;
    }
    let Some(ids) = Ids::of(&record.exchange) else {
        return;
    };
    let before = SpanId(record.exchange.parent_span_id.to_ne_bytes());
    let Said::Task(id) = said else {
        shared.graph.contexts().read(ids.span, before, at_ns);
        return;
    };
    // It would not be given another one before.
    shared.unit_is_ready(unit, at_ns);
    let job = Keyer::new(shared.config.message_secret()).job(System::Celery, id);
    match shared.claimed(job, record.process, Some(unit), at_ns) {
        Some(consumer) => shared.graph.contexts().give(ids.span, consumer),
        None => shared.graph.contexts().nobody(ids.span),
    }
}

//! What is learned of an exchange after it was entered, and before its parent is decided.
//!
//! In: later bytes, of it or of others. Out: its facts. Always holds: a decision that was made stays. Refuses: nothing.

use agent_protocol::tracecontext::TraceContext;

use super::{CHAIN_MAX, Graph, Origin, Slot};
use crate::span::{Evidence, SpanId, TraceId};

impl Graph {
    /// The put of the consumer's message was recorded after its delivery.
    pub(crate) fn is_of_message(&mut self, consumer: SpanId, producer: SpanId) {
        if let Some(node) = self
            .table
            .find(consumer)
            .and_then(|slot| self.table.get_mut(slot))
            && node.decision.is_none()
            && node.facts.origin == Origin::None
        {
            node.facts.origin = Origin::Kernel(producer, Evidence::Message);
        }
    }

    /// The call is for the message of this consumer, unless it was decided.
    pub(crate) fn is_for(&mut self, slot: Slot, call: SpanId, consumer: SpanId) {
        if let Some(node) = self.table.get_mut(slot)
            && node.id == call
            && node.decision.is_none()
        {
            node.facts.origin = Origin::Kernel(consumer, Evidence::Settle);
            // What its unit did for other messages may have the same one.
            node.facts.kernel_trace = TraceId::default();
        }
    }

    /// The first of an undecided exchange and those above it of which this holds.
    pub(crate) fn first_above(
        &self,
        slot: Slot,
        id: SpanId,
        is_it: impl Fn(SpanId) -> bool,
    ) -> Option<SpanId> {
        let mut current = slot;
        let mut node = self.table.get(slot).filter(|node| node.id == id)?;
        for _ in 0..CHAIN_MAX {
            if node.decision.is_some() {
                return None;
            }
            if is_it(node.id) {
                return Some(node.id);
            }
            (current, node) = self.candidate(current)?;
        }
        None
    }

    /// Whether the exchange must not be forgotten, though it is over.
    pub(crate) fn keep(&mut self, slot: Slot, is_kept: bool) {
        if let Some(node) = self.table.get_mut(slot) {
            node.is_kept = is_kept;
        }
    }

    /// A message that the exchange puts carries this context. It wins, unless the exchange was decided.
    pub(crate) fn says(&mut self, slot: Slot, header: TraceContext) {
        if let Some(node) = self.table.get_mut(slot)
            && node.decision.is_none()
        {
            node.facts.header = Some(header);
        }
    }

    /// The exchange makes no span: its children are its parent's.
    pub(crate) fn leave_out(&mut self, slot: Slot) {
        if let Some(node) = self.table.get_mut(slot) {
            node.facts.ignored = true;
        }
    }

    /// Another request came on the connection before this one's response was over.
    pub(crate) fn overlap(&mut self, id: SpanId) {
        if let Some(node) = self
            .table
            .find(id)
            .and_then(|slot| self.table.get_mut(slot))
        {
            node.facts.overlaps = true;
        }
    }
}

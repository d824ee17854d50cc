//! What becomes of deliveries and of what was put.
//!
//! In: acks and the like of either end, closes. Out: Settled and Answered. Always holds: each number is answered once. Refuses: numbers
//! that are not known, but for deliveries that the list had no room for.

use super::{Awaited, Talk};
use crate::queue::{Event, Settle};

impl Talk {
    pub(super) fn settle(
        &mut self,
        id: u16,
        tag: u64,
        multiple: bool,
        how: Settle,
        out: &mut dyn FnMut(Event),
    ) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let tags: Vec<u64> = match (multiple, tag) {
            (true, 0) => self.unsettled.range((id, 0)..=(id, u64::MAX)),
            (true, _) => self.unsettled.range((id, 0)..=(id, tag)),
            (false, _) => self.unsettled.range((id, tag)..=(id, tag)),
        }
        .map(|((_, tag), _)| *tag)
        .collect();
        let unknown = (tags.is_empty() && !multiple && channel.overflowed).then_some((tag, false));
        let known = tags
            .into_iter()
            .filter_map(|tag| Some((tag, self.unsettled.remove(&(id, tag))?)));
        for (tag, _) in known.chain(unknown).filter(|(_, is_internal)| !is_internal) {
            let delivery = number(id, channel.incarnation, tag);
            out(Event::Settled { delivery, how });
        }
    }

    /// The broker answers puts.
    pub(super) fn confirm(
        &mut self,
        id: u16,
        tag: u64,
        multiple: bool,
        error: Option<&str>,
        out: &mut dyn FnMut(Event),
    ) {
        let least = if multiple { 0 } else { tag };
        let most = if multiple && tag == 0 { u64::MAX } else { tag };
        let at: Vec<_> = self
            .awaited
            .range((id, least)..=(id, most))
            .map(|(at, _)| *at)
            .collect();
        for at in at {
            if let Some(Awaited { operation, .. }) = self.awaited.remove(&at) {
                let error = error.map(str::to_owned);
                out(Event::Answered { operation, error });
            }
        }
    }

    /// The broker closed a channel.
    pub(super) fn closed(
        &mut self,
        id: u16,
        error: &str,
        by_publish: bool,
        out: &mut dyn FnMut(Event),
    ) {
        let answers = self
            .channels
            .get(&id)
            .filter(|channel| channel.confirms.is_some() || channel.in_transaction);
        if answers.is_some() {
            self.confirm(id, 0, true, Some(error), out);
        } else if by_publish
            && let Some(operation) = self.channels.get(&id).and_then(|channel| channel.last_put)
        {
            let error = Some(error.to_owned());
            out(Event::Answered { operation, error });
        }
        self.settle(id, 0, true, Settle::Requeue, out);
        self.forget(id);
    }

    pub(super) fn forget(&mut self, id: u16) {
        self.incarnations += 1;
        self.channels.remove(&id);
        self.consumers.retain(|(of, _), _| *of != id);
        self.awaited.retain(|(of, _), _| *of != id);
        self.unsettled.retain(|(of, _), _| *of != id);
        for contents in &mut self.contents {
            contents.remove(&id);
        }
    }
}

/// Bits of a delivery tag in a delivery's number.
const TAG: u64 = 0xf_ffff_ffff;

/// `Delivered::delivery`: channel, its incarnation, delivery tag.
pub(super) fn number(channel: u16, incarnation: u64, tag: u64) -> u64 {
    u64::from(channel) << 48 | (incarnation & 0xfff) << 36 | tag & TAG
}

/// The delivery tag in a number.
pub(super) fn tag_of(delivery: u64) -> u64 {
    delivery & TAG
}

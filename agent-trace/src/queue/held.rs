//! How many messages each thread has read that are not over.
//!
//! In: deliveries with the thread that read them, and their ends. Out: whether a thread has any left, and any of which it will say what became
//! of them. Always holds: an entry goes with its last message, so that there are no more than there is open work. Refuses: nothing.

use rustc_hash::FxHashMap;

use super::units::UnitKey;

#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    numbered: u32,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Held(FxHashMap<UnitKey, Count>);

impl Held {
    /// `is_numbered`: its consumer says by its number what became of it.
    pub(super) fn hold(&mut self, reader: Option<UnitKey>, is_numbered: bool) {
        let Some(reader) = reader else { return };
        let count = self.0.entry(reader).or_default();
        count.all += 1;
        count.numbered += u32::from(is_numbered);
    }

    /// One that was held so is over, or somebody else's.
    pub(super) fn release(&mut self, reader: Option<UnitKey>, is_numbered: bool) {
        let Some(reader) = reader else { return };
        let Some(count) = self.0.get_mut(&reader) else {
            return;
        };
        count.all = count.all.saturating_sub(1);
        count.numbered = count.numbered.saturating_sub(u32::from(is_numbered));
        if count.all == 0 {
            self.0.remove(&reader);
        }
    }

    /// Whether the thread has read messages that are not over.
    pub(super) fn has_any(&self, reader: UnitKey) -> bool {
        self.0.contains_key(&reader)
    }

    /// Whether it will say of some of them what became of them.
    pub(super) fn has_numbered(&self, reader: UnitKey) -> bool {
        self.0.get(&reader).is_some_and(|count| count.numbered > 0)
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::ProcessKey;

    use super::Held;
    use crate::queue::units::UnitKey;

    #[test]
    fn a_thread_has_messages_until_the_last_one_is_over() {
        let thread = |tid| UnitKey {
            process: ProcessKey::default(),
            tid,
        };
        let mut held = Held::default();
        held.hold(Some(thread(1)), true);
        held.hold(Some(thread(1)), false);
        held.hold(None, true);
        held.release(Some(thread(1)), true);
        assert!(held.has_any(thread(1)) && !held.has_numbered(thread(1)));
        held.release(Some(thread(1)), false);
        held.release(Some(thread(1)), false);
        assert!(!held.has_any(thread(1)) && held.0.is_empty());
        assert!(!held.has_any(thread(2)));
    }
}

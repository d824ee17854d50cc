//! Contexts that the kernel side made when a unit read from a broker: whose work each is.
//!
//! In: reads, in the order of records, each with the context its unit had before. Out: the consumer's exchange a context stands for, or nobody.
//! Always holds: a read that brought no message goes on with what its unit did before; what comes after the end of that is nobody's;
//! bounded, the oldest goes first. Refuses: nothing.

use crate::aged::Aged;
use crate::span::SpanId;

/// Most contexts; the oldest goes first.
const CONTEXTS_MAX: usize = 65_536;
/// Most consumers remembered as over.
const OVER_MAX: usize = 16_384;
/// How long a context is kept, ns: as long as the kernel side keeps one (`CONTEXT_AGE_MAX_NS`).
const KEEP_NS: u64 = 900_000_000_000;

/// What a span id that a call names as its parent stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Itself: it is no context of this module's.
    Itself,
    /// This consumer's.
    Of(SpanId),
    /// Nobody's: what was read was no work, or it is over.
    Nobody,
}

/// See the module.
pub(crate) struct Contexts {
    whose: Aged<SpanId, Option<SpanId>>,
    over: Aged<SpanId, ()>,
}

impl Default for Contexts {
    fn default() -> Self {
        Self {
            whose: Aged::new(CONTEXTS_MAX, KEEP_NS),
            over: Aged::new(OVER_MAX, KEEP_NS),
        }
    }
}

impl Contexts {
    /// The unit read something that is no message; before that its context was `before`.
    pub(crate) fn read(&mut self, context: SpanId, before: SpanId, now_ns: u64) {
        let whose = match self.resolve(before) {
            Whose::Of(consumer) if !self.over.has(&consumer) => Some(consumer),
            _ => None,
        };
        self.set(context, whose, now_ns);
    }

    /// The context is this consumer's; it may be its own id.
    pub(crate) fn give(&mut self, context: SpanId, consumer: SpanId, now_ns: u64) {
        self.set(context, Some(consumer), now_ns);
    }

    /// The unit read more than one message, or one while it may be at work on another: nobody knows for which it works now.
    pub(crate) fn nobody(&mut self, context: SpanId, now_ns: u64) {
        self.set(context, None, now_ns);
    }

    /// What is read from now on is no part of this consumer's work.
    pub(crate) fn end(&mut self, consumer: SpanId, now_ns: u64) {
        self.over.put(consumer, (), now_ns);
    }

    /// See [`Whose`].
    pub(crate) fn resolve(&self, span: SpanId) -> Whose {
        match self.whose.get(&span) {
            None => Whose::Itself,
            Some(Some(consumer)) => Whose::Of(*consumer),
            Some(None) => Whose::Nobody,
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.whose.sweep(now_ns);
        self.over.sweep(now_ns);
    }

    fn set(&mut self, context: SpanId, whose: Option<SpanId>, now_ns: u64) {
        self.whose.put(context, whose, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::{Contexts, Whose};
    use crate::span::SpanId;

    fn id(number: u8) -> SpanId {
        SpanId([number; 8])
    }

    #[test]
    fn replies_go_on_with_the_work_and_end_with_it() {
        let mut contexts = Contexts::default();
        contexts.read(id(1), SpanId::default(), 1);
        assert_eq!(contexts.resolve(id(1)), Whose::Nobody);
        contexts.give(id(2), id(2), 2);
        contexts.read(id(3), id(2), 3);
        contexts.read(id(4), id(3), 4);
        assert_eq!(contexts.resolve(id(4)), Whose::Of(id(2)));
        contexts.end(id(2), 4);
        contexts.read(id(5), id(4), 5);
        assert_eq!(contexts.resolve(id(5)), Whose::Nobody);
        assert_eq!(contexts.resolve(id(4)), Whose::Of(id(2)));
        assert_eq!(contexts.resolve(id(9)), Whose::Itself);
        contexts.nobody(id(6), 6);
        contexts.read(id(7), id(6), 7);
        assert_eq!(contexts.resolve(id(7)), Whose::Nobody);
    }
}

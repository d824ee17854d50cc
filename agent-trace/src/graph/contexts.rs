//! Contexts that the kernel side made when a unit read from a broker: whose work each is.
//!
//! In: reads, in the order of records, each with the context its unit had before. Out: the consumer's exchange a context stands for, or nobody.
//! Always holds: a read that brought no message goes on with what its unit did before; what comes after the end of that is nobody's;
//! bounded. Refuses: nothing.
//!
//! Each answer of each broker makes a context, and few are ever asked for, so that writing one is the hot path: they lie in sets of
//! [`WAYS`], by their id, and one cache line is touched.

use agent_common::limits::CONTEXT_AGE_MAX_NS;

use super::Origin;
use crate::aged::Aged;
use crate::ahead;
use crate::span::{Evidence, SpanId};

/// Contexts that share a place: a cache line's.
const WAYS: usize = 4;
/// Places: 65,536 contexts in all.
const SETS: usize = 16_384;
/// Most contexts of goroutines of which more is known than whose they are.
const MARKS_MAX: usize = 65_536;
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

/// One context, and whose it is: no id for nobody.
type Entry = (SpanId, SpanId);

/// Those that share a place, the newest first.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

/// What else is known of a goroutine's context.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// It is of those goroutines only that were made under it: their maker may be at work on another message.
    of_made: bool,
    /// The goroutine that read it has asked for its next message.
    asked: bool,
}

/// See the module.
pub(crate) struct Contexts {
    /// Empty until there is one: most hosts' agents meet no broker.
    whose: Vec<Set>,
    marks: Aged<SpanId, Mark>,
    over: Aged<SpanId, ()>,
}

/// The set of a context. (Its id is random.)
fn place(context: SpanId) -> usize {
    u64::from_ne_bytes(context.0) as usize % SETS
}

impl Contexts {
    /// `over_max`: most consumers remembered as over. As many as can be named as a parent, or one that is over were named as if it were not.
    pub(crate) fn new(over_max: usize) -> Self {
        Self {
            whose: Vec::new(),
            marks: Aged::new(MARKS_MAX, CONTEXT_AGE_MAX_NS),
            over: Aged::new(over_max, CONTEXT_AGE_MAX_NS),
        }
    }

    /// One of the others is called soon for `context`.
    pub(crate) fn expect(&self, context: SpanId) {
        if let Some(set) = self.whose.get(place(context)) {
            ahead::fetch((&raw const *set).cast(), size_of::<Set>());
        }
    }

    /// The unit read something that is no message; before that its context was `before`.
    pub(crate) fn read(&mut self, context: SpanId, before: SpanId, now_ns: u64) {
        let mark = self.marks.get(&before).copied().unwrap_or_default();
        self.set(context, self.at_work(before).unwrap_or_default());
        if mark.of_made && !mark.asked {
            self.marks.put(context, mark, now_ns);
        }
    }

    /// The consumer that a unit with this context may be at work for.
    pub(crate) fn at_work(&self, context: SpanId) -> Option<SpanId> {
        let has_asked = self.marks.get(&context).is_some_and(|mark| mark.asked);
        match self.resolve(context) {
            Whose::Of(consumer) if !has_asked && !self.over.has(&consumer) => Some(consumer),
            _ => None,
        }
    }

    /// The context is this consumer's; it may be its own id.
    pub(crate) fn give(&mut self, context: SpanId, consumer: SpanId) {
        self.set(context, consumer);
    }

    /// The unit read more than one message, or one while it may be at work on another: nobody knows for which it works now.
    pub(crate) fn nobody(&mut self, context: SpanId) {
        self.set(context, SpanId::default());
    }

    /// The context is its own consumer's, but of goroutines only that are made under it.
    pub(crate) fn give_to_made(&mut self, context: SpanId, now_ns: u64) {
        self.set(context, context);
        let mark = Mark {
            of_made: true,
            asked: false,
        };
        self.marks.put(context, mark, now_ns);
    }

    /// The goroutine that has this context asks for its next message: returns the consumer it worked for.
    pub(crate) fn asks(&mut self, context: SpanId, now_ns: u64) -> Option<SpanId> {
        let Whose::Of(consumer) = self.resolve(context) else {
            return None;
        };
        let before = self.marks.get(&context).copied().unwrap_or_default();
        let mark = Mark {
            asked: true,
            ..before
        };
        self.marks.put(context, mark, now_ns);
        Some(consumer)
    }

    /// What is read from now on is no part of this consumer's work.
    pub(crate) fn end(&mut self, consumer: SpanId, now_ns: u64) {
        self.over.put(consumer, (), now_ns);
    }

    /// See [`Whose`].
    pub(crate) fn resolve(&self, span: SpanId) -> Whose {
        let set = self.whose.get(place(span));
        let mut entries = set.iter().flat_map(|set| set.0);
        match entries.find(|(context, _)| *context == span) {
            Some((_, consumer)) if consumer == SpanId::default() => Whose::Nobody,
            Some((_, consumer)) => Whose::Of(consumer),
            None => Whose::Itself,
        }
    }

    /// Whether an origin is a context that is nobody's: what its unit does has no more in common than the unit.
    pub(crate) fn is_nobodys(&self, origin: Origin) -> bool {
        matches!(origin, Origin::Kernel(parent, evidence) if self.resolve_call(parent, evidence) == Whose::Nobody)
    }

    /// Whose a call is that names this context by `evidence`.
    pub(crate) fn resolve_call(&self, span: SpanId, evidence: Evidence) -> Whose {
        let is_for_made = || self.marks.get(&span).is_some_and(|mark| mark.of_made);
        if evidence == Evidence::Goroutine && is_for_made() {
            return Whose::Nobody;
        }
        self.resolve(span)
    }

    /// Whether a call that begins now names the context of a job that is over: a goroutine that was made for it may have gone on with
    /// something else.
    pub(crate) fn is_late(&self, origin: Origin) -> bool {
        let Origin::Kernel(span, Evidence::Spawn) = origin else {
            return false;
        };
        match self.resolve(span) {
            Whose::Of(consumer) => self.over.has(&consumer),
            // A consumer's own context that was forgotten here is still its exchange's id.
            Whose::Itself => self.over.has(&span),
            Whose::Nobody => false,
        }
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.marks.sweep(now_ns);
        self.over.sweep(now_ns);
    }

    fn set(&mut self, context: SpanId, consumer: SpanId) {
        if self.whose.is_empty() {
            self.whose = vec![Set::default(); SETS];
        }
        let Some(Set(set)) = self.whose.get_mut(place(context)) else {
            return;
        };
        if let Some(entry) = set.iter_mut().find(|(before, _)| *before == context) {
            entry.1 = consumer;
            return;
        }
        // Those that are nobody's go first: they are many, and are asked for at once or never.
        let is_nobodys = |(_, consumer): &Entry| *consumer == SpanId::default();
        let gone = set.iter().rposition(is_nobodys).unwrap_or(WAYS - 1);
        set.copy_within(..gone, 1);
        set[0] = (context, consumer);
    }
}

#[cfg(test)]
mod tests {
    use super::{Contexts, Origin, SETS, WAYS, Whose};
    use crate::span::{Evidence, SpanId};

    const OVER_MAX: usize = 65_536;

    fn id(number: u8) -> SpanId {
        SpanId([number; 8])
    }

    #[test]
    fn a_job_that_is_over_stays_so_while_others_end_and_when_its_context_is_forgotten() {
        let mut contexts = Contexts::new(OVER_MAX);
        let is_late =
            |contexts: &Contexts, span| contexts.is_late(Origin::Kernel(span, Evidence::Spawn));
        contexts.give(id(1), id(1));
        assert!(!is_late(&contexts, id(1)));
        contexts.end(id(1), 1);
        for number in 1..OVER_MAX as u64 {
            contexts.end(SpanId(number.to_ne_bytes()), 2);
        }
        assert!(is_late(&contexts, id(1)));
        let same_place = |nth: usize| {
            let number = u64::from_ne_bytes(id(1).0).wrapping_add((nth * SETS) as u64);
            SpanId(number.to_ne_bytes())
        };
        for nth in 1..=WAYS {
            contexts.give(same_place(nth), same_place(nth));
        }
        assert_eq!(contexts.resolve(id(1)), Whose::Itself);
        assert!(is_late(&contexts, id(1)));
        contexts.end(id(9), 3);
        assert!(!is_late(&contexts, id(1)));
    }

    #[test]
    fn replies_go_on_with_the_work_and_end_with_it() {
        let mut contexts = Contexts::new(OVER_MAX);
        contexts.read(id(1), SpanId::default(), 1);
        assert_eq!(contexts.resolve(id(1)), Whose::Nobody);
        contexts.give(id(2), id(2));
        contexts.read(id(3), id(2), 1);
        contexts.read(id(4), id(3), 1);
        assert_eq!(contexts.resolve(id(4)), Whose::Of(id(2)));
        contexts.end(id(2), 4);
        contexts.read(id(5), id(4), 1);
        assert_eq!(contexts.resolve(id(5)), Whose::Nobody);
        assert_eq!(contexts.resolve(id(4)), Whose::Of(id(2)));
        assert_eq!(contexts.resolve(id(9)), Whose::Itself);
        contexts.nobody(id(6));
        contexts.read(id(7), id(6), 1);
        assert_eq!(contexts.resolve(id(7)), Whose::Nobody);
    }

    #[test]
    fn of_contexts_at_one_place_the_oldest_is_forgotten_first_and_nobodys_before_all_others() {
        let mut contexts = Contexts::new(OVER_MAX);
        let at_one_place = |number: u8| SpanId([7, 0, 0, 0, 0, 0, 0, number]);
        contexts.give(at_one_place(1), id(1));
        for number in 101..=150 {
            contexts.nobody(at_one_place(number));
        }
        assert_eq!(contexts.resolve(at_one_place(1)), Whose::Of(id(1)));
        assert_eq!(contexts.resolve(at_one_place(147)), Whose::Itself);
        assert_eq!(contexts.resolve(at_one_place(148)), Whose::Nobody);
        for number in 2..=5 {
            contexts.give(at_one_place(number), id(number));
        }
        assert_eq!(contexts.resolve(at_one_place(1)), Whose::Itself);
        for number in 2..=5 {
            let whose = contexts.resolve(at_one_place(number));
            assert_eq!(whose, Whose::Of(id(number)), "{number}");
        }
    }
}

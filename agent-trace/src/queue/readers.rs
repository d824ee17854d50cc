//! What a goroutine that takes messages is at: whether it, or those it makes, work for the next one.
//!
//! In: reads of goroutines, with the context each had before and whether it made a goroutine since. Out: whose the new context is. Always
//! holds: a goroutine that read a message and made another one before its next read left the message to that one; one that read two and
//! made none in between is trusted with neither, nor are those it makes, until both are over. Refuses: goroutines that are given
//! messages over channels.
//!
//! ```text
//!   read m1, make A, read m2, make B     A works for m1, B for m2; what the reader itself does is nobody's while m1 is open   (asynq)
//!   read m1, read m2, make A, make B     nobody's
//! ```

use super::work::{system_of, works_in_turn};
use crate::exchange::Outcome;
use crate::graph::Whose;
use crate::shared::Shared;
use crate::span::SpanId;

/// Most messages that a goroutine may have left to others; more, and it is trusted with none itself.
const LEFT_MAX: usize = 1_024;

/// A goroutine, between two reads.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Messages that it may work on itself.
    held: Vec<SpanId>,
    /// Those it left to others that are still at work on them.
    left: Vec<SpanId>,
    is_crowded: bool,
    is_mixed: bool,
}

impl Reader {
    /// Whether those it makes work for the next message.
    pub(crate) fn is_free(&self) -> bool {
        self.held.is_empty() && !self.is_mixed
    }

    /// Whether all it read is over.
    pub(crate) fn is_done(&self) -> bool {
        self.is_free() && self.left.is_empty() && !self.is_crowded
    }

    /// It reads on: `has_made` a goroutine since its read before.
    fn goes_on(&mut self, has_made: bool, is_open: impl Fn(&SpanId) -> bool) {
        self.held.retain(&is_open);
        self.left.retain(&is_open);
        if has_made && !self.is_mixed {
            self.is_crowded |= self.left.len() + self.held.len() > LEFT_MAX;
            if !self.is_crowded {
                self.left.append(&mut self.held);
            }
            self.held.clear();
        }
        self.is_mixed &= !self.held.is_empty();
    }

    /// It was given this one.
    pub(crate) fn takes(&mut self, consumer: SpanId) {
        self.is_mixed |= !self.held.is_empty();
        if self.held.len() < LEFT_MAX {
            self.held.push(consumer);
        }
    }
}

impl Shared {
    /// The goroutine whose context was `before` reads again.
    pub(crate) fn reader(&mut self, before: SpanId, has_made: bool) -> Reader {
        let mut reader = self.work.readers.take(&before).unwrap_or_else(|| {
            let held = match self.graph.contexts().resolve(before) {
                Whose::Of(consumer) => vec![consumer],
                Whose::Itself | Whose::Nobody => Vec::new(),
            };
            Reader {
                held,
                ..Reader::default()
            }
        });
        let open = &self.work.open;
        reader.goes_on(has_made, |consumer| open.contains_key(consumer));
        reader
    }

    /// Its context is this one now.
    pub(crate) fn reader_is(&mut self, context: SpanId, reader: Reader, at_ns: u64) {
        // Most have no message: nothing need be remembered of them.
        if !reader.is_done() {
            self.work.readers.put(context, reader, at_ns);
        }
    }

    /// The goroutine with this context asks for its next message: the one before is over, where only that tells.
    pub(crate) fn reader_fetches(&mut self, context: SpanId, at_ns: u64) {
        let Some(consumer) = self.graph.contexts().asks(context, at_ns) else {
            return;
        };
        let open = self.work.open.get(&consumer);
        if open.is_some_and(|open| works_in_turn(system_of(open))) {
            self.end_work(consumer, Outcome::Complete, at_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reader;
    use crate::span::SpanId;

    /// `r`: a message is read, `m`: a goroutine is made. For each message: `made` when those made work for it, `own` when its reader, too.
    fn outcome(steps: &str) -> String {
        let (mut reader, mut has_made, mut open) = (Reader::default(), false, BTreeSet::new());
        let mut text = String::new();
        for (at, step) in steps.bytes().enumerate() {
            let id = SpanId([at as u8 + 1; 8]);
            match step {
                b'm' => has_made = true,
                b'e' => {
                    // The first that is open is over.
                    open.pop_first();
                }
                _ => {
                    reader.goes_on(std::mem::take(&mut has_made), |id| open.contains(id));
                    text += match (reader.is_free(), reader.is_done()) {
                        (true, true) => "own ",
                        (true, false) => "made ",
                        _ => "nobody ",
                    };
                    reader.takes(id);
                    open.insert(id);
                }
            }
        }
        text
    }

    #[test]
    fn a_goroutine_is_made_for_the_message_that_was_read_just_before() {
        for (steps, expected) in [
            ("rerer", "own own own "),
            ("rmrmrm", "own made made "),
            ("rmermemr", "own own own "),
            ("rrmm", "own nobody "),
            ("rrmrmrm", "own nobody nobody nobody "),
            ("rrmeerm", "own nobody own "),
            ("rmrrm", "own made nobody "),
        ] {
            assert_eq!(outcome(steps), expected, "{steps}");
        }
    }
}

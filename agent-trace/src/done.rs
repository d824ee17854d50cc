//! Exchanges that are over and wait for their parents' records, in the order in which they ended.
//!
//! In: exchanges as it is found out that they are over. Out: each, the one that ended first before all others. Always holds:
//! what is found out late (a connection's end is believed only when no record of it can come any more) has its place among
//! those that were found out at once: an attempt comes before its repetition. Refuses: nothing.

use std::collections::VecDeque;

use crate::exchange::Exchange;

/// See the module.
#[derive(Default)]
pub(crate) struct Done {
    /// With the time of the record that ended it, in its order: two queues, because at full load nearly all come in order.
    prompt: VecDeque<(u64, Box<Exchange>)>,
    late: VecDeque<(u64, Box<Exchange>)>,
}

impl Done {
    /// The exchange ended with a record of `ktime_ns`.
    pub(crate) fn put(&mut self, ktime_ns: u64, exchange: Box<Exchange>) {
        let in_order =
            |queue: &VecDeque<(u64, _)>| queue.back().is_none_or(|&(latest, _)| latest <= ktime_ns);
        if in_order(&self.prompt) {
            self.prompt.push_back((ktime_ns, exchange));
        } else if in_order(&self.late) {
            self.late.push_back((ktime_ns, exchange));
        } else {
            let at = self.late.partition_point(|&(at, _)| at <= ktime_ns);
            self.late.insert(at, (ktime_ns, exchange));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.prompt.len() + self.late.len()
    }

    /// Whether the next one is of the queue `late`.
    fn is_late_next(&self) -> bool {
        match (self.prompt.front(), self.late.front()) {
            (Some(&(prompt, _)), Some(&(late, _))) => late <= prompt,
            (prompt, _) => prompt.is_none(),
        }
    }

    /// One that will be next after about `count` others.
    pub(crate) fn after_next(&self, count: usize) -> Option<&Exchange> {
        self.prompt.get(count).map(|(_, exchange)| &**exchange)
    }

    /// The next one and the time of its record.
    pub(crate) fn next(&self) -> Option<(u64, &Exchange)> {
        let queue = if self.is_late_next() {
            &self.late
        } else {
            &self.prompt
        };
        queue.front().map(|(at, exchange)| (*at, &**exchange))
    }

    /// Takes the next one.
    pub(crate) fn take(&mut self) -> Option<Box<Exchange>> {
        let queue = if self.is_late_next() {
            &mut self.late
        } else {
            &mut self.prompt
        };
        queue.pop_front().map(|(_, exchange)| exchange)
    }
}

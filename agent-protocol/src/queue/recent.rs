//! A bounded table of what is waited for.
//!
//! In: numbers and what belongs to them. Out: that, once. Always holds: no more than `most` entries; the oldest goes first.

use std::collections::{HashMap, VecDeque};

/// Entries by number, the newest `most` of them.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    by: HashMap<u128, (u64, V)>,
    /// Numbers in the order in which they came, with the count at that time; some are taken already.
    order: VecDeque<(u64, u128)>,
    count: u64,
    most: usize,
}

impl<V> Recent<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            by: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            most: most.max(1),
        }
    }

    pub(crate) fn insert(&mut self, number: u128, value: V) {
        self.count += 1;
        self.by.insert(number, (self.count, value));
        self.order.push_back((self.count, number));
        while self.by.len() > self.most
            && let Some((count, oldest)) = self.order.pop_front()
        {
            if self.by.get(&oldest).is_some_and(|(of, _)| *of == count) {
                self.by.remove(&oldest);
            }
        }
        if self.order.len() > 2 * self.most {
            let by = &self.by;
            self.order
                .retain(|(count, number)| by.get(number).is_some_and(|(of, _)| of == count));
        }
    }

    pub(crate) fn take(&mut self, number: u128) -> Option<V> {
        self.by.remove(&number).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        self.by.contains_key(&number)
    }

    pub(crate) fn held(&self) -> usize {
        self.order.len() * size_of::<(u64, u128)>() + self.by.len() * size_of::<(u128, (u64, V))>()
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_newest_are_kept_and_each_is_taken_once() {
        let mut recent = Recent::new(2);
        for number in [1, 2, 1, 3] {
            recent.insert(number, number);
        }
        let taken: Vec<_> = [1, 2, 3, 3].map(|number| recent.take(number)).into();
        assert_eq!(taken, [Some(1), None, Some(3), None]);
        for number in 0..1000 {
            recent.insert(number, number);
            recent.take(number);
            assert!(recent.order.len() <= 5);
        }
    }
}

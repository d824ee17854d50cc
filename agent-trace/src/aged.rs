//! A bounded table whose oldest entries go first.
//!
//! In: entries with the time at which they were made. Out: values by key. Always holds: at most `limit` entries, none kept longer than
//! `keep_ns` over a sweep; an entry that is written again keeps its age. Refuses: nothing.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// For tables that forget only when they are full.
pub(crate) const FOR_EVER: u64 = u64::MAX;

/// See the module.
pub(crate) struct Aged<K, V> {
    limit: usize,
    keep_ns: u64,
    values: FxHashMap<K, V>,
    by_age: VecDeque<(u64, K)>,
}

impl<K: Copy + Eq + Hash, V> Aged<K, V> {
    /// Empty.
    pub(crate) fn new(limit: usize, keep_ns: u64) -> Self {
        Self {
            limit,
            keep_ns,
            values: FxHashMap::default(),
            by_age: VecDeque::new(),
        }
    }

    /// Writes an entry.
    pub(crate) fn put(&mut self, key: K, value: V, now_ns: u64) {
        if self.values.insert(key, value).is_none() {
            self.by_age.push_back((now_ns, key));
        }
        if self.by_age.len() > self.limit {
            self.forget_oldest();
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// Takes an entry. Its place stays until its turn comes, so a key that is taken should not come again soon.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        self.values.remove(key)
    }

    /// Whether there is one.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        while self
            .by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(self.keep_ns) < now_ns)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Aged;

    #[test]
    fn the_oldest_goes_first_and_what_is_too_old_goes_at_a_sweep() {
        let mut aged = Aged::new(2, 10);
        aged.put(1, 'a', 100);
        aged.put(2, 'b', 101);
        aged.put(1, 'c', 102);
        aged.put(3, 'd', 103);
        assert_eq!(
            (aged.get(&1), aged.get(&2), aged.has(&3)),
            (None, Some(&'b'), true)
        );
        aged.sweep(112);
        assert_eq!((aged.has(&2), aged.has(&3)), (false, true));
    }
}

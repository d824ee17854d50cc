//! How many parents are what.
//!
//! In: what judges count. Out: sums and percentages. Always holds: a place is counted once; spans beyond those that are due are counted beside. Refuses: nothing.

use std::ops::AddAssign;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// The true parent (of a retry: the link to the attempt before).
    pub right: usize,
    /// No parent, but a link to it.
    pub link: usize,
    /// None.
    pub root: usize,
    /// Another's.
    pub wrong: usize,
    /// No span, or none of the parent's.
    pub missing: usize,
    /// Spans beyond those that are due.
    pub doubled: usize,
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.link += other.link;
        self.root += other.root;
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.doubled += other.doubled;
    }
}

impl Score {
    /// The part that is right, in percent; 100 of nothing.
    pub fn percent(&self) -> f64 {
        let all = self.right + self.link + self.root + self.wrong + self.missing;
        if all == 0 {
            return 100.0;
        }
        100.0 * (self.right + self.link) as f64 / all as f64
    }

    /// What must be 0.
    pub fn defects(&self) -> usize {
        self.wrong + self.missing + self.doubled
    }
}

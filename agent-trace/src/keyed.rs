//! Keyed hashes: what is compared and never kept.
//!
//! In: parts of what was said, and the daemon's secret. Out: 64 bits. Always holds: only whether two of them are equal
//! means anything; parts are separated, so that "a", "bc" is not "ab", "c". Refuses: what a recording hides (`x` for
//! each byte), because in a replay all that was hidden would look the same.

use std::hash::{DefaultHasher, Hasher};

/// A hash in the making (SipHash, with the secret before everything else).
pub(crate) struct Keyed(DefaultHasher);

impl Keyed {
    /// `what` tells hashes of different things apart.
    pub(crate) fn new(secret: u64, what: u8) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(secret);
        hasher.write_u8(what);
        Self(hasher)
    }

    pub(crate) fn bytes(&mut self, part: &[u8]) {
        self.0.write_usize(part.len());
        self.0.write(part);
    }

    pub(crate) fn number(&mut self, part: u64) {
        self.0.write_u64(part);
    }

    /// The hash, never 0.
    pub(crate) fn finish(&self) -> u64 {
        self.0.finish().max(1)
    }
}

/// Whether a recording may have put this there in place of something else.
pub(crate) fn is_hidden(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|&byte| byte == b'x')
}

//! What a request's body was, as a hash: its bytes are gone when the request's span is made.
//!
//! In: captured pieces of the direction that carries requests, with their stream positions. Out: one hash. Always holds:
//! the hash is that of the whole body, or there is none. Refuses: bodies of which a byte was not captured, and those that a
//! recording hides.

use crate::keyed::Keyed;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// Stream position of its next byte; `None`: not known, or bytes were missed.
    next: Option<u32>,
    hash: u64,
    /// So far it may have been a recording's: `x` for each byte, and chunks' sizes.
    is_hidden: bool,
}

impl Body {
    /// A body whose first byte has this position.
    pub(crate) const fn at(pos: Option<u32>) -> Self {
        Self {
            next: pos,
            hash: 0,
            is_hidden: true,
        }
    }

    /// Bytes of it cannot be seen.
    pub(crate) const fn lose(&mut self) {
        self.next = None;
    }

    /// How many of the bytes at `pos` come before its next one; `None`: bytes were missed.
    pub(crate) fn skip(&self, pos: u32) -> Option<u32> {
        Some(self.next?.wrapping_sub(pos))
    }

    /// Its first bytes, as far as they are among those captured at `pos`.
    pub(crate) fn first<'a>(&self, pos: u32, captured: &'a [u8]) -> Option<&'a [u8]> {
        let skip = self.next?.wrapping_sub(pos) as usize;
        captured
            .get(skip..)
            .filter(|bytes| self.hash == 0 && !bytes.is_empty())
    }

    /// `len` bytes moved at `pos`, of which the first ones were captured.
    pub(crate) fn take(&mut self, secret: u64, pos: u32, captured: &[u8], len: u32) {
        let Some(next) = self.next else {
            return;
        };
        // The head, or what was told before.
        let skip = next.wrapping_sub(pos);
        if skip == len {
            return;
        }
        let bytes = captured.get(skip as usize..).unwrap_or_default();
        if skip > len || bytes.is_empty() || (captured.len() as u64) < u64::from(len) {
            self.next = None;
            return;
        }
        let mut hash = Keyed::new(secret, b'b');
        hash.number(self.hash);
        hash.bytes(bytes);
        self.hash = hash.finish();
        self.is_hidden &= bytes.iter().all(is_kept);
        self.next = Some(pos.wrapping_add(len));
    }

    /// The hash of a body that has ended.
    pub(crate) fn whole(&self) -> Option<u64> {
        (self.next.is_some() && self.hash != 0 && !self.is_hidden).then_some(self.hash)
    }
}

/// What is left of a body in a recording.
const fn is_kept(byte: &u8) -> bool {
    matches!(byte, b'x' | b';' | b'\r' | b'\n') || byte.is_ascii_hexdigit()
}

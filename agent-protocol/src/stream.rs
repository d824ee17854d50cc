//! One direction of a connection as it reaches a parser, and how much a parser may keep of it.
//!
//! In: nothing; these are the types a caller fills. Always holds: pieces are given in stream order, none twice.

use std::sync::Arc;

/// One piece of one direction of a connection, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes that moved and were captured.
    Bytes(&'a [u8]),
    /// Bytes that moved and were not captured.
    Unseen {
        /// How many, with those in `tail`.
        len: u64,
        /// The last of them (the kernel side keeps at most 8); may be empty.
        tail: &'a [u8],
    },
    /// Records were lost: what moved is not known.
    Lost {
        /// Bytes in the hole, where stream positions tell.
        len: Option<u64>,
    },
}

/// Default of [`Limits::head_bytes`]: the most the kernel side captures of one head.
pub const HEAD_BYTES_DEFAULT: usize = 16 * 1024;
/// Most names in [`Limits::keep_headers`]; further ones are dropped by [`Limits::new`].
pub const KEEP_HEADERS_MAX: usize = 32;
/// Most bytes kept of the value of a header named in [`Limits::keep_headers`].
pub const KEEP_VALUE_MAX: usize = 256;

/// Turns without a request after which a stream is hopeless.
pub(crate) const HOPELESS_TURNS: u8 = 4;

/// What a parser may keep. Cheap to clone: one per connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head that is read, in bytes. What is longer is delivered cut, with `complete: false`.
    pub head_bytes: usize,
    /// Names (lower case) of headers whose values the caller wants besides the built-in ones.
    pub keep_headers: Arc<[String]>,
    /// Bit per length of those names, the last one for all that are longer: nearly all headers of a head are none of them.
    lengths: u64,
}

/// The bit of names of this length in [`Limits::lengths`].
const fn length_bit(len: usize) -> u64 {
    1 << if len < 63 { len } else { 63 }
}

impl Limits {
    /// Limits with names in any case; at most [`KEEP_HEADERS_MAX`] of them are used.
    pub fn new<I, S>(head_bytes: usize, keep_headers: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let keep_headers: Arc<[String]> = keep_headers
            .into_iter()
            .take(KEEP_HEADERS_MAX)
            .map(|name| name.as_ref().to_ascii_lowercase())
            .collect();
        let bits = keep_headers.iter().map(|name| length_bit(name.len()));
        Self {
            head_bytes,
            lengths: bits.fold(0, |all, bit| all | bit),
            keep_headers,
        }
    }

    /// Whether a header with a name of this length may be one of [`Limits::keep_headers`].
    pub(crate) const fn may_keep(&self, name: &str) -> bool {
        self.lengths & length_bit(name.len()) != 0
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES_DEFAULT,
            keep_headers: Arc::from([]),
            lengths: 0,
        }
    }
}

/// Where in a stream a parser is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The next byte is the first of a message.
    Boundary,
    /// The connection was met in its middle: the parser waits for a message it can recognise.
    Midstream,
}

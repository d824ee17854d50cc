//! Where a body ends (RFC 9112 §6.3, §7.1).
//!
//! In: body bytes, or counts of bytes that were not seen. Out: how many belong to the body and whether it is over.
//! Always holds: nothing is kept but counters and eight bytes. Refuses: chunk framing that RFC 9112 does not allow.

use crate::http1::framing::Rest;

/// How a body's end is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are left, never 0.
    Length(u64),
    /// Chunk framing, in step.
    Chunked(Chunk),
    /// The end of the stream.
    Close,
    /// Out of step: the end can only be guessed at (see the machine).
    Rest(Rest),
}

/// ```text
///            hex digits             CR,SP,HT,';'          LF, size > 0
///   Size ─────────────────▶ Size ────────────────▶ Ext ───────────────▶ Data ──all seen──▶ DataEnd ──CRLF──▶ Size
///     └──────────────── LF, size > 0 ────────────────────────────────────▲
///   Size, Ext ── LF, size 0 ──▶ LineStart ──other──▶ Line ──LF──▶ LineStart
///                               LineStart ──CR──▶ LineCr ──LF──▶ (over)        LineStart ──LF──▶ (over)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the digits of a chunk's size.
    Size { value: u64, digits: bool },
    /// After the digits, up to the line's end.
    Ext { value: u64 },
    /// In a chunk's payload; `left` is never 0.
    Data { left: u64 },
    /// In the CRLF after a chunk's payload.
    DataEnd { cr: bool },
    /// At the start of a trailer line.
    LineStart,
    /// After a CR at the start of a trailer line.
    LineCr,
    /// Inside a trailer line.
    Line,
}

impl Chunk {
    /// Before the first chunk.
    pub(crate) const FIRST: Self = Self::Size {
        value: 0,
        digits: false,
    };

    /// `n` bytes go by that nobody saw. False: their content would be needed to stay in step.
    pub(crate) fn skip(&mut self, n: u64, payload: &mut u64) -> bool {
        let mut n = n;
        if let Self::Data { left } = *self {
            let part = n.min(left);
            *payload = payload.saturating_add(part);
            n -= part;
            *self = if part < left {
                Self::Data { left: left - part }
            } else {
                Self::DataEnd { cr: false }
            };
        }
        // What must come after the payload is known without being seen.
        *self = match (*self, n) {
            (same, 0) => same,
            (Self::DataEnd { cr: false }, 1) => Self::DataEnd { cr: true },
            (Self::DataEnd { cr: false }, 2) | (Self::DataEnd { cr: true }, 1) => Self::FIRST,
            _ => {
                *payload = payload.saturating_add(n);
                return false;
            }
        };
        true
    }

    /// Takes bytes; `payload` grows by those that are chunk payload, and `tell` is given them.
    pub(crate) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        payload: &mut u64,
        tell: &mut dyn FnMut(&'a [u8]),
    ) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Self::Data { left } = *self {
                let part = left.min((bytes.len() - at) as u64);
                *payload = payload.saturating_add(part);
                tell(bytes.get(at..at + part as usize).unwrap_or_default());
                at += part as usize;
                *self = if part < left {
                    Self::Data { left: left - part }
                } else {
                    Self::DataEnd { cr: false }
                };
                continue;
            }
            let next = match (*self, byte) {
                (
                    Self::Size {
                        value,
                        digits: true,
                    }
                    | Self::Ext { value },
                    b'\n',
                ) => match value {
                    0 => Some(Self::LineStart),
                    left => Some(Self::Data { left }),
                },
                (
                    Self::Size {
                        value,
                        digits: true,
                    },
                    b'\r' | b' ' | b'\t' | b';',
                ) => Some(Self::Ext { value }),
                (Self::Size { value, .. }, digit) => (digit as char)
                    .to_digit(16)
                    .and_then(|digit| value.checked_mul(16)?.checked_add(u64::from(digit)))
                    .map(|value| Self::Size {
                        value,
                        digits: true,
                    }),
                (Self::DataEnd { cr: false }, b'\r') => Some(Self::DataEnd { cr: true }),
                (Self::DataEnd { .. }, b'\n') => Some(Self::FIRST),
                (Self::DataEnd { .. }, _) => None,
                (Self::LineStart | Self::LineCr, b'\n') => return Step::Over { used: at + 1 },
                (Self::LineStart, b'\r') => Some(Self::LineCr),
                (Self::Line, b'\n') => Some(Self::LineStart),
                (Self::LineStart | Self::LineCr | Self::Line, _) => Some(Self::Line),
                (same, _) => Some(same),
            };
            match next {
                Some(next) => *self = next,
                None => return Step::Broken { used: at },
            }
            at += 1;
        }
        Step::More
    }
}

/// What became of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All taken, the body goes on.
    More,
    /// The body ended after `used` bytes.
    Over { used: usize },
    /// The byte at `used` cannot be there.
    Broken { used: usize },
}

//! Bodies: where they end, and what of their framing stays readable.
//!
//! In: body bytes or counts of unseen ones. Out: the bytes to write instead. Always holds: it takes the same steps as
//! agent-protocol's `http1::body`, so that a replay finds the end where the live run found it. Refuses: to keep any
//! byte of a payload.

use super::lines::{Lines, Of};
use super::text::{X, hidden_in_rest};

/// Chunk framing (RFC 9112 §7.1).
///
/// ```text
///   Size ──CR, SP, HT, ';'──▶ Ext ──LF──▶ Data ──all──▶ DataEnd ──LF──▶ Size
///   Size, Ext ──LF after size 0──▶ Trailer ──empty line──▶ (over)          any ──what cannot be there──▶ (broken)
/// ```
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Size { value: u64, digits: bool },
    Ext { value: u64 },
    Data { left: u64 },
    DataEnd { cr: bool },
    Trailer(Box<Lines>),
}

/// What became of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Over,
    Broken,
}

impl Chunk {
    pub(super) const FIRST: Self = Self::Size {
        value: 0,
        digits: false,
    };

    /// Takes the first byte of `ahead`.
    pub(super) fn byte(&mut self, ahead: &[u8]) -> (u8, Step) {
        let Some(&byte) = ahead.first() else {
            return (X, Step::More);
        };
        let broken = (hidden_in_rest(byte), Step::Broken);
        let (next, out) = match (&mut *self, byte) {
            (Self::Data { left }, _) => {
                let next = if *left > 1 {
                    Self::Data { left: *left - 1 }
                } else {
                    Self::DataEnd { cr: false }
                };
                (next, X)
            }
            (
                Self::Size {
                    value,
                    digits: true,
                }
                | Self::Ext { value },
                b'\n',
            ) => match *value {
                0 => (Self::Trailer(Box::new(Lines::new(Of::Trailer))), byte),
                left => (Self::Data { left }, byte),
            },
            (
                Self::Size {
                    value,
                    digits: true,
                },
                b'\r' | b' ' | b'\t' | b';',
            ) => (Self::Ext { value: *value }, byte),
            (Self::Size { value, .. }, digit) => {
                let value = char::from(digit)
                    .to_digit(16)
                    .and_then(|digit| value.checked_mul(16)?.checked_add(u64::from(digit)));
                match value {
                    Some(value) => (
                        Self::Size {
                            value,
                            digits: true,
                        },
                        byte,
                    ),
                    // Not the digit itself: it must stay wrong.
                    None if byte == b'0' => return (X, Step::Broken),
                    None => return broken,
                }
            }
            (Self::Ext { value }, b'\r') => (Self::Ext { value: *value }, byte),
            (Self::Ext { value }, _) => (Self::Ext { value: *value }, X),
            (Self::DataEnd { cr: false }, b'\r') => (Self::DataEnd { cr: true }, byte),
            (Self::DataEnd { .. }, b'\n') => (Self::FIRST, byte),
            (Self::DataEnd { .. }, _) => return broken,
            (Self::Trailer(lines), _) => {
                let (out, over) = lines.byte(ahead);
                return (out, if over { Step::Over } else { Step::More });
            }
        };
        *self = next;
        (out, Step::More)
    }

    /// `n` bytes go by that nobody saw. False: their content would be needed to stay in step.
    pub(super) fn skip(&mut self, n: u64) -> bool {
        let mut n = n;
        if let Self::Data { left } = *self {
            let part = n.min(left);
            n -= part;
            *self = if part < left {
                Self::Data { left: left - part }
            } else {
                Self::DataEnd { cr: false }
            };
        }
        match (&*self, n) {
            (_, 0) => {}
            (Self::DataEnd { cr: false }, 1) => *self = Self::DataEnd { cr: true },
            (Self::DataEnd { cr: false }, 2) | (Self::DataEnd { cr: true }, 1) => {
                *self = Self::FIRST;
            }
            _ => return false,
        }
        true
    }
}

//! The first line of a RESP value.
//!
//! In: the line with its end. Out: what it says. Always holds: a length is at most what Redis takes. Refuses: everything else; the reader
//! is out of step then.

use super::frame::Kind;

/// Longest name of a command; Redis' own have less than twenty letters.
pub(super) const COMMAND_MAX: usize = 32;
/// Longest line that is kept: an error's text, a simple string.
pub(super) const LINE_MAX: usize = 128;
/// Longest line with a length or a number in it: 2^64 has 20 digits, a big number more, which nobody here reads.
pub(super) const DIGITS_MAX: usize = 64;
/// Most elements of an aggregate (`INT_MAX`) and bytes of a string (`proto-max-bulk-len` is half a GiB, and may be raised).
const COUNT_MAX: u64 = (1 << 31) - 1;
const BULK_MAX: u64 = 1 << 40;

/// What a first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First<'a> {
    /// A string of this many bytes follows.
    String(Kind, u64),
    /// So many values follow.
    Values(Kind, u64),
    /// All of a value.
    Scalar(Kind, &'a [u8]),
}

/// Reads a first line; nothing if it is none.
pub(super) fn first(line: &[u8]) -> Option<First<'_>> {
    let (&kind, rest) = line.split_first()?;
    // A text that was longer than is kept has lost its line end with the rest.
    let is_cut = line.len() == LINE_MAX && matches!(kind, b'+' | b'-');
    let text = match rest.strip_suffix(b"\r\n") {
        Some(text) => text,
        None if is_cut => rest,
        None => return None,
    };
    let null = First::Scalar(Kind::Null, b"");
    Some(match kind {
        b'$' | b'=' | b'!' => {
            let node = if kind == b'!' {
                Kind::Error
            } else {
                Kind::Bulk
            };
            length(text, BULK_MAX)?.map_or(null, |len| First::String(node, len))
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let (node, times) = match kind {
                b'>' => (Kind::Push, 1),
                b'|' => (Kind::Attribute, 2),
                b'%' => (Kind::Array, 2),
                _ => (Kind::Array, 1),
            };
            length(text, COUNT_MAX)?.map_or(null, |count| First::Values(node, count * times))
        }
        b'+' => First::Scalar(Kind::Simple, text),
        b'-' => First::Scalar(Kind::Error, text),
        b':' | b',' | b'#' | b'(' => First::Scalar(Kind::Number, text),
        b'_' if text.is_empty() => null,
        _ => return None,
    })
}

/// The words of a command that came as a line.
pub(super) fn words(line: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .peekable();
    // Redis closes the connection of who speaks HTTP to it; the end of the line tells that from a command.
    let is_command = words.peek().is_some_and(|name| is_command_name(name))
        && !line.trim_ascii_end().ends_with(b"HTTP/1.1");
    is_command.then_some(words)
}

/// Letters, and the signs that modules and containers have.
pub(super) fn is_command_name(name: &[u8]) -> bool {
    (1..=COMMAND_MAX).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-|".contains(byte))
}

/// A length: `None` is no length, `Some(None)` Redis' -1 for "none".
fn length(text: &[u8], most: u64) -> Option<Option<u64>> {
    if text == b"-1" {
        return Some(None);
    }
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut value = 0_u64;
    for digit in text {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    (value <= most).then_some(Some(value))
}

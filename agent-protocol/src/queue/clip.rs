//! Names as events carry them.
//!
//! In: bytes off the wire. Out: text of at most `NAME_MAX` bytes. Always holds: the same bytes give the same text. Refuses: nothing; what
//! is no UTF-8 is replaced.

use super::NAME_MAX;

/// The text, cut at a character.
pub(crate) fn name(bytes: &[u8]) -> String {
    // A byte that is no UTF-8 becomes three.
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_MAX)]).into_owned();
    if bytes.len() > NAME_MAX && text.ends_with('\u{fffd}') {
        text.pop();
    }
    let mut end = text.len().min(NAME_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The text, when there is any.
pub(crate) fn some_name(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| name(bytes))
}

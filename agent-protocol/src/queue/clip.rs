//! Names as events carry them.
//!
//! In: bytes off the wire. Out: text of at most `NAME_MAX` bytes. Always holds: the same bytes give the same text. Refuses: nothing; what
//! is no UTF-8 is replaced.

pub(crate) use super::job::name_of as name;

/// The text, when there is any.
pub(crate) fn some_name(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| name(bytes))
}

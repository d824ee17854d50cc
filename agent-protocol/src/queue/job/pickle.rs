//! huey's messages: a pickle of the named tuple `huey.registry.Message(id, name, eta, retries, …)`.
//!
//! In: the pickle's beginning (protocols 2 to 5). Out: an [`Envelope`]. Always holds: nothing is unpickled; only the opcodes that this
//! tuple is written with are stepped over, and another one ends the search. Refuses: serializers of the user's own (signed, compressed).

use super::{Envelope, name_of};
use crate::queue::event::System;

const CLASS: &[u8] = b"huey.registry";

/// Reads `id`, `name` and whether `eta` is there.
pub(super) fn of_huey(seen: &[u8]) -> Option<Envelope> {
    // The class stands at the beginning: after the protocol, the frame's length and its opcodes.
    let head = seen.get(..seen.len().min(64))?;
    let at = head.windows(CLASS.len()).position(|part| part == CLASS)? + CLASS.len();
    let rest = seen.get(at..)?;
    let class = rest
        .windows(7)
        .take(8)
        .position(|part| part == b"Message")?;
    let (id, rest) = text(rest.get(class + 7..)?)?;
    let (name, rest) = text(rest)?;
    if id.is_empty() || name.is_empty() {
        return None;
    }
    let mut envelope = Envelope::new(System::Huey, name_of(id));
    envelope.name = name_of(name);
    // `None`, or the class of a date. Where it was not seen it is taken as none.
    envelope.is_later = without_memo(rest).first().is_some_and(|byte| *byte != b'N');
    Some(envelope)
}

/// Whether a stored result is an error's.
pub(crate) fn huey_failed(seen: &[u8]) -> bool {
    let head = seen.get(..seen.len().min(64)).unwrap_or(&[]);
    head.windows(10).any(|part| part == b"huey.utils")
        && head.windows(5).any(|part| part == b"Error")
}

/// A string, after opcodes that say nothing.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match without_memo(bytes) {
        // SHORT_BINUNICODE
        [0x8c, len, rest @ ..] => rest.split_at_checked(usize::from(*len)),
        // BINUNICODE
        [b'X', a, b, c, d, rest @ ..] => {
            rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => None,
    }
}

/// Skips MEMOIZE, BINPUT, STACK_GLOBAL, MARK and the end of GLOBAL's lines.
fn without_memo(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [0x94 | 0x93 | b'(' | b'\n', rest @ ..] | [b'q', _, rest @ ..] => rest,
            _ => return bytes,
        };
    }
}

//! Where a segment lies in its direction's stream.
//!
//! In: position and length of each segment. Out: whether it follows the one before. Always holds: it says what
//! agent-trace's `position` says. Refuses: nothing.

/// Farthest that a position may lie behind and still be a repetition.
const REPEAT_MAX: u32 = 64 * 1024 * 1024;

/// The next position expected in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    next: Option<u32>,
}

/// How a segment follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its first byte is the next one.
    Next,
    /// So many bytes are missing before it.
    Hole(u32),
    /// So many of its first bytes were there before.
    Repeats(u32),
    /// The numbering does not fit what was before.
    Unrelated,
}

impl Position {
    /// Places a segment. `boundary`: a message begins there, so that it is new whatever the numbers say.
    pub(super) fn place(&mut self, pos: u32, len: u32, boundary: bool) -> Place {
        let end = pos.wrapping_add(len);
        let Some(next) = self.next else {
            self.next = Some(end);
            return Place::Next;
        };
        let ahead = pos.wrapping_sub(next);
        let behind = next.wrapping_sub(pos);
        let place = if ahead == 0 {
            Place::Next
        } else if ahead < 1 << 31 {
            Place::Hole(ahead)
        } else if boundary || behind > REPEAT_MAX {
            Place::Unrelated
        } else {
            Place::Repeats(behind.min(len))
        };
        if !matches!(place, Place::Repeats(repeated) if repeated == len) {
            self.next = Some(end);
        }
        place
    }
}

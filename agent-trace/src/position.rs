//! Where a segment lies in its direction's stream.
//!
//! In: position and length of each segment, in the order of records. Out: whether it follows the one before, comes
//! after a hole, or repeats bytes. Always holds: positions are compared modulo 2^32 (RFC 9293 §3.4). Refuses: nothing.

/// Farthest that a position may lie behind and still be a repetition; beyond, the numbering itself has changed.
const REPEAT_MAX: u32 = 64 * 1024 * 1024;

/// The next position expected in one direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    next: Option<u32>,
}

/// How a segment follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its first byte is the next one.
    Next,
    /// So many bytes are missing before it.
    Hole(u32),
    /// So many of its first bytes were there before.
    Repeats(u32),
    /// The numbering does not fit what was before: how many bytes are missing is not known.
    Unrelated,
}

impl Position {
    /// Places a segment of `len` bytes at `pos`. `boundary` says that the kernel saw a message begin there, which
    /// makes it new whatever the numbers say.
    pub fn place(&mut self, pos: u32, len: u32, boundary: bool) -> Place {
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
        match place {
            Place::Repeats(repeated) if repeated == len => {}
            _ => self.next = Some(end),
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Position};

    #[test]
    fn segments_are_placed_modulo_2_to_the_32() {
        for (next, pos, len, boundary, place, after) in [
            (None, 7, 10, false, Place::Next, 17),
            (Some(17), 17, 3, false, Place::Next, 20),
            (Some(20), 30, 1, false, Place::Hole(10), 31),
            (Some(31), 21, 4, false, Place::Repeats(4), 31),
            (Some(31), 21, 20, false, Place::Repeats(10), 41),
            (Some(31), 21, 20, true, Place::Unrelated, 41),
            (Some(u32::MAX), u32::MAX, 2, false, Place::Next, 1),
            (Some(u32::MAX - 1), 3, 2, false, Place::Hole(5), 5),
            (Some(3), u32::MAX - 1, 2, false, Place::Repeats(2), 3),
            (Some(0), 1 << 31, 2, false, Place::Unrelated, (1 << 31) + 2),
        ] {
            let mut position = Position { next };
            assert_eq!(
                position.place(pos, len, boundary),
                place,
                "{next:?} {pos} {len}"
            );
            assert_eq!(position.next, Some(after), "{next:?} {pos} {len}");
        }
    }
}

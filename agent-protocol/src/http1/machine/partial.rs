//! A head that comes in several pieces.
//!
//! In: its bytes. Out: the head once its empty line is there, or as much of it as fits. Always holds: what is said
//! depends on the bytes only, not on where they were cut; every byte is looked at a bounded number of times.

use crate::http1::event::Reason;
use crate::http1::framing::Start;
use crate::http1::machine::holes::Gap;
use crate::http1::machine::{Framing, Machine, NoHead, Shape, Side, State};

/// Bytes of a first line that decide whether it can be one at all.
const FIRST_BYTES: usize = 64;

/// The incomplete head, and where its current line stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Partial {
    pub(super) bytes: Vec<u8>,
    /// Start of the current line.
    pub(super) line: usize,
}

impl Machine {
    /// Bytes inside a head; says how many were used.
    pub(super) fn in_head(
        &mut self,
        bytes: &[u8],
        limit: usize,
        resynced: bool,
        side: &mut dyn Side,
    ) -> usize {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let room = limit.saturating_sub(self.head.bytes.len());
            let window = &rest[..rest.len().min(room)];
            let line = window
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| &window[..=at]);
            let part = line.unwrap_or(window);
            let before = self.head.bytes.len();
            self.head.grow(part.len(), limit);
            self.head.bytes.extend_from_slice(part);
            used += part.len();
            if self.head.line == 0
                && let Err(why) = match line {
                    Some(_) => side.first_line(&self.head.bytes),
                    None if before < FIRST_BYTES && side.start(self.head.first()) == Start::No => {
                        Err(Reason::NotHttp)
                    }
                    None => Ok(()),
                }
            {
                self.not_http(why, side);
                return used;
            }
            if line.is_none() {
                if self.head.bytes.len() >= limit {
                    self.cut(Gap::Limit, side);
                }
                return used;
            }
            let blank = matches!(&self.head.bytes[self.head.line..], b"\n" | b"\r\n");
            self.head.line = self.head.bytes.len();
            if blank {
                let head = std::mem::take(&mut self.head);
                let shape = Shape {
                    complete: true,
                    resynced,
                    quick: false,
                };
                match side.head(&head.bytes, shape) {
                    Ok((_, framing)) => self.follow(framing, side),
                    Err(_) => self.not_http(Reason::NotHttp, side),
                }
                return used;
            }
        }
    }

    /// Delivers the whole lines of the open head.
    pub(super) fn deliver_cut(
        &mut self,
        resynced: bool,
        side: &mut dyn Side,
    ) -> Result<Framing, NoHead> {
        let head = std::mem::take(&mut self.head);
        if head.line == 0 {
            return Err(NoHead::Partial);
        }
        let shape = Shape {
            complete: false,
            resynced,
            quick: false,
        };
        side.head(&head.bytes[..head.line], shape)
            .map(|(_, framing)| framing)
    }

    pub(super) fn not_http(&mut self, why: Reason, side: &mut dyn Side) {
        self.state = State::Dead;
        self.head = Partial::default();
        self.misses = self.misses.saturating_add(1);
        side.unparsed(why);
    }
}

impl Partial {
    fn first(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(FIRST_BYTES)]
    }

    /// Makes room for `more` bytes, doubling, but never beyond `limit`.
    fn grow(&mut self, more: usize, limit: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let wanted = needed.max(self.bytes.capacity() * 2).min(limit.max(needed));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }
}

//! One direction of an HTTP/1 connection.
//!
//! In: pieces, turns, holes, as agent-protocol's parser gets them. Out: the same bytes, masked in place. Always holds:
//! it is in a head only where that parser is, so that nothing of a body is kept. Refuses: to look for a message
//! anywhere but where that parser would.

use agent_protocol::http1::framing::{Coding, Length, Rest, Start, response_start};

use super::body::{Chunk, Step};
use super::first::{First, request_starts};
use super::lines::{Lines, Of};
use super::text::{X, hidden_in_rest, hide_stray};
use super::turns::{Asked, Turns};

/// ```text
///   Boundary ──any byte but CR, LF──▶ First ──LF──▶ Head ──empty line──▶ Length, Chunk, Close, Rest, Boundary, Opaque
///   First ──no first line──▶ Dead ──turn──▶ Boundary          Length, Chunk ──end──▶ Boundary
///   Boundary ──unseen or lost bytes──▶ Sync ──a piece that begins a message──▶ Boundary
///   Head, Chunk ──unseen or lost bytes──▶ Rest ──turn──▶ Sync      Close ──turn and a message──▶ Boundary
/// ```
#[derive(Clone, Debug)]
enum At {
    Boundary,
    First(First),
    Head,
    /// `fresh`: no byte of it was there, so it may answer a HEAD.
    Length {
        left: u64,
        fresh: bool,
    },
    Chunk(Chunk),
    Close,
    Rest(Rest),
    Sync,
    /// Not this protocol, until a turn.
    Dead,
    /// Another protocol from here on.
    Opaque,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Http1 {
    of_request: bool,
    at: At,
    turned: bool,
    lines: Lines,
    /// What the open first line said.
    asked: Asked,
    status: u16,
}

impl Http1 {
    pub(super) fn new(of_request: bool, at_boundary: bool) -> Self {
        Self {
            of_request,
            at: if at_boundary { At::Boundary } else { At::Sync },
            turned: false,
            lines: Lines::new(Of::Request),
            asked: Asked::Unknown,
            status: 0,
        }
    }

    pub(super) fn in_message(&self) -> bool {
        !matches!(self.at, At::Boundary | At::Sync | At::Dead | At::Opaque)
    }

    /// The stream ended.
    pub(super) fn end(&mut self) {
        self.at = At::Opaque;
    }

    pub(super) fn turn(&mut self) {
        match self.at {
            At::Sync | At::Close | At::Length { fresh: true, .. } => self.turned = true,
            At::Dead => self.at = At::Boundary,
            At::Rest(_) => {
                self.at = At::Sync;
                self.turned = true;
            }
            _ => {}
        }
    }

    /// Captured bytes.
    pub(super) fn bytes(&mut self, piece: &mut [u8], turns: &mut Turns) {
        if piece.is_empty() || self.open_piece(piece) {
            return;
        }
        for at in 0..piece.len() {
            let out = self.byte(piece.get(at..).unwrap_or_default(), turns);
            if let Some(place) = piece.get_mut(at) {
                *place = out;
            }
        }
    }

    /// Bytes that were not captured, the last of which are `tail`.
    pub(super) fn unseen(&mut self, len: u64, tail: &mut [u8], turns: &mut Turns) {
        let hidden = len.saturating_sub(tail.len() as u64);
        if hidden == 0 || self.skip(hidden, turns) {
            self.bytes(tail, turns);
            return;
        }
        if let At::Rest(rest) = &mut self.at
            && rest.ends_with(tail, false)
        {
            self.over_by_tail();
        }
        for byte in tail {
            *byte = hidden_in_rest(*byte);
        }
    }

    /// Records were lost.
    pub(super) fn lost(&mut self, len: Option<u64>, turns: &mut Turns) {
        self.turned = false;
        self.miss(turns);
        match (&mut self.at, len) {
            (At::Boundary, _) => self.at = At::Sync,
            (At::First(_) | At::Head, _) => self.cut(true, turns),
            (At::Length { left, fresh }, Some(n)) => {
                let part = n.min(*left);
                *left -= part;
                *fresh = false;
                if *left == 0 {
                    self.at = if part < n { At::Sync } else { At::Boundary };
                }
            }
            (At::Length { .. }, None) => self.at = At::Rest(Rest::new(false, true)),
            (At::Chunk(chunk), len) => {
                if !len.is_some_and(|n| chunk.skip(n)) {
                    self.at = At::Rest(Rest::new(true, true));
                }
            }
            (At::Rest(rest), _) => {
                rest.hole = true;
                rest.forget();
            }
            (At::Close | At::Sync | At::Dead | At::Opaque, _) => {}
        }
    }

    /// `n` unseen bytes. True: still in step.
    fn skip(&mut self, n: u64, turns: &mut Turns) -> bool {
        match &mut self.at {
            At::Boundary => {
                self.miss(turns);
                self.at = At::Sync;
                false
            }
            At::First(_) | At::Head => {
                self.cut(false, turns);
                false
            }
            At::Length { left, fresh } => {
                let part = n.min(*left);
                *left -= part;
                *fresh = false;
                if *left > 0 {
                    return true;
                }
                self.at = At::Boundary;
                part == n || self.skip(n - part, turns)
            }
            At::Chunk(chunk) => {
                let in_step = chunk.skip(n);
                if !in_step {
                    self.at = At::Rest(Rest::new(true, false));
                }
                in_step
            }
            At::Close => true,
            At::Rest(rest) => {
                rest.forget();
                false
            }
            At::Sync => {
                self.turned = false;
                false
            }
            At::Dead | At::Opaque => false,
        }
    }

    /// The rest of the open head cannot be had.
    fn cut(&mut self, lost: bool, turns: &mut Turns) {
        if !matches!(self.at, At::Head) {
            self.miss(turns);
            self.at = At::Dead;
            return;
        }
        self.lines.cut();
        self.at = At::Boundary;
        if self.follow(turns) {
            // An interim response: another head is somewhere in what was not seen.
            self.at = At::Sync;
            return;
        }
        if !matches!(self.at, At::Opaque) {
            let chunked = matches!(self.at, At::Chunk(_));
            self.at = At::Rest(Rest::new(chunked, lost));
        }
    }

    /// A message of this direction may have passed unseen.
    fn miss(&self, turns: &mut Turns) {
        if !self.of_request {
            turns.miss();
        }
    }

    /// What is decided once for each piece. True: the piece is masked already.
    fn open_piece(&mut self, piece: &mut [u8]) -> bool {
        let turned = std::mem::take(&mut self.turned);
        let begins = match &self.at {
            At::Rest(rest) => rest.hole && self.start(piece) == Start::Yes,
            At::Close => turned && self.start(piece) != Start::No,
            At::Length { fresh, .. } => turned && *fresh && self.start(piece) == Start::Yes,
            At::Sync => match self.start(piece.trim_ascii_start()) {
                Start::Yes => true,
                Start::Maybe => turned,
                Start::No => false,
            },
            _ => false,
        };
        if begins {
            self.at = At::Boundary;
            return false;
        }
        match &mut self.at {
            At::Rest(rest) => {
                if rest.ends_with(piece, true) {
                    self.over_by_tail();
                }
                for byte in piece {
                    *byte = hidden_in_rest(*byte);
                }
                true
            }
            At::Sync => {
                hide_stray(piece);
                true
            }
            At::Dead | At::Opaque => {
                piece.fill(X);
                true
            }
            _ => false,
        }
    }

    fn start(&self, bytes: &[u8]) -> Start {
        if self.of_request {
            request_starts(bytes)
        } else {
            response_start(bytes)
        }
    }

    fn over_by_tail(&mut self) {
        self.at = At::Sync;
        self.turned = true;
    }

    /// Takes the first byte of `ahead`.
    fn byte(&mut self, ahead: &[u8], turns: &mut Turns) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        match &mut self.at {
            At::Boundary => {
                if matches!(byte, b'\r' | b'\n') {
                    return byte;
                }
                if self.of_request {
                    turns.ask();
                } else {
                    turns.settle();
                }
                self.at = At::First(First::new(self.of_request));
                self.byte(ahead, turns)
            }
            At::First(first) => {
                let out = first.byte(ahead);
                if first.is_dead() {
                    if self.of_request {
                        turns.take_back();
                    }
                    self.at = At::Dead;
                } else if byte == b'\n' {
                    self.asked = first.asked();
                    self.status = first.status();
                    let of = if self.of_request {
                        Of::Request
                    } else {
                        Of::Response
                    };
                    self.lines = Lines::new(of);
                    self.at = At::Head;
                }
                out
            }
            At::Head => {
                let (out, over) = self.lines.byte(ahead);
                if over {
                    self.follow(turns);
                }
                out
            }
            At::Length { left, fresh } => {
                *left -= 1;
                *fresh = false;
                if *left == 0 {
                    self.at = At::Boundary;
                }
                X
            }
            At::Chunk(chunk) => {
                let (out, step) = chunk.byte(ahead);
                match step {
                    Step::More => {}
                    Step::Over => self.at = At::Boundary,
                    Step::Broken => self.at = At::Rest(Rest::new(false, false)),
                }
                out
            }
            At::Rest(_) => hidden_in_rest(byte),
            At::Close | At::Sync | At::Dead | At::Opaque => X,
        }
    }

    /// A head is over: what follows it (RFC 9112 §6.3, as agent-protocol reads it). True: it was an interim response.
    fn follow(&mut self, turns: &mut Turns) -> bool {
        self.at = At::Boundary;
        let asked = if self.of_request {
            turns.asked(self.asked);
            self.asked
        } else {
            match self.status {
                100 | 102..=199 => return true,
                _ => turns.answer(),
            }
        };
        let (coding, length) = (self.lines.coding, self.lines.length);
        let no_body = if self.of_request {
            asked == Asked::Connect
        } else {
            if self.status == 101 || (asked == Asked::Connect && self.status < 300) {
                self.at = At::Opaque;
                return false;
            }
            asked == Asked::Head || matches!(self.status, 204 | 304)
        };
        self.at = match (coding, length) {
            _ if no_body => At::Boundary,
            (Coding::Chunked, _) => At::Chunk(Chunk::FIRST),
            (Coding::Absent, Length::Known(0)) => At::Boundary,
            (Coding::Absent, Length::Known(left)) => At::Length {
                left,
                fresh: !self.of_request,
            },
            (Coding::Absent, Length::Absent) if self.of_request => At::Boundary,
            (Coding::Other, _) | (Coding::Absent, Length::Absent) if !self.of_request => At::Close,
            (Coding::Other | Coding::Absent, _) => At::Rest(Rest::new(false, false)),
        };
        false
    }
}

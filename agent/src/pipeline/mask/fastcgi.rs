//! One direction of a FastCGI connection (FastCGI 1.0 §3.3).
//!
//! In: pieces, turns, holes, as agent-protocol's parser gets them. Out: the same bytes, masked in place. Always holds:
//! record headers stay as long as they are known to be ones; only parameters and CGI headers of the request that is
//! followed are read. Refuses: everything else, whole.

use agent_protocol::fastcgi::record::{
    ABORT_REQUEST, BEGIN_REQUEST, END_REQUEST, HEADER_LEN, PARAMS, STDERR, STDIN, STDOUT, TYPE_MAX,
};
use agent_protocol::http1::is_token_byte;

use super::lines::{Lines, Of};
use super::params::Params;
use super::text::X;
use super::turns::Turns;

/// Largest byte of BEGIN_REQUEST's and END_REQUEST's content that means something: a role, flags, a protocol status.
/// Larger ones are masked: after a hole they may be anything.
const FIXED_MAX: u8 = 3;

/// ```text
///   Header ──8 bytes──▶ Content ──len bytes──▶ Padding ──padding bytes──▶ Header
///   Header ──not a header──▶ Lost ◀──unseen or lost header── any
///   Lost ──turn──▶ Header          Lost, not dead ──a piece that begins a message──▶ Header
/// ```
#[derive(Clone, Copy, Debug)]
enum At {
    /// `sure`: a header must be here. Else each byte of it is kept only if it is one that begins a message.
    Header {
        got: [u8; HEADER_LEN],
        n: usize,
        sure: bool,
    },
    Content {
        left: u16,
        padding: u8,
    },
    Padding {
        left: u8,
    },
    /// `dead`: by bytes that are no record, so only a turn helps.
    Lost {
        dead: bool,
    },
    Ended,
}

const fn header(sure: bool) -> At {
    At::Header {
        got: [0; HEADER_LEN],
        n: 0,
        sure,
    }
}

/// How the open message stands.
///
/// ```text
///   None ──BEGIN_REQUEST / STDOUT, STDERR, END_REQUEST──▶ Head ──empty PARAMS / empty line──▶ Body
///   Body ──empty STDIN, ABORT_REQUEST / END_REQUEST──▶ None     Head, Body ──out of step──▶ Rest ──turn──▶ None
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    None,
    Head,
    Body,
    Rest,
}

/// What a record's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Params,
    Cgi,
    /// The body of BEGIN_REQUEST or END_REQUEST.
    Fixed,
    Hidden,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct FastCgi {
    of_request: bool,
    at: At,
    stage: Stage,
    id: u16,
    /// Kind and length of the record being read, when it belongs to the open message.
    record: Option<(u8, u16)>,
    content: Content,
    params: Params,
    /// Some of the parameters were not seen: those after them cannot be told apart.
    cut: bool,
    lines: Lines,
}

impl FastCgi {
    pub(super) fn new(of_request: bool, at_boundary: bool) -> Self {
        Self {
            of_request,
            at: if at_boundary {
                header(false)
            } else {
                At::Lost { dead: false }
            },
            stage: Stage::None,
            id: 0,
            record: None,
            content: Content::Hidden,
            params: Params::new(),
            cut: false,
            lines: Lines::new(Of::Cgi),
        }
    }

    pub(super) fn in_message(&self) -> bool {
        self.stage != Stage::None
    }

    pub(super) fn end(&mut self) {
        self.at = At::Ended;
        self.stage = Stage::None;
    }

    pub(super) fn turn(&mut self) {
        if self.stage == Stage::Rest {
            self.stage = Stage::None;
        }
        if matches!(self.at, At::Lost { .. }) {
            self.at = header(false);
        }
    }

    /// Captured bytes.
    pub(super) fn bytes(&mut self, piece: &mut [u8], turns: &mut Turns) {
        if let At::Lost { dead } = self.at {
            if dead || !self.starts(piece) {
                piece.fill(X);
                return;
            }
            // What begins here takes the place of what was open.
            self.stage = Stage::None;
            self.at = header(true);
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
        if hidden == 0 || self.skip(hidden) {
            self.bytes(tail, turns);
            return;
        }
        // The last record of a request is an empty STDIN; there is nothing else to find out of step.
        let [id1, id0] = self.id.to_be_bytes();
        if self.of_request && *tail == [1, STDIN, id1, id0, 0, 0, 0, 0] {
            if self.stage == Stage::Rest && matches!(self.at, At::Lost { .. }) {
                self.stage = Stage::None;
                self.at = header(false);
            }
        } else {
            tail.fill(X);
        }
    }

    /// Records were lost.
    pub(super) fn lost(&mut self, len: Option<u64>) {
        match len {
            Some(len) => {
                self.skip(len);
            }
            None => self.lose(false),
        }
    }

    /// `n` bytes nobody saw. True: still in step.
    fn skip(&mut self, n: u64) -> bool {
        let mut n = n;
        if let At::Content { left, .. } = &mut self.at {
            let part = n.min(u64::from(*left));
            *left -= part as u16;
            n -= part;
            if part > 0 {
                // What is left of a head cannot be read without what is missing.
                match self.content {
                    Content::Params => {
                        self.content = Content::Hidden;
                        self.cut = true;
                    }
                    Content::Cgi => self.stage = Stage::Body,
                    Content::Fixed | Content::Hidden => {}
                }
            }
            self.settle();
        }
        if let At::Padding { left } = &mut self.at {
            let part = n.min(u64::from(*left));
            *left -= part as u8;
            n -= part;
            self.settle();
        }
        if n > 0 {
            self.lose(false);
        }
        n == 0
    }

    fn lose(&mut self, dead: bool) {
        if !matches!(self.at, At::Lost { .. } | At::Ended) {
            self.at = At::Lost { dead };
            self.record = None;
            if self.stage != Stage::None {
                self.stage = Stage::Rest;
            }
        }
    }

    /// Takes the first byte of `ahead`.
    fn byte(&mut self, ahead: &[u8], turns: &mut Turns) -> u8 {
        let Some(&byte) = ahead.first() else {
            return X;
        };
        match &mut self.at {
            At::Header { got, n, sure } => {
                let strange = !*sure && !begins(self.of_request, self.id, *n, byte);
                if let Some(place) = got.get_mut(*n) {
                    *place = byte;
                }
                *n += 1;
                let [version, kind, id1, id0, len1, len0, padding, _] = *got;
                let (n, id) = (*n, u16::from_be_bytes([id1, id0]));
                let len = u16::from_be_bytes([len1, len0]);
                if strange || version != 1 || n > 1 && !(1..=TYPE_MAX).contains(&kind) {
                    if strange {
                        // The next one may have another id.
                        self.id = 0;
                    }
                    self.lose(true);
                    return X;
                }
                if n == HEADER_LEN {
                    self.at = At::Content { left: len, padding };
                    self.open(kind, id, len, turns);
                    self.settle();
                }
                byte
            }
            At::Content { left, .. } => {
                let own = ahead
                    .get(..ahead.len().min(usize::from(*left)))
                    .unwrap_or_default();
                *left -= 1;
                let out = self.content(own);
                self.settle();
                out
            }
            At::Padding { left } => {
                *left -= 1;
                self.settle();
                0
            }
            At::Lost { .. } | At::Ended => X,
        }
    }

    fn content(&mut self, own: &[u8]) -> u8 {
        match &mut self.content {
            Content::Params => self.params.byte(own),
            Content::Cgi if self.stage == Stage::Head => {
                let (out, over) = self.lines.byte(own);
                if over {
                    self.stage = Stage::Body;
                }
                out
            }
            Content::Fixed => own
                .first()
                .copied()
                .filter(|byte| *byte <= FIXED_MAX)
                .unwrap_or(X),
            Content::Cgi | Content::Hidden => X,
        }
    }

    /// A record's header was read.
    fn open(&mut self, kind: u8, id: u16, len: u16, turns: &mut Turns) {
        self.record = None;
        self.content = Content::Hidden;
        if id == 0 {
            return;
        }
        let own = id == self.id;
        if self.of_request {
            if kind == BEGIN_REQUEST && (self.stage == Stage::None || own) {
                self.stage = Stage::Head;
                self.id = id;
                self.params = Params::new();
                self.cut = false;
                self.content = Content::Fixed;
                turns.begin();
            } else if self.stage == Stage::None || !own {
                return;
            } else if kind == PARAMS && self.stage == Stage::Head && !self.cut {
                self.content = Content::Params;
            }
        } else {
            if !matches!(kind, STDOUT | STDERR | END_REQUEST) {
                return;
            }
            if self.stage == Stage::None {
                self.stage = Stage::Head;
                self.id = id;
                self.lines = Lines::new(Of::Cgi);
            } else if !own {
                return;
            }
            match kind {
                STDOUT => self.content = Content::Cgi,
                END_REQUEST => self.content = Content::Fixed,
                _ => {}
            }
        }
        self.record = Some((kind, len));
    }

    /// Leaves states in which nothing is awaited any more.
    fn settle(&mut self) {
        if let At::Content { left: 0, padding } = self.at {
            self.at = At::Padding { left: padding };
            match self.record.take() {
                Some((PARAMS, 0)) if self.of_request && self.stage == Stage::Head => {
                    self.stage = Stage::Body;
                }
                Some((STDIN, 0) | (ABORT_REQUEST, _)) if self.of_request => {
                    self.stage = Stage::None;
                }
                Some((END_REQUEST, _)) if !self.of_request => self.stage = Stage::None,
                _ => {}
            }
        }
        if let At::Padding { left: 0 } = self.at {
            self.at = header(true);
        }
    }

    /// Whether a message can be recognised to begin with these bytes.
    fn starts(&self, bytes: &[u8]) -> bool {
        let Some(&[1, kind, id1, id0, len1, len0, _, _]) = bytes.first_chunk() else {
            return false;
        };
        let text = bytes.get(HEADER_LEN..).unwrap_or_default();
        let name = text.iter().take_while(|&&byte| is_token_byte(byte)).count();
        let fits = match (self.of_request, kind) {
            (true, BEGIN_REQUEST) => [len1, len0] == [0, 8] && text.starts_with(&[0, 1]),
            (false, STDOUT) => name > 1 && text.get(name) == Some(&b':'),
            (false, END_REQUEST) => [len1, len0] == [0, 8],
            _ => false,
        };
        fits && [id1, id0] != [0, 0]
    }
}

/// Whether this can be byte `n` of the header a message begins with; `id` is the one of the message before.
fn begins(of_request: bool, id: u16, n: usize, byte: u8) -> bool {
    let [id1, id0] = id.to_be_bytes();
    match (n, of_request) {
        (0, _) => byte == 1,
        (1, true) => byte == BEGIN_REQUEST,
        (1, false) => matches!(byte, STDOUT | STDERR | END_REQUEST),
        // Length 8; any padding.
        (4, true) | (7, _) => byte == 0,
        (5, true) => byte == 8,
        (2, false) => byte == id1,
        (3, false) if id != 0 => byte == id0,
        _ => true,
    }
}

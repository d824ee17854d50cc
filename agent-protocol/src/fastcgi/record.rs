//! Records (FastCGI §3.3) in a stream with gaps.
//!
//! In: pieces. Out: calls of `Sink` with record headers and contents. Always holds: eight bytes of memory. Refuses:
//! a header that is not one; it says so once and waits for a turn.

use crate::http1::Reason;
use crate::stream::{Begin, Input};

/// FCGI_BEGIN_REQUEST
pub const BEGIN_REQUEST: u8 = 1;
/// FCGI_ABORT_REQUEST
pub const ABORT_REQUEST: u8 = 2;
/// FCGI_END_REQUEST
pub const END_REQUEST: u8 = 3;
/// FCGI_PARAMS
pub const PARAMS: u8 = 4;
/// FCGI_STDIN
pub const STDIN: u8 = 5;
/// FCGI_STDOUT
pub const STDOUT: u8 = 6;
/// FCGI_STDERR
pub const STDERR: u8 = 7;
/// FCGI_MAXTYPE
pub const TYPE_MAX: u8 = 11;
/// FCGI_HEADER_LEN
pub const HEADER_LEN: usize = 8;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    /// 0 for management records.
    pub(super) id: u16,
    /// Bytes of content.
    pub(super) len: u16,
    padding: u8,
}

impl Header {
    fn read(bytes: [u8; HEADER_LEN]) -> Option<Self> {
        let [1, kind @ 1..=TYPE_MAX, id1, id0, len1, len0, padding, _] = bytes else {
            return None;
        };
        Some(Self {
            kind,
            id: u16::from_be_bytes([id1, id0]),
            len: u16::from_be_bytes([len1, len0]),
            padding,
        })
    }

    /// The header `bytes` begin with.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().and_then(|header| Self::read(*header))
    }
}

/// Why records can no longer be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfStep {
    /// A header was not captured.
    Unseen,
    /// A hole.
    Lost,
    /// What must be a header is none.
    NotRecord,
    /// Met in the middle of the connection.
    Midstream,
}

impl OutOfStep {
    /// What is said where a head is missing because of it.
    pub(super) const fn instead_of_head(self) -> Reason {
        match self {
            Self::Unseen => Reason::UnseenHead,
            Self::Lost => Reason::LostHead,
            Self::NotRecord => Reason::NotHttp,
            Self::Midstream => Reason::Midstream,
        }
    }

    /// What is said where it is in a body.
    pub(super) const fn in_body(self) -> Option<Reason> {
        match self {
            Self::Lost => Some(Reason::LostBody),
            Self::NotRecord => Some(Reason::Chunk),
            Self::Unseen | Self::Midstream => None,
        }
    }
}

/// What takes records.
pub(super) trait Sink {
    /// Can a message be recognised to begin with these bytes?
    fn starts(&self, bytes: &[u8]) -> bool;
    fn record(&mut self, header: Header);
    fn content(&mut self, bytes: &[u8]);
    /// `n` bytes of content were not seen.
    fn hidden(&mut self, n: u64);
    fn record_end(&mut self);
    fn out_of_step(&mut self, why: OutOfStep);
    /// Out of step: `n` bytes moved, of which the last ones are `tail`. True: a record ends there.
    fn stray(&mut self, n: u64, tail: &[u8]) -> bool;
    /// Out of step, and a message begins here.
    fn resynced(&mut self);
}

/// ```text
///   Header ──8 bytes──▶ Content ──len bytes──▶ Padding ──padding bytes──▶ Header
///   Header ──not a header──▶ Lost ◀──unseen or lost header── any
///   Lost ──turn──▶ Header          Lost, not dead ──a piece that begins a message──▶ Header
/// ```
#[derive(Clone, Debug)]
enum State {
    Header {
        got: [u8; HEADER_LEN],
        n: usize,
    },
    Content {
        left: u16,
        padding: u8,
    },
    Padding {
        left: u8,
    },
    /// `told`: the sink knows. `dead`: by bytes that are no record, so only a turn helps.
    Lost {
        told: bool,
        dead: bool,
    },
    Ended,
}

const HEADER: State = State::Header {
    got: [0; HEADER_LEN],
    n: 0,
};

/// Cuts a stream into records.
#[derive(Clone, Debug)]
pub(super) struct Framer(State);

impl Framer {
    pub(super) fn new(begin: Begin) -> Self {
        Self(match begin {
            Begin::Boundary => HEADER,
            Begin::Midstream => State::Lost {
                told: false,
                dead: false,
            },
        })
    }

    pub(super) fn turn(&mut self) {
        if matches!(self.0, State::Lost { .. }) {
            self.0 = HEADER;
        }
    }

    pub(super) fn end(&mut self) {
        self.0 = State::Ended;
    }

    pub(super) fn push(&mut self, input: Input<'_>, sink: &mut dyn Sink) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, sink),
            Input::Unseen { len, tail } => {
                let kept = tail.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                let tail = &tail[tail.len() - kept..];
                let hidden = len - kept as u64;
                match self.skip(hidden, OutOfStep::Unseen, sink) {
                    0 => self.bytes(tail, sink),
                    rest => {
                        let lost = matches!(self.0, State::Lost { .. });
                        if lost && sink.stray(rest + kept as u64, tail) {
                            self.0 = HEADER;
                        }
                    }
                }
            }
            Input::Lost { len: Some(len) } => {
                let rest = self.skip(len, OutOfStep::Lost, sink);
                if rest > 0 && matches!(self.0, State::Lost { .. }) {
                    sink.stray(rest, &[]);
                }
            }
            Input::Lost { len: None } => self.lose(OutOfStep::Lost, sink),
        }
    }

    fn bytes(&mut self, all: &[u8], sink: &mut dyn Sink) {
        let mut bytes = all;
        while !bytes.is_empty() {
            let used = match &mut self.0 {
                State::Header { got, n } => {
                    let part = bytes.len().min(HEADER_LEN - *n);
                    got[*n..*n + part].copy_from_slice(&bytes[..part]);
                    *n += part;
                    // The first two bytes decide before the rest has come.
                    let hopeless = got[0] != 1 || *n > 1 && !(1..=TYPE_MAX).contains(&got[1]);
                    match Header::read(*got) {
                        _ if hopeless => {
                            let seen = *n as u64;
                            self.lose(OutOfStep::NotRecord, sink);
                            sink.stray(seen, &[]);
                        }
                        Some(header) if *n == HEADER_LEN => {
                            self.0 = State::Content {
                                left: header.len,
                                padding: header.padding,
                            };
                            sink.record(header);
                            self.settle(sink);
                        }
                        _ => {}
                    }
                    part
                }
                State::Content { left, .. } => {
                    let part = bytes.len().min(usize::from(*left));
                    *left -= part as u16;
                    sink.content(&bytes[..part]);
                    self.settle(sink);
                    part
                }
                State::Padding { left } => {
                    let part = bytes.len().min(usize::from(*left));
                    *left -= part as u8;
                    self.settle(sink);
                    part
                }
                State::Lost { dead: false, .. }
                    if bytes.len() == all.len() && sink.starts(bytes) =>
                {
                    sink.resynced();
                    self.0 = HEADER;
                    0
                }
                State::Lost { told, .. } => {
                    if !std::mem::replace(told, true) {
                        sink.out_of_step(OutOfStep::Midstream);
                    }
                    sink.stray(bytes.len() as u64, &[]);
                    return;
                }
                State::Ended => return,
            };
            bytes = &bytes[used..];
        }
    }

    /// Leaves states in which nothing is awaited any more.
    fn settle(&mut self, sink: &mut dyn Sink) {
        if let State::Content { left: 0, padding } = self.0 {
            self.0 = State::Padding { left: padding };
            sink.record_end();
        }
        if let State::Padding { left: 0 } = self.0 {
            self.0 = HEADER;
        }
    }

    /// `n` bytes nobody saw. Says how many of them are beyond what is known of records: 0 means still in step.
    fn skip(&mut self, n: u64, why: OutOfStep, sink: &mut dyn Sink) -> u64 {
        let mut n = n;
        if let State::Content { left, .. } = &mut self.0 {
            let part = n.min(u64::from(*left));
            *left -= part as u16;
            n -= part;
            sink.hidden(part);
            self.settle(sink);
        }
        if let State::Padding { left } = &mut self.0 {
            let part = n.min(u64::from(*left));
            *left -= part as u8;
            n -= part;
            self.settle(sink);
        }
        if n > 0 {
            self.lose(why, sink);
        }
        n
    }

    fn lose(&mut self, why: OutOfStep, sink: &mut dyn Sink) {
        if !matches!(self.0, State::Lost { .. } | State::Ended) {
            self.0 = State::Lost {
                told: true,
                dead: why == OutOfStep::NotRecord,
            };
            sink.out_of_step(why);
        }
    }
}

//! Finds messages in one direction of a connection; the same for requests and responses, which differ in [`Side`].
//!
//! In: pieces, turns, the end. Out: calls of [`Side`]. Always holds: a head is buffered only while it is incomplete,
//! never beyond `limit`; every stretch that is skipped is reported once.

mod holes;
mod partial;

use crate::http1::body::{Body, Chunk, Step};
use crate::http1::event::{BodyEnd, Ended, Reason};
use crate::http1::framing::{Rest, Start};
use crate::stream::{Begin, HOPELESS_TURNS, Input};

use self::partial::Partial;

/// How long a message is, from its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// An interim response: another head follows.
    Interim,
    NoBody,
    /// `unsure`: it may answer a HEAD.
    Length {
        bytes: u64,
        unsure: bool,
    },
    Chunked,
    Close,
    /// Not to be told; `Side` has said why.
    Unknown,
    Opaque,
}

/// Why there is no head yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHead {
    Partial,
    Bad,
}

/// What of a head is given to [`Side::head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// False: whole lines of a head whose end was not seen.
    pub(crate) complete: bool,
    pub(crate) resynced: bool,
    /// Try what is ordinary only; the caller comes back with the same bytes otherwise.
    pub(crate) quick: bool,
}

/// What tells requests from responses.
pub(crate) trait Side {
    /// Can `bytes` begin a message? `No` must hold for every extension of the bytes.
    fn start(&self, bytes: &[u8]) -> Start;
    /// Is this a first line (with its LF)? If not, why.
    fn first_line(&self, line: &[u8]) -> Result<(), Reason>;
    /// Reads a head, delivers it, says how many bytes it had and what follows.
    fn head(&mut self, bytes: &[u8], shape: Shape) -> Result<(usize, Framing), NoHead>;
    fn begin(&mut self);
    fn end(&mut self, end: BodyEnd);
    fn unparsed(&mut self, why: Reason);
}

/// ```text
///              a byte that is not CR or LF          the empty line               its framing
///   Boundary ────────────────────────────▶ Head ───────────────────▶ (Head) ───────────────────▶ Body ──end──▶ Boundary
///      │ unseen or lost bytes               │ not this protocol                                    │ upgrade, tunnel
///      ▼                                    ▼                                                      ▼
///    Sync ──what looks like a start──▶    Dead ──turn──▶ Boundary                               Opaque
///   (Body of unknown rest ──turn──▶ Sync, tried at once; hole in a head or body ──▶ Body of unknown rest)
/// ```
#[derive(Clone, Debug)]
enum State {
    /// Between two messages.
    Boundary { resynced: bool },
    /// Out of step, no message open.
    Sync { hole: bool, told: bool },
    /// In a head; `Machine::head` holds it.
    Head { resynced: bool },
    /// After a head.
    Body {
        body: Body,
        bytes: u64,
        unsure: bool,
    },
    /// Another protocol from here on, or the stream has ended.
    Opaque,
    /// Not this protocol, until a turn.
    Dead,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    state: State,
    head: Partial,
    /// The direction has just turned here (or the boundary is likely here for another reason).
    turned: bool,
    misses: u8,
}

impl Machine {
    pub(crate) fn new(begin: Begin) -> Self {
        let state = match begin {
            Begin::Boundary => State::Boundary { resynced: false },
            Begin::Midstream => State::Sync {
                hole: true,
                told: false,
            },
        };
        Self {
            state,
            head: Partial::default(),
            turned: false,
            misses: 0,
        }
    }

    pub(crate) fn in_message(&self) -> bool {
        matches!(self.state, State::Head { .. } | State::Body { .. })
    }

    /// Bytes of heap held: none outside of a head.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        self.head.bytes.capacity()
    }

    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque)
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.misses >= HOPELESS_TURNS
    }

    pub(crate) fn become_opaque(&mut self) {
        self.state = State::Opaque;
        self.head = Partial::default();
    }

    pub(crate) fn push(&mut self, input: Input<'_>, limit: usize, side: &mut dyn Side) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, limit, side),
            Input::Unseen { len, tail } => {
                let kept = tail.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                let tail = &tail[tail.len() - kept..];
                let hidden = len - kept as u64;
                if hidden == 0 || self.skip(hidden, side) {
                    self.bytes(tail, limit, side);
                } else {
                    self.tail(tail, side);
                }
            }
            Input::Lost { len: Some(0) } => {}
            Input::Lost { len } => self.lost(len, side),
        }
    }

    pub(crate) fn turn(&mut self, side: &mut dyn Side) {
        match &self.state {
            State::Boundary { .. } | State::Head { .. } | State::Opaque => {}
            State::Sync { .. } => self.turned = true,
            State::Dead => self.state = State::Boundary { resynced: true },
            State::Body {
                body,
                bytes,
                unsure,
            } => match body {
                Body::Rest(rest) => {
                    let hole = rest.hole;
                    side.end(BodyEnd {
                        body_bytes: *bytes,
                        how: Ended::Turn,
                    });
                    self.state = State::Sync { hole, told: false };
                    self.turned = true;
                }
                // Only what comes next can tell whether this is over.
                Body::Close => self.turned = true,
                Body::Length(_) if *unsure && *bytes == 0 => self.turned = true,
                Body::Length(_) | Body::Chunked(_) => {}
            },
        }
    }

    pub(crate) fn end(&mut self, side: &mut dyn Side) {
        match &self.state {
            State::Head { resynced } => {
                let resynced = *resynced;
                match self.deliver_cut(resynced, side) {
                    Ok(Framing::Interim) => {}
                    Ok(Framing::Opaque) => side.end(BodyEnd {
                        body_bytes: 0,
                        how: Ended::Opaque,
                    }),
                    Ok(_) => side.end(BodyEnd {
                        body_bytes: 0,
                        how: Ended::Truncated,
                    }),
                    Err(NoHead::Partial) => side.unparsed(Reason::FirstLineTruncated),
                    Err(NoHead::Bad) => side.unparsed(Reason::NotHttp),
                }
            }
            State::Body { body, bytes, .. } => {
                let how = match body {
                    Body::Length(_) | Body::Chunked(_) => Ended::Truncated,
                    Body::Close | Body::Rest(_) => Ended::Close,
                };
                side.end(BodyEnd {
                    body_bytes: *bytes,
                    how,
                });
            }
            State::Boundary { .. } | State::Sync { .. } | State::Opaque | State::Dead => {}
        }
        self.become_opaque();
    }

    fn bytes(&mut self, all: &[u8], limit: usize, side: &mut dyn Side) {
        if all.is_empty() {
            return;
        }
        let mut bytes = all;
        let turned = std::mem::take(&mut self.turned);
        while !bytes.is_empty() {
            let first = bytes.len() == all.len();
            match &mut self.state {
                State::Boundary { resynced } => {
                    let resynced = *resynced;
                    let blank = bytes
                        .iter()
                        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                        .count();
                    bytes = &bytes[blank..];
                    if bytes.is_empty() {
                        return;
                    }
                    side.begin();
                    let shape = Shape {
                        complete: true,
                        resynced,
                        quick: true,
                    };
                    match side.head(&bytes[..bytes.len().min(limit)], shape) {
                        Ok((used, framing)) => {
                            bytes = &bytes[used..];
                            self.follow(framing, side);
                        }
                        Err(_) => self.state = State::Head { resynced },
                    }
                }
                State::Head { resynced } => {
                    let resynced = *resynced;
                    let used = self.in_head(bytes, limit, resynced, side);
                    bytes = &bytes[used..];
                }
                State::Body {
                    body,
                    bytes: seen,
                    unsure,
                } => {
                    let over = first
                        && match body {
                            Body::Rest(rest) => rest.hole && side.start(bytes) == Start::Yes,
                            Body::Close => turned && side.start(bytes) != Start::No,
                            Body::Length(_) => {
                                turned && *unsure && *seen == 0 && side.start(bytes) == Start::Yes
                            }
                            Body::Chunked(_) => false,
                        };
                    if over {
                        let resynced = matches!(body, Body::Rest(_));
                        side.end(BodyEnd {
                            body_bytes: *seen,
                            how: Ended::Turn,
                        });
                        self.state = State::Boundary { resynced };
                    } else {
                        let used = self.in_body(bytes, first, side);
                        bytes = &bytes[used..];
                    }
                }
                State::Sync { hole, told } => {
                    let found = match side.start(bytes.trim_ascii_start()) {
                        Start::Yes => first,
                        Start::Maybe => first && turned,
                        Start::No => false,
                    };
                    if found {
                        self.state = State::Boundary {
                            resynced: *hole || !turned,
                        };
                        continue;
                    }
                    if !std::mem::replace(told, true) {
                        side.unparsed(Reason::Midstream);
                    }
                    if turned {
                        self.misses = self.misses.saturating_add(1);
                    }
                    return;
                }
                State::Opaque | State::Dead => return,
            }
        }
    }

    /// Bytes inside a body; says how many were used.
    fn in_body(&mut self, bytes: &[u8], whole: bool, side: &mut dyn Side) -> usize {
        let State::Body {
            body, bytes: seen, ..
        } = &mut self.state
        else {
            return bytes.len();
        };
        match body {
            Body::Length(left) => {
                let part = (*left).min(bytes.len() as u64);
                *left -= part;
                *seen += part;
                if *left == 0 {
                    self.over(Ended::Length, side);
                }
                part as usize
            }
            Body::Chunked(chunk) => match chunk.take(bytes, seen, &mut |_| {}) {
                Step::More => bytes.len(),
                Step::Over { used } => {
                    self.over(Ended::Chunked, side);
                    used
                }
                Step::Broken { used } => {
                    *body = Body::Rest(Rest::new(false, false));
                    side.unparsed(Reason::Chunk);
                    used
                }
            },
            Body::Close => {
                *seen = seen.saturating_add(bytes.len() as u64);
                bytes.len()
            }
            Body::Rest(rest) => {
                *seen = seen.saturating_add(bytes.len() as u64);
                if rest.ends_with(bytes, whole) {
                    self.over_by_tail(side);
                }
                bytes.len()
            }
        }
    }

    /// A head was delivered.
    fn follow(&mut self, framing: Framing, side: &mut dyn Side) {
        self.misses = 0;
        self.head = Partial::default();
        let (body, unsure) = match framing {
            Framing::Interim => {
                self.state = State::Boundary { resynced: false };
                return;
            }
            Framing::NoBody => return self.end_now(Ended::NoBody, side),
            Framing::Length { bytes: 0, .. } => return self.end_now(Ended::Length, side),
            Framing::Opaque => {
                self.end_now(Ended::Opaque, side);
                self.state = State::Opaque;
                return;
            }
            Framing::Length { bytes, unsure } => (Body::Length(bytes), unsure),
            Framing::Chunked => (Body::Chunked(Chunk::FIRST), false),
            Framing::Close => (Body::Close, false),
            Framing::Unknown => (Body::Rest(Rest::new(false, false)), false),
        };
        self.state = State::Body {
            body,
            bytes: 0,
            unsure,
        };
    }

    fn end_now(&mut self, how: Ended, side: &mut dyn Side) {
        self.state = State::Boundary { resynced: false };
        side.end(BodyEnd { body_bytes: 0, how });
    }

    /// The open body ended where it must.
    fn over(&mut self, how: Ended, side: &mut dyn Side) {
        let boundary = State::Boundary { resynced: false };
        if let State::Body { bytes, .. } = std::mem::replace(&mut self.state, boundary) {
            side.end(BodyEnd {
                body_bytes: bytes,
                how,
            });
        }
    }

    /// The open body ended as far as its last bytes tell. Payload may end like this too, so what comes next is only
    /// likely, not sure, to be a message.
    fn over_by_tail(&mut self, side: &mut dyn Side) {
        self.over(Ended::Chunked, side);
        self.state = State::Sync {
            hole: false,
            told: false,
        };
        self.turned = true;
    }
}

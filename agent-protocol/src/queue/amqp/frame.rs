//! Frames of one direction (AMQP 0-9-1 §4.2): type, channel, size, payload, and an end octet that is 0xCE.
//!
//! In: pieces of one direction, and whether the other end spoke since the last. Out: [`Piece`]s: methods and content headers whole, bodies
//! as they come. Always holds: at most the limit is kept of one frame; a piece cut in two gives the same. Refuses: what is no frame, once;
//! then it waits for a turn, and there for a method that this end can say and whose end octet is where its size says.

use super::probe::{END, GREETING, HEAD, Plausible, channel_and_size, plausible};
use crate::queue::Way;
use crate::stream::Input;

/// Largest frame that is believed: brokers and clients agree on 128 KiB, or on 4 KiB to 1 MiB by configuration.
const SIZE_MAX: u32 = 16 << 20;
/// Times in a row that no frame was found at a turn, after which these are no frames. A turn may come in the middle of a long message, as both
/// ends speak at once.
const FAILURES_MAX: u8 = 64;

/// A frame, or a part of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    Method {
        channel: u16,
        payload: &'a [u8],
        /// Nothing of it is missing at the end of `payload`.
        whole: bool,
    },
    Header {
        channel: u16,
        payload: &'a [u8],
        whole: bool,
    },
    Body {
        channel: u16,
        bytes: &'a [u8],
    },
    /// So much of a body was not seen.
    Hole {
        channel: u16,
        len: u64,
    },
    /// A body's frame is complete.
    BodyEnd {
        channel: u16,
    },
    /// Frames are missing.
    Broken(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Method,
    Header,
    Body,
    Heartbeat,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Greeting,
    Head,
    Payload {
        kind: Kind,
        channel: u16,
        left: u32,
        whole: bool,
    },
    End {
        kind: Kind,
        channel: u16,
        whole: bool,
    },
    /// A frame may begin at the first of `kept`.
    Probe,
    /// Until a turn.
    Adrift,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Frames {
    way: Way,
    keep: usize,
    state: State,
    kept: Vec<u8>,
    failures: u8,
    pub is_hopeless: bool,
}

impl Frames {
    pub(super) fn new(way: Way, from_the_start: bool, keep: usize) -> Self {
        Self {
            way,
            keep,
            state: match (from_the_start, way) {
                (true, Way::ToBroker) => State::Greeting,
                (true, Way::ToClient) => State::Head,
                (false, _) => State::Probe,
            },
            kept: Vec::new(),
            failures: 0,
            is_hopeless: false,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// The other end spoke: what comes next may begin a frame.
    pub(super) fn turn(&mut self) {
        if let State::Adrift = self.state {
            self.state = State::Probe;
        }
    }

    pub(super) fn push(&mut self, input: Input<'_>, sink: &mut dyn FnMut(Piece<'_>)) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, sink),
            Input::Unseen { len, tail } => {
                let tail = &tail[..tail.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
                self.skip(len - tail.len() as u64, sink);
                // A write mostly ends with a frame; whether it did, the next frame proves.
                if let (State::Adrift, [.., END]) = (self.state, tail) {
                    self.state = State::Probe;
                } else {
                    self.bytes(tail, sink);
                }
            }
            Input::Lost { len: Some(len) } => self.skip(len, sink),
            Input::Lost { len: None } => self.hole("lost", sink),
        }
    }

    fn bytes(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>)) {
        while !bytes.is_empty() && !self.is_hopeless {
            bytes = match self.state {
                State::Greeting => self.greeting(bytes),
                State::Head => self.head(bytes, sink),
                State::Payload { .. } => self.payload(bytes, sink),
                State::End { .. } => self.end(bytes, sink),
                State::Probe => self.probe(bytes, sink),
                State::Adrift => return,
            };
        }
    }

    /// Moves bytes to `kept` until it has `wanted`; the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8], wanted: usize) -> &'a [u8] {
        let missing = wanted.saturating_sub(self.kept.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.kept.extend_from_slice(taken);
        rest
    }

    fn greeting<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let rest = self.fill(bytes, GREETING.len());
        if !GREETING.starts_with(&self.kept) {
            self.is_hopeless = true;
        } else if self.kept.len() == GREETING.len() {
            self.next();
        }
        rest
    }

    fn next(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(4096);
        self.state = State::Head;
    }

    fn head<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Piece<'_>)) -> &'a [u8] {
        let rest = self.fill(bytes, HEAD);
        let Some(kind) = Kind::of(self.kept[0]) else {
            // A broker that does not speak this version answers with the greeting it wants, and closes.
            self.is_hopeless = self.kept[0] == b'A' && self.way == Way::ToClient;
            self.adrift("no frame", sink);
            return rest;
        };
        let Some((channel, size)) = channel_and_size(&self.kept) else {
            return rest;
        };
        if size > SIZE_MAX || kind == Kind::Heartbeat && (channel, size) != (0, 0) {
            self.adrift("no frame", sink);
            return rest;
        }
        self.kept.clear();
        self.state = State::Payload {
            kind,
            channel,
            left: size,
            whole: true,
        };
        // An empty payload is one too, also when no byte follows it.
        if size == 0 {
            self.payload(rest, sink)
        } else {
            rest
        }
    }

    fn payload<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Piece<'_>)) -> &'a [u8] {
        let State::Payload {
            kind,
            channel,
            left,
            mut whole,
        } = self.state
        else {
            return bytes;
        };
        let (taken, rest) = bytes.split_at(bytes.len().min(left as usize));
        let left = left - taken.len() as u32;
        match kind {
            Kind::Body if !taken.is_empty() => sink(Piece::Body {
                channel,
                bytes: taken,
            }),
            // Nothing that follows a hole is read: where it belongs is not known.
            Kind::Method | Kind::Header if whole => {
                let room = self.keep.saturating_sub(self.kept.len()).min(taken.len());
                self.kept.extend_from_slice(&taken[..room]);
                whole = room == taken.len();
            }
            _ => {}
        }
        self.state = if left == 0 {
            State::End {
                kind,
                channel,
                whole,
            }
        } else {
            State::Payload {
                kind,
                channel,
                left,
                whole,
            }
        };
        rest
    }

    fn end<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Piece<'_>)) -> &'a [u8] {
        if bytes[0] != END {
            self.adrift("no end of a frame", sink);
            return &bytes[1..];
        }
        self.complete(sink);
        &bytes[1..]
    }

    fn complete(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let State::End {
            kind,
            channel,
            whole,
        } = self.state
        else {
            return;
        };
        self.failures = 0;
        let payload = &self.kept[..];
        match kind {
            Kind::Method => sink(Piece::Method {
                channel,
                payload,
                whole,
            }),
            Kind::Header => sink(Piece::Header {
                channel,
                payload,
                whole,
            }),
            Kind::Body => sink(Piece::BodyEnd { channel }),
            Kind::Heartbeat => {}
        }
        self.next();
    }

    /// Bytes moved and are not here.
    fn skip(&mut self, len: u64, sink: &mut dyn FnMut(Piece<'_>)) {
        if len == 0 {
            return;
        }
        match self.state {
            State::Payload {
                kind,
                channel,
                left,
                ..
            } if len <= u64::from(left) + 1 => {
                let gone = len.min(u64::from(left));
                if kind == Kind::Body {
                    sink(Piece::Hole { channel, len: gone });
                }
                let left = left - gone as u32;
                self.state = State::Payload {
                    kind,
                    channel,
                    left,
                    whole: false,
                };
                if left == 0 {
                    self.payload(&[], sink);
                }
                if len > gone {
                    self.complete(sink);
                }
            }
            State::End { .. } if len == 1 => self.complete(sink),
            _ => self.hole("not seen", sink),
        }
    }

    fn hole(&mut self, why: &'static str, sink: &mut dyn FnMut(Piece<'_>)) {
        if !matches!(self.state, State::Adrift) {
            self.kept = Vec::new();
            self.state = State::Adrift;
            sink(Piece::Broken(why));
        }
    }

    fn adrift(&mut self, why: &'static str, sink: &mut dyn FnMut(Piece<'_>)) {
        self.failed();
        sink(Piece::Broken(why));
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.is_hopeless |= self.failures >= FAILURES_MAX;
        self.kept = Vec::new();
        self.state = State::Adrift;
    }

    fn probe<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Piece<'_>)) -> &'a [u8] {
        let wanted = match self.kept.first() {
            None => 1,
            Some(b'A') => GREETING.len(),
            Some(_) => {
                channel_and_size(&self.kept).map_or(HEAD, |(_, size)| HEAD + size as usize + 1)
            }
        };
        // Judged after each few bytes, so that nothing implausible is waited for.
        let wanted = wanted.min(if self.kept.len() < 11 {
            self.kept.len() + 1
        } else {
            wanted
        });
        let rest = self.fill(bytes, wanted);
        match plausible(&self.kept, self.way, self.keep) {
            Plausible::No => self.failed(),
            Plausible::SoFar => {}
            Plausible::Greeting => self.next(),
            Plausible::Frame => {
                self.failures = 0;
                if self.kept[0] == 1 {
                    let channel = u16::from_be_bytes([self.kept[1], self.kept[2]]);
                    let payload = &self.kept[HEAD..self.kept.len() - 1];
                    sink(Piece::Method {
                        channel,
                        payload,
                        whole: true,
                    });
                }
                self.next();
            }
        }
        rest
    }
}

//! Lines and messages of one direction.
//!
//! In: pieces of one direction, and whether the other end spoke since the last. Out: [`Said`]. Always holds: of a line, of headers and of a
//! body no more is kept than the limits say; a piece cut in two gives the same. Refuses: what is no line of this end, once; then it waits
//! for a turn that begins with one.

use super::line::{Envelope, Op, Verb, may_begin, verb};
use crate::queue::{HASHED_BYTES, Way};
use crate::stream::Input;

/// Longest line that is read; servers refuse longer ones than 4 KiB, but for CONNECT and INFO.
const LINE_MAX: usize = 4096;
/// Times in a row that no line was found at a turn, after which these are none. A turn may come in the middle of a long message, as both
/// ends speak at once.
const FAILURES_MAX: u8 = 64;

/// A message, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub envelope: Envelope,
    pub header: Vec<u8>,
    pub header_is_whole: bool,
    /// First bytes of the body.
    pub first: Vec<u8>,
    pub first_is_whole: bool,
    passed: u64,
}

impl Content {
    fn total(&self) -> u64 {
        self.envelope.header_bytes + self.envelope.body_bytes
    }

    fn left(&self) -> u64 {
        self.total() - self.passed
    }

    /// No more than is left.
    fn bytes(&mut self, bytes: &[u8], keep: usize) {
        let header_left = self.envelope.header_bytes.saturating_sub(self.passed);
        let at = bytes
            .len()
            .min(usize::try_from(header_left).unwrap_or(usize::MAX));
        let (header, body) = bytes.split_at(at);
        if self.header_is_whole {
            let room = keep.saturating_sub(self.header.len()).min(header.len());
            self.header.extend_from_slice(&header[..room]);
            self.header_is_whole = room == header.len();
        }
        if self.first_is_whole {
            let room = keep.min(HASHED_BYTES).saturating_sub(self.first.len());
            self.first.extend_from_slice(&body[..room.min(body.len())]);
        }
        self.passed += bytes.len() as u64;
    }

    fn hole(&mut self, len: u64) {
        self.header_is_whole &= self.passed >= self.envelope.header_bytes;
        self.first_is_whole &= self.passed + len <= self.envelope.header_bytes;
        self.passed += len;
    }
}

/// What an end said.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Line(Op),
    Message(&'a Content),
    Broken(&'static str),
}

#[derive(Debug)]
enum State {
    /// In a line, or before one.
    Line,
    Body(Content),
    /// The two bytes after a body.
    End(Content, u8),
    Adrift,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Lines {
    way: Way,
    keep: usize,
    state: State,
    kept: Vec<u8>,
    /// Nothing proves that a line begins here.
    is_probe: bool,
    is_first: bool,
    failures: u8,
    pub is_hopeless: bool,
}

impl Lines {
    pub(super) fn new(way: Way, from_the_start: bool, keep: usize) -> Self {
        Self {
            way,
            keep,
            state: State::Line,
            kept: Vec::new(),
            is_probe: !from_the_start,
            is_first: from_the_start,
            failures: 0,
            is_hopeless: false,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
            + match &self.state {
                State::Body(content) | State::End(content, _) => {
                    let envelope = &content.envelope;
                    content.header.capacity()
                        + content.first.capacity()
                        + envelope.subject.capacity()
                        + envelope.reply.capacity()
                        + envelope.sid.capacity()
                }
                State::Line | State::Adrift => 0,
            }
    }

    /// The other end spoke: what comes next may begin a line.
    pub(super) fn turn(&mut self) {
        if matches!(self.state, State::Adrift) {
            self.state = State::Line;
            self.is_probe = true;
        }
    }

    pub(super) fn push(&mut self, input: Input<'_>, sink: &mut dyn FnMut(Said<'_>)) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, sink),
            Input::Unseen { len, tail } => {
                let tail = &tail[..tail.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
                self.skip(len - tail.len() as u64, sink);
                // A write mostly ends with a message; whether it did, the next line proves.
                if let (State::Adrift, [.., b'\r', b'\n']) = (&self.state, tail) {
                    self.turn();
                } else {
                    self.bytes(tail, sink);
                }
            }
            Input::Lost { len: Some(len) } => self.skip(len, sink),
            Input::Lost { len: None } => self.hole("lost", sink),
        }
    }

    fn bytes(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Said<'_>)) {
        while !bytes.is_empty() && !self.is_hopeless {
            bytes = match std::mem::replace(&mut self.state, State::Adrift) {
                State::Line => self.line(bytes, sink),
                State::Body(mut content) => {
                    let left = usize::try_from(content.left()).unwrap_or(usize::MAX);
                    let (taken, rest) = bytes.split_at(bytes.len().min(left));
                    content.bytes(taken, self.keep);
                    self.state = body(content);
                    rest
                }
                State::End(content, seen) => {
                    if bytes[0] == b"\r\n"[usize::from(seen)] {
                        self.state = State::End(content, seen + 1);
                        self.complete(sink);
                    } else {
                        self.failed("no end of a message", sink);
                    }
                    &bytes[1..]
                }
                State::Adrift => return,
            };
        }
    }

    /// A message of which the end was seen.
    fn complete(&mut self, sink: &mut dyn FnMut(Said<'_>)) {
        if let State::End(content, 2..) = &self.state {
            sink(Said::Message(content));
            self.state = State::Line;
        }
    }

    fn line<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Said<'_>)) -> &'a [u8] {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let most = self.keep.min(LINE_MAX);
        let room = most.saturating_sub(self.kept.len()).min(part.len());
        self.kept.extend_from_slice(&part[..room]);
        let ended = self.kept.strip_suffix(b"\n").unwrap_or(&self.kept);
        let line = ended.strip_suffix(b"\r").unwrap_or(ended);
        let is_cut = room < part.len();
        let may_be_long = matches!(verb(line, self.way), Some(Verb::Other | Verb::Wrong));
        if !may_begin(line, self.way) || line.is_empty() && end.is_some() {
            self.is_hopeless |= self.is_first;
            self.failed("no line", sink);
            return rest;
        }
        if is_cut && !may_be_long {
            self.failed("a long line", sink);
            return rest;
        }
        self.state = State::Line;
        if end.is_none() {
            return rest;
        }
        let Some(op) = Op::of(line, self.way) else {
            self.failed("a wrong line", sink);
            return rest;
        };
        self.kept.clear();
        self.kept.shrink_to(1024);
        self.is_probe = false;
        self.is_first = false;
        self.failures = 0;
        match op {
            Op::Message(envelope) => {
                self.state = body(Content {
                    envelope,
                    header_is_whole: true,
                    first_is_whole: true,
                    ..Content::default()
                });
            }
            op => sink(Said::Line(op)),
        }
        rest
    }

    /// Bytes moved and are not here.
    fn skip(&mut self, len: u64, sink: &mut dyn FnMut(Said<'_>)) {
        if len == 0 {
            return;
        }
        match std::mem::replace(&mut self.state, State::Adrift) {
            State::Body(mut content) if len <= content.left() + 2 => {
                let left = content.left();
                content.hole(len.min(left));
                self.state = if len >= left {
                    State::End(content, (len - left) as u8)
                } else {
                    State::Body(content)
                };
                self.complete(sink);
            }
            State::End(content, seen) if len + u64::from(seen) <= 2 => {
                self.state = State::End(content, seen + len as u8);
                self.complete(sink);
            }
            State::Adrift => {}
            _ => {
                self.state = State::Line;
                self.hole("not seen", sink);
            }
        }
    }

    fn hole(&mut self, why: &'static str, sink: &mut dyn FnMut(Said<'_>)) {
        if !matches!(self.state, State::Adrift) {
            self.state = State::Adrift;
            self.kept = Vec::new();
            sink(Said::Broken(why));
        }
    }

    fn failed(&mut self, why: &'static str, sink: &mut dyn FnMut(Said<'_>)) {
        self.state = State::Adrift;
        self.kept = Vec::new();
        self.failures = self.failures.saturating_add(1);
        self.is_hopeless |= self.failures >= FAILURES_MAX;
        if !self.is_probe {
            sink(Said::Broken(why));
        }
    }
}

fn body(content: Content) -> State {
    if content.left() == 0 {
        State::End(content, 0)
    } else {
        State::Body(content)
    }
}

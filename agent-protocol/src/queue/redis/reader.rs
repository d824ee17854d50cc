//! RESP2 and RESP3 of one direction, a step at a time.
//!
//! In: bytes in any pieces, with holes. Out: [`Step`]s, and what they are about in a [`Frame`]. Always holds: no room is made for what a
//! peer claims; a frame holds at most `budget` bytes and a sixteenth as many nodes; no recursion; the same bytes in other pieces give the
//! same steps. Refuses: to look for a message inside of bytes it cannot place: it waits for a turn, or for the first bytes after a hole,
//! if these begin like a message.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use super::frame::{Frame, Kind, Node, Piece, Step, Why, Writer};
use super::line::{self, DIGITS_MAX, First, LINE_MAX};

/// Most levels of aggregates; Redis' own replies have less than ten.
const DEPTH_MAX: usize = 32;
/// Longest inline command (Redis: `PROTO_INLINE_MAX_SIZE`).
const INLINE_MAX: u64 = 64 * 1024;
/// Room that a line keeps between messages.
const IDLE_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    left: u64,
    index: u64,
    node: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first byte of a value.
    Start,
    /// In its first line.
    Line,
    /// In the bytes of a string.
    Body {
        left: u64,
    },
    /// Before this many bytes of the line end after a string.
    End {
        left: u8,
    },
    Inline {
        len: u64,
    },
    /// Lost.
    Out(Why),
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    writer: Writer,
    budget: usize,
    state: State,
    line: Vec<u8>,
    open: Vec<Open>,
    pub(super) frame: Frame,
    /// The node whose body is read is kept.
    keeps: bool,
    /// A hole was in the body that is read: what comes after is not its prefix.
    holed: bool,
    skips: bool,
    is_done: bool,
    /// Nothing has been seen since a hole: what comes may begin a message.
    after_hole: bool,
    /// The first message since it was out of step: if it is none, the step is [`Step::StillAstray`], and it waits as before.
    trial: Option<Why>,
}

impl Reader {
    pub(super) fn new(writer: Writer, budget: usize, is_boundary: bool) -> Self {
        let state = if is_boundary {
            State::Start
        } else {
            State::Out(Why::Hole)
        };
        Self {
            writer,
            budget: budget.max(64),
            state,
            line: Vec::new(),
            open: Vec::new(),
            frame: Frame::default(),
            keeps: false,
            holed: false,
            skips: false,
            is_done: false,
            after_hole: !is_boundary,
            trial: None,
        }
    }

    /// Keeps nothing more of this message.
    pub(super) fn skip_rest(&mut self) {
        self.skips = true;
    }

    /// The next step of a message that has begun is about what comes; nothing is half read.
    pub(super) fn is_between(&self) -> bool {
        self.is_done || self.open.is_empty() && self.state == State::Start
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.state, State::Out(_))
    }

    /// A new piece begins; `turned`: the other end wrote since the last one. True: a turn, and still nothing that is the protocol.
    pub(super) fn begin_piece(&mut self, turned: bool, first: &[u8]) -> bool {
        // What is seen now came after a hole, what is seen next does not.
        let after_hole = !first.is_empty() && std::mem::take(&mut self.after_hole);
        let State::Out(because) = self.state else {
            return false;
        };
        let like_head = match (self.writer, first.first()) {
            (_, None) => return false,
            (Writer::Client, Some(b'*')) => true,
            (Writer::Client, Some(byte)) => turned && byte.is_ascii_alphabetic(),
            (Writer::Broker, Some(byte)) => b"*>%~$=+-!:,#(_|".contains(byte),
        };
        if like_head && (turned || after_hole) {
            self.reset(State::Start);
            self.trial = Some(because);
        }
        !like_head && turned && because == Why::NotRedis
    }

    /// A hole of unknown length.
    pub(super) fn lost(&mut self) -> Option<Step> {
        self.after_hole = true;
        (!self.is_out()).then(|| self.out("records were lost", Why::Hole))
    }

    /// Bytes and nodes held.
    pub(super) fn held(&self) -> usize {
        self.frame.bytes.capacity()
            + self.frame.nodes.capacity() * size_of::<Node>()
            + self.line.capacity()
            + self.open.capacity() * size_of::<Open>()
    }

    /// Reads on until something is reached, or the piece is used up.
    /// `skips`: nothing is kept of a message that begins now, unless it is a push.
    pub(super) fn read(&mut self, piece: &mut Piece<'_>, skips: bool) -> Option<Step> {
        if std::mem::take(&mut self.is_done) {
            self.reset(State::Start);
        }
        if self.state == State::Start && self.open.is_empty() {
            self.skips = skips;
        }
        loop {
            // What is full is closed with the piece that filled it, so before a look at what comes.
            if self.state == State::Start && self.open.last().is_some_and(|open| open.left == 0) {
                let step = self.aggregate_done();
                if step.is_some() {
                    return step;
                }
                continue;
            }
            match *piece {
                Piece::Seen([]) | Piece::Unseen(0) => return None,
                Piece::Seen(bytes) => {
                    let (used, step) = self.seen(bytes);
                    *piece = Piece::Seen(bytes.get(used..).unwrap_or(&[]));
                    if step.is_some() {
                        return step;
                    }
                }
                Piece::Unseen(len) => {
                    let (used, step) = self.unseen(len);
                    *piece = Piece::Unseen(len - used.min(len));
                    if step.is_some() {
                        return step;
                    }
                }
            }
        }
    }

    fn unseen(&mut self, len: u64) -> (u64, Option<Step>) {
        self.after_hole = true;
        match self.state {
            State::Out(_) => (len, None),
            State::Body { left } if left > 0 => {
                self.holed = true;
                let used = left.min(len);
                self.state = State::Body { left: left - used };
                (used, None)
            }
            State::Body { .. } => {
                self.state = State::End { left: 2 };
                (0, None)
            }
            State::End { left } => {
                let used = u64::from(left).min(len);
                if used < u64::from(left) {
                    self.state = State::End {
                        left: left - used as u8,
                    };
                    return (used, None);
                }
                (used, self.value_done())
            }
            State::Start | State::Line | State::Inline { .. } => (
                len,
                Some(self.out("the beginning of a message was not captured", Why::Hole)),
            ),
        }
    }

    fn seen(&mut self, bytes: &[u8]) -> (usize, Option<Step>) {
        let Some(&first) = bytes.first() else {
            return (0, None);
        };
        match self.state {
            State::Out(_) => (bytes.len(), None),
            State::Start => match (self.writer, first) {
                (Writer::Client, b'\r' | b'\n') if self.open.is_empty() && self.trial.is_none() => {
                    (1, None)
                }
                (Writer::Client, byte) if self.open.is_empty() && byte != b'*' => {
                    if !byte.is_ascii_alphabetic() {
                        return (
                            bytes.len(),
                            Some(self.out("not a command of Redis", Why::NotRedis)),
                        );
                    }
                    self.begin_body();
                    self.state = State::Inline { len: 0 };
                    (0, None)
                }
                _ => {
                    self.state = State::Line;
                    (0, None)
                }
            },
            State::Line => self.line(bytes),
            State::Inline { len } => self.inline(bytes, len),
            State::Body { left: 0 } => {
                self.state = State::End { left: 2 };
                (0, None)
            }
            State::Body { left } => {
                let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.keep(bytes.get(..used).unwrap_or(&[]));
                self.state = State::Body {
                    left: left - used as u64,
                };
                (used, None)
            }
            State::End { left } => {
                let wanted = if left == 2 { b'\r' } else { b'\n' };
                if first != wanted {
                    return (
                        bytes.len(),
                        Some(self.out("a string is longer than it said", Why::NotRedis)),
                    );
                }
                if left == 2 {
                    self.state = State::End { left: 1 };
                    return (1, None);
                }
                (1, self.value_done())
            }
        }
    }

    /// The first line of a value: its type and length, or all of it.
    fn line(&mut self, bytes: &[u8]) -> (usize, Option<Step>) {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = bytes.get(..end.map_or(bytes.len(), |end| end + 1));
        let part = part.unwrap_or(bytes);
        let kind = *self.line.first().or(part.first()).unwrap_or(&0);
        let is_text = matches!(kind, b'+' | b'-');
        let most = if is_text { LINE_MAX } else { DIGITS_MAX };
        let room = most.saturating_sub(self.line.len());
        if part.len() > room && !is_text {
            return (
                bytes.len(),
                Some(self.out("not a value of Redis' protocol", Why::NotRedis)),
            );
        }
        let kept = part.get(..room).unwrap_or(part);
        let step = if end.is_some() && self.line.is_empty() {
            self.value(kept)
        } else {
            self.line.extend_from_slice(kept);
            if end.is_none() {
                return (part.len(), None);
            }
            let line = std::mem::take(&mut self.line);
            self.value(&line)
        };
        match step {
            Ok(step) => (part.len(), step),
            Err(why) => (bytes.len(), Some(self.out(why, Why::NotRedis))),
        }
    }

    /// A value's first line is complete.
    fn value(&mut self, line: &[u8]) -> Result<Option<Step>, &'static str> {
        let first = line::first(line).ok_or("not a value of Redis' protocol")?;
        let is_inner = !self.open.is_empty();
        match (self.writer, first) {
            (Writer::Client, First::String(Kind::Bulk, _)) if is_inner => {}
            (Writer::Client, First::Values(Kind::Array, _)) if !is_inner && line[0] == b'*' => {}
            (Writer::Client, _) => return Err("not a command of Redis"),
            (Writer::Broker, First::Values(Kind::Push, _)) if is_inner => {
                return Err("a push inside of a value");
            }
            (Writer::Broker, _) => {}
        }
        match first {
            First::String(kind, len) => {
                self.begin_body();
                self.keeps = self.add(kind, len).is_some();
                self.state = State::Body { left: len };
                Ok(None)
            }
            First::Values(kind, left) => {
                if self.open.len() >= DEPTH_MAX {
                    return Err("values are nested too deeply");
                }
                self.skips &= kind != Kind::Push;
                let node = self.add(kind, left);
                self.open.push(Open {
                    kind,
                    left,
                    index: 0,
                    node,
                });
                self.state = State::Start;
                Ok(None)
            }
            First::Scalar(kind, text) => Ok(self.scalar(kind, text)),
        }
    }

    fn scalar(&mut self, kind: Kind, text: &[u8]) -> Option<Step> {
        self.begin_body();
        self.keeps = self.add(kind, text.len() as u64).is_some();
        self.keep(text);
        self.value_done()
    }

    fn begin_body(&mut self) {
        self.holed = false;
        self.keeps = false;
    }

    /// Makes a node, if it is to be kept.
    fn add(&mut self, kind: Kind, len: u64) -> Option<usize> {
        let at = self.frame.nodes.len();
        if at >= self.budget / 16 || self.skips && !self.open.is_empty() {
            return None;
        }
        self.frame.nodes.push(Node {
            kind,
            depth: self.open.len() as u8,
            at: self.frame.bytes.len() as u32,
            kept: 0,
            len,
        });
        Some(at)
    }

    /// Keeps bytes of the last node: three quarters of the room at most, so that a long value leaves some for those after it.
    fn keep(&mut self, bytes: &[u8]) {
        if !self.keeps || self.holed || self.skips {
            return;
        }
        let Some(node) = self.frame.nodes.last_mut() else {
            return;
        };
        let room = self.budget.saturating_sub(node.at as usize) / 4 * 3;
        let room = room.saturating_sub(node.kept as usize);
        let part = bytes.get(..room).unwrap_or(bytes);
        self.frame.bytes.extend_from_slice(part);
        node.kept += part.len() as u32;
    }

    /// A value without elements is complete.
    fn value_done(&mut self) -> Option<Step> {
        let node = self.keeps.then(|| self.frame.nodes.len().saturating_sub(1));
        self.keeps = false;
        self.state = State::Start;
        self.element_done(node)
    }

    /// Something is complete: an element of what is open, or the message.
    fn element_done(&mut self, node: Option<usize>) -> Option<Step> {
        let depth = self.open.len();
        let Some(parent) = self.open.last_mut() else {
            self.is_done = true;
            self.trial = None;
            return Some(Step::Whole);
        };
        let index = parent.index;
        parent.index += 1;
        parent.left = parent.left.saturating_sub(1);
        if self.trial.is_some() && self.writer == Writer::Client && depth == 1 && index == 0 {
            let name = node.and_then(|node| self.frame.word(node)).unwrap_or(b"");
            if !line::is_command_name(name) {
                return Some(self.out("the beginning of a message was not captured", Why::Hole));
            }
        }
        (!self.skips).then_some(Step::Part { depth, index, node })
    }

    fn aggregate_done(&mut self) -> Option<Step> {
        let done = self.open.pop()?;
        if done.kind == Kind::Attribute {
            if let Some(node) = done.node {
                self.frame.truncate(node);
            }
            return None;
        }
        self.element_done(done.node)
    }

    fn inline(&mut self, bytes: &[u8], len: u64) -> (usize, Option<Step>) {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = bytes.get(..end.map_or(bytes.len(), |end| end + 1));
        let part = part.unwrap_or(bytes);
        let len = len + part.len() as u64;
        if len > INLINE_MAX {
            return (
                bytes.len(),
                Some(self.out("an inline command is too long", Why::NotRedis)),
            );
        }
        let room = self.budget.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(part.get(..room).unwrap_or(part));
        self.state = State::Inline { len };
        if end.is_none() {
            return (part.len(), None);
        }
        let line = std::mem::take(&mut self.line);
        let is_whole = line.len() as u64 == len;
        let Some(words) = line::words(&line) else {
            return (
                bytes.len(),
                Some(self.out("not a command of Redis", Why::NotRedis)),
            );
        };
        self.add(Kind::Array, 0);
        for word in words {
            self.frame.nodes.push(Node {
                kind: Kind::Bulk,
                depth: 1,
                at: self.frame.bytes.len() as u32,
                kept: word.len() as u32,
                len: word.len() as u64,
            });
            self.frame.bytes.extend_from_slice(word);
            if self.frame.nodes.len() >= self.budget / 16 {
                break;
            }
        }
        let last = self.frame.nodes.len().saturating_sub(1);
        if let Some(node) = self.frame.nodes.get_mut(last)
            && !is_whole
        {
            node.len += 1;
        }
        self.is_done = true;
        self.trial = None;
        (part.len(), Some(Step::Whole))
    }

    fn out(&mut self, why: &'static str, because: Why) -> Step {
        let trial = self.trial;
        self.reset(State::Out(trial.unwrap_or(because)));
        match trial {
            Some(because) => Step::StillAstray(because),
            None => Step::Astray(why, because),
        }
    }

    fn reset(&mut self, state: State) {
        self.state = state;
        self.line.clear();
        if self.line.capacity() > IDLE_BYTES {
            self.line = Vec::new();
        }
        self.open.clear();
        self.frame.clear();
        self.keeps = false;
        self.holed = false;
        self.skips = false;
        self.is_done = false;
        self.trial = None;
    }
}

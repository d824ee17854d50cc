//! One direction of a connection whose messages say their length first, read element by element.
//!
//! In: pieces of the direction, and a [`Side`] that knows the protocol. Out: calls of the side, each with the front of what a message has
//! left. Always holds: the same bytes in other pieces give the same calls that count (a step that asks for more changes nothing); at most
//! `limit` bytes are held, whatever length a message claims; what is skipped may be unseen. Refuses: to look for a message inside of a
//! piece: after a hole it waits for one at a piece's beginning.

use crate::stream::{Begin, HOPELESS_TURNS, Input};

/// What a side made of the front of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It read `used` bytes and does not want the next `skip`.
    Took { used: usize, skip: u64 },
    /// Its next element is longer than what it was shown. It has changed nothing.
    More,
    /// It wants nothing more of this message.
    Rest,
    /// This cannot be such a message.
    Broken(&'static str),
}

/// What a message's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Nothing yet.
    More,
    /// After `head` bytes come `body` bytes.
    Message { head: usize, body: u64 },
    /// It is no message.
    Not,
}

/// Whether a piece begins with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Yes,
    Maybe,
    No,
}

/// The protocol of one direction.
pub(crate) trait Side {
    /// Most bytes [`Side::starts`] needs to say yes or no.
    const START_BYTES: usize;
    /// Whether these first bytes of a piece after a hole begin a message. `Maybe` is not said of `START_BYTES` or more.
    fn starts(&self, view: &[u8]) -> Start;
    /// The length of the message that begins here.
    fn head(&mut self, view: &[u8]) -> Head;
    /// Reads an element; `left` bytes of the message, `view` the first of them, are to come.
    fn step(&mut self, view: &[u8], left: u64) -> Step;
    /// All of the message was given.
    fn end(&mut self);
    /// The rest of the message will not be given.
    fn cut(&mut self, why: &'static str);
    /// Messages may have been missed.
    fn fell(&mut self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Out of step.
    Sync,
    /// Between two messages.
    Between,
    /// In a message of which `left` bytes are not used (those held are among them).
    Inside { left: u64, skip: u64, reads: bool },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    state: State,
    held: Vec<u8>,
    /// Of `held`, already used.
    at: usize,
    misses: u8,
    /// The other direction has moved since the last miss.
    turned: bool,
    /// It was out of step: since then, what is found depends on where pieces begin.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fell: bool,
}

impl Lane {
    pub(crate) fn new(begin: Begin) -> Self {
        let state = match begin {
            Begin::Boundary => State::Between,
            Begin::Midstream => State::Sync,
        };
        Self {
            state,
            held: Vec::new(),
            at: 0,
            misses: 0,
            turned: true,
            #[cfg(any(test, feature = "fuzzing"))]
            fell: begin == Begin::Midstream,
        }
    }

    fn fall(&mut self, side: &mut impl Side) {
        side.fell();
        self.drop_held();
        self.state = State::Sync;
        #[cfg(any(test, feature = "fuzzing"))]
        {
            self.fell = true;
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.capacity()
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.misses >= HOPELESS_TURNS
    }

    /// The other direction moved.
    pub(crate) fn turn(&mut self) {
        self.turned = true;
    }

    /// Something was no message; counted once a turn, as a long message met in its middle comes in many pieces.
    pub(crate) fn miss(&mut self) {
        if std::mem::take(&mut self.turned) {
            self.misses = self.misses.saturating_add(1);
        }
    }

    pub(crate) fn push(&mut self, input: Input<'_>, limit: usize, side: &mut impl Side) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, limit, side),
            Input::Unseen { len, tail } => {
                let kept = tail.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                self.hidden(len - kept as u64, side);
                if self.state != State::Sync {
                    self.bytes(&tail[tail.len() - kept..], limit, side);
                }
            }
            Input::Lost { len: Some(len) } => self.hidden(len, side),
            Input::Lost { len: None } => self.hidden(u64::MAX, side),
        }
    }

    fn hidden(&mut self, len: u64, side: &mut impl Side) {
        if len == 0 {
            return;
        }
        if let State::Inside { left, skip, reads } = self.state {
            let waiting = (self.held.len() - self.at) as u64;
            let reads = reads && waiting == 0 && len <= skip;
            if matches!(self.state, State::Inside { reads: true, .. }) && !reads {
                side.cut("unseen");
            }
            let moved = waiting.saturating_add(len);
            if moved <= left {
                self.drop_held();
                self.moved(left, moved, skip.saturating_sub(moved), reads, side);
                return;
            }
        }
        self.fall(side);
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.at = 0;
    }

    fn over(&mut self, side: &mut impl Side) {
        if matches!(self.state, State::Inside { reads: true, .. }) {
            side.end();
        }
        self.state = State::Between;
    }

    fn bytes(&mut self, mut bytes: &[u8], limit: usize, side: &mut impl Side) {
        loop {
            match self.state {
                State::Sync => {
                    if !self.sync(bytes, side) {
                        return;
                    }
                }
                State::Between => {
                    if bytes.is_empty() && self.at == self.held.len() {
                        self.release(limit);
                        return;
                    }
                    match side.head(self.view(bytes)) {
                        Head::Message { head, body } => {
                            self.advance(head, &mut bytes);
                            self.state = State::Inside {
                                left: body,
                                skip: 0,
                                reads: true,
                            };
                            if body == 0 {
                                self.over(side);
                            }
                        }
                        Head::More => {
                            if !self.hold(&mut bytes, limit) {
                                return;
                            }
                        }
                        Head::Not => {
                            self.miss();
                            self.fall(side);
                            return;
                        }
                    }
                }
                State::Inside { left, skip, reads } => {
                    if !self.inside(&mut bytes, (left, skip, reads), limit, side) {
                        return;
                    }
                }
            }
        }
    }

    /// One step inside of a message. False: nothing more can be done with these bytes.
    fn inside(
        &mut self,
        bytes: &mut &[u8],
        (left, skip, reads): (u64, u64, bool),
        limit: usize,
        side: &mut impl Side,
    ) -> bool {
        let unwanted = if reads { skip } else { left };
        if unwanted > 0 {
            let there = (self.held.len() - self.at + bytes.len()) as u64;
            let moved = unwanted.min(there);
            self.advance(moved as usize, bytes);
            self.moved(
                left,
                moved,
                if reads { skip - moved } else { 0 },
                reads,
                side,
            );
            return moved > 0;
        }
        let view = self.view(bytes);
        let most = limit.min(usize::try_from(left).unwrap_or(usize::MAX));
        let view = &view[..view.len().min(most)];
        let seen = view.len();
        let why = match side.step(view, left) {
            Step::Took { used, skip } if used <= seen && skip <= left - used as u64 => {
                self.misses = 0;
                self.advance(used, bytes);
                self.moved(left, used as u64, skip, true, side);
                return true;
            }
            Step::More if seen < most => return self.hold(bytes, limit),
            Step::Rest => {
                self.misses = 0;
                self.state = State::Inside {
                    left,
                    skip: 0,
                    reads: false,
                };
                return true;
            }
            Step::Took { .. } => self.too_short(),
            Step::More if seen as u64 == left => self.too_short(),
            Step::More => "too_long",
            Step::Broken(why) => {
                self.miss();
                why
            }
        };
        side.cut(why);
        self.state = State::Inside {
            left,
            skip: 0,
            reads: false,
        };
        true
    }

    /// A message that ends before its fields do is none.
    fn too_short(&mut self) -> &'static str {
        self.miss();
        "short"
    }

    /// So much was used.
    fn moved(&mut self, left: u64, moved: u64, skip: u64, reads: bool, side: &mut impl Side) {
        let left = left - moved;
        self.state = State::Inside { left, skip, reads };
        if left == 0 {
            self.over(side);
        }
    }

    /// What is to be read next: held bytes before new ones.
    fn view<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        if self.at < self.held.len() {
            &self.held[self.at..]
        } else {
            bytes
        }
    }

    fn advance(&mut self, used: usize, bytes: &mut &[u8]) {
        let from_held = used.min(self.held.len() - self.at);
        self.at += from_held;
        if self.at == self.held.len() {
            self.drop_held();
        }
        *bytes = &bytes[(used - from_held).min(bytes.len())..];
    }

    /// Holds more, in small portions, as what comes after the element that is cut is read where it lies. False: there was no more.
    fn hold(&mut self, bytes: &mut &[u8], limit: usize) -> bool {
        if bytes.is_empty() {
            return false;
        }
        self.held.drain(..self.at);
        self.at = 0;
        let portion = self.held.len().max(256).min(bytes.len());
        let portion = portion.min(limit.saturating_sub(self.held.len()).max(1));
        let (first, rest) = bytes.split_at(portion);
        if self.held.capacity() < self.held.len() + portion {
            self.held.reserve_exact(portion);
        }
        self.held.extend_from_slice(first);
        *bytes = rest;
        true
    }

    /// Gives a large buffer back between messages.
    fn release(&mut self, limit: usize) {
        if self.held.capacity() > limit.min(1024) {
            self.held = Vec::new();
        }
    }

    /// Looks for a message at a piece's beginning: after the short piece before (a length read by itself), or alone.
    fn sync<S: Side>(&mut self, bytes: &[u8], side: &mut S) -> bool {
        if bytes.is_empty() {
            return false;
        }
        if !self.held.is_empty() {
            let before = self.held.len();
            let more = bytes.len().min(S::START_BYTES);
            self.held.extend_from_slice(&bytes[..more]);
            match side.starts(&self.held) {
                Start::Yes => {
                    self.held.truncate(before);
                    self.state = State::Between;
                    return true;
                }
                Start::Maybe => return false,
                Start::No => {}
            }
        }
        self.drop_held();
        match side.starts(bytes) {
            Start::Yes => {
                self.state = State::Between;
                true
            }
            Start::Maybe => {
                self.held.extend_from_slice(bytes);
                false
            }
            Start::No => {
                self.miss();
                false
            }
        }
    }
}

//! Control packets of one direction (MQTT 3.1.1 §2, MQTT 5 §2.1): a type with flags, a length, that many bytes.
//!
//! In: pieces of one direction. Out: [`Packet`]s, each with its first bytes. Always holds: of a packet no more than its kind needs and the
//! limit says is kept; a piece cut in two gives the same. Refuses: packets that this end does not send, and holes that hide where a packet
//! begins: nothing in MQTT marks a beginning, so the rest of the connection is lost.

use crate::queue::Way;
use crate::stream::Input;

/// Bytes kept of what is not PUBLISH: of CONNECT the protocol's name and level (never its password), of an answer its id and reason.
const SHORT: usize = 16;

/// Kinds of packets (their type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Other,
}

impl Kind {
    /// By its first byte, whose low bits are flags.
    fn of(first: u8, way: Way) -> Option<Self> {
        let to_broker = way == Way::ToBroker;
        Some(match (first >> 4, first & 15) {
            (1, 0) if to_broker => Self::Connect,
            (3, flags) if flags & 6 != 6 => Self::Publish,
            (4, 0) => Self::PubAck,
            (5, 0) => Self::PubRec,
            (6, 2) => Self::PubRel,
            (7, 0) => Self::PubComp,
            (8 | 10, 2) | (12, 0) if to_broker => Self::Other,
            (2 | 9 | 11 | 13, 0) if !to_broker => Self::Other,
            (14 | 15, 0) => Self::Other,
            _ => return None,
        })
    }
}

/// A packet that is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub kind: Kind,
    /// DUP, QoS and RETAIN of PUBLISH.
    pub flags: u8,
    /// Bytes after the length.
    pub len: usize,
    /// The first of them; of PUBLISH as many as are kept, with no hole.
    pub first: &'a [u8],
}

/// What came.
#[derive(Debug)]
pub(super) enum Came<'a> {
    Packet(Packet<'a>),
    Broken(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    flags: u8,
    len: usize,
    left: usize,
    has_hole: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a packet or in its length: the first byte, and of the length so far the value and the number of bytes.
    Head(Option<(u8, usize, u8)>),
    Open(Open),
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Packets {
    way: Way,
    keep: usize,
    state: State,
    kept: Vec<u8>,
    pub is_hopeless: bool,
}

impl Packets {
    pub(super) fn new(way: Way, keep: usize) -> Self {
        Self {
            way,
            keep,
            state: State::Head(None),
            kept: Vec::new(),
            is_hopeless: false,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    pub(super) fn push(&mut self, input: Input<'_>, sink: &mut dyn FnMut(Came<'_>)) {
        match input {
            Input::Bytes(bytes) => self.bytes(bytes, sink),
            Input::Unseen { len, tail } => {
                let tail = &tail[..tail.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
                self.skip(len - tail.len() as u64, sink);
                self.bytes(tail, sink);
            }
            Input::Lost { len: Some(len) } => self.skip(len, sink),
            Input::Lost { len: None } => self.give_up("lost", sink),
        }
    }

    fn bytes(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Came<'_>)) {
        while let [first, rest @ ..] = bytes
            && !self.is_hopeless
        {
            bytes = match self.state {
                State::Head(head) => {
                    self.head(head, *first, sink);
                    rest
                }
                State::Open(mut open) => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(open.left));
                    let most = match open.kind {
                        Kind::Publish => self.keep,
                        _ => SHORT,
                    };
                    if !open.has_hole {
                        let room = most.saturating_sub(self.kept.len()).min(taken.len());
                        self.kept.extend_from_slice(&taken[..room]);
                    }
                    open.left -= taken.len();
                    self.go_on(open, sink);
                    rest
                }
            };
        }
    }

    fn head(&mut self, head: Option<(u8, usize, u8)>, byte: u8, sink: &mut dyn FnMut(Came<'_>)) {
        let Some((first, len, count)) = head else {
            if Kind::of(byte, self.way).is_none() {
                self.give_up("no packet", sink);
            }
            self.state = State::Head(Some((byte, 0, 0)));
            return;
        };
        let len = len | usize::from(byte & 0x7f) << (7 * count);
        match (byte & 0x80 != 0, Kind::of(first, self.way)) {
            (true, _) if count == 3 => self.give_up("no packet", sink),
            (true, _) => self.state = State::Head(Some((first, len, count + 1))),
            (false, Some(kind)) => {
                let open = Open {
                    kind,
                    flags: first & 15,
                    len,
                    left: len,
                    has_hole: false,
                };
                self.go_on(open, sink);
            }
            (false, None) => self.give_up("no packet", sink),
        }
    }

    /// After some of a packet.
    fn go_on(&mut self, open: Open, sink: &mut dyn FnMut(Came<'_>)) {
        if open.left > 0 {
            self.state = State::Open(open);
            return;
        }
        sink(Came::Packet(Packet {
            kind: open.kind,
            flags: open.flags,
            len: open.len,
            first: &self.kept,
        }));
        self.kept.clear();
        self.kept.shrink_to(1024);
        self.state = State::Head(None);
    }

    /// Bytes moved and are not here.
    fn skip(&mut self, len: u64, sink: &mut dyn FnMut(Came<'_>)) {
        match self.state {
            _ if len == 0 || self.is_hopeless => {}
            State::Open(mut open) if len <= open.left as u64 => {
                open.left -= len as usize;
                open.has_hole = true;
                self.go_on(open, sink);
            }
            _ => self.give_up("not seen", sink),
        }
    }

    pub(super) fn give_up(&mut self, why: &'static str, sink: &mut dyn FnMut(Came<'_>)) {
        if !self.is_hopeless {
            self.is_hopeless = true;
            self.kept = Vec::new();
            sink(Came::Broken(why));
        }
    }
}

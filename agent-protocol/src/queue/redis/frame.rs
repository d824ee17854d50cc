//! A RESP message as far as it is kept.
//!
//! In: what [`super::reader`] reads. Out: nodes in the order of the wire, and their bytes. Always holds: what is asked for and not there is
//! empty. Refuses: nothing.

/// Room that a frame keeps between messages.
const IDLE_BYTES: usize = 1024;
/// The same, in nodes.
const IDLE_NODES: usize = 32;

/// Which end writes this direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Arrays of bulk strings, or inline commands.
    Client,
    /// Any type.
    Broker,
}

/// Type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `*`, `~`, and `%` with twice its count.
    Array,
    /// `>`: not an answer.
    Push,
    /// `|`: stands before a value and is dropped.
    Attribute,
    /// `$`, `=`.
    Bulk,
    /// `+`.
    Simple,
    /// `-`, `!`.
    Error,
    /// `:`, `,`, `#`, `(`.
    Number,
    /// `_`, `$-1`, `*-1`.
    Null,
}

/// A value, or the head of an aggregate, whose values follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) depth: u8,
    /// Where its kept bytes begin in [`Frame::bytes`].
    pub(super) at: u32,
    pub(super) kept: u32,
    /// Bytes of a string; elements of an aggregate.
    pub(super) len: u64,
}

/// A message as far as it was kept, in the order of the wire.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) nodes: Vec<Node>,
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    /// Nodes kept.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// What is kept of a node's bytes; empty when there is no such node.
    pub(super) fn text(&self, index: usize) -> &[u8] {
        self.nodes.get(index).map_or(&[], |node| {
            let at = node.at as usize;
            self.bytes.get(at..at + node.kept as usize).unwrap_or(&[])
        })
    }

    /// The whole text of a string, or nothing.
    pub(super) fn word(&self, index: usize) -> Option<&[u8]> {
        let node = self.nodes.get(index)?;
        let is_text = matches!(node.kind, Kind::Bulk | Kind::Simple);
        (is_text && u64::from(node.kept) == node.len).then(|| self.text(index))
    }

    /// Forgets the bytes of the last node.
    pub(super) fn blank(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index) {
            self.bytes.truncate(node.at as usize);
            node.kept = 0;
        }
    }

    /// The elements of an aggregate that are kept.
    pub(super) fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let depth = self.nodes.get(index).map_or(u8::MAX, |node| node.depth);
        (index + 1..self.nodes.len())
            .take_while(move |&at| self.nodes[at].depth > depth)
            .filter(move |&at| self.nodes[at].depth == depth + 1)
    }

    /// Forgets a node and all after it.
    pub(super) fn truncate(&mut self, index: usize) {
        if let Some(node) = self.nodes.get(index) {
            self.bytes.truncate(node.at as usize);
            self.nodes.truncate(index);
        }
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.bytes.clear();
        if self.bytes.capacity() > IDLE_BYTES {
            self.bytes.shrink_to(IDLE_BYTES);
        }
        if self.nodes.capacity() > IDLE_NODES {
            self.nodes.shrink_to(IDLE_NODES);
        }
    }
}

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A value or an aggregate inside of the message is complete.
    Part {
        /// 1: an element of the message itself.
        depth: usize,
        /// Its place in what it is an element of.
        index: u64,
        /// Its node, if it was kept.
        node: Option<usize>,
    },
    /// The message is complete; the frame is kept until the next call.
    Whole,
    /// Can not be read any more, and why.
    Astray(&'static str, Why),
    /// What began like a message was none.
    StillAstray(Why),
}

/// Why it is out of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What was read is not the protocol.
    NotRedis,
    /// A hole.
    Hole,
}

/// Bytes that moved, seen or not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    Seen(&'a [u8]),
    Unseen(u64),
}

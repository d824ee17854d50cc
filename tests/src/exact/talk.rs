//! What is said over one connection, step by step.
//!
//! In: requests, their bodies, ways of sending them. Out: a [`Conversation`]. Always holds: a place for a header stands behind the first
//! line of a request that is due, and nowhere else. Refuses: nothing.

use super::How;

/// Behind how many bytes of what is sent a header must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub usize);

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client sends.
    Send {
        /// What.
        bytes: Vec<u8>,
        /// In which calls.
        how: How,
        /// Where headers must be.
        places: Vec<Place>,
    },
    /// The server does.
    Answer(Vec<u8>),
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What it is called.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
    /// The client has TCP_NODELAY.
    pub nodelay: bool,
    /// Headers are not written any more.
    pub is_lost: bool,
    random: u64,
}

impl Conversation {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let mut made = Self {
            random: seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ..Self::default()
        };
        made.nodelay = made.below(4) != 0;
        made
    }

    /// A number under `bound`, by a generator of its own (SplitMix64).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    /// Any bytes.
    pub(super) fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Letters.
    pub(super) fn letters(&mut self, len: usize) -> String {
        (0..len)
            .map(|_| char::from(b'a' + self.below(26) as u8))
            .collect()
    }

    /// A head of `method` with these lines beside the usual ones, without its empty line.
    pub(super) fn head(&mut self, method: &str, lines: &str) -> String {
        let length = match self.below(20) {
            0 => 1_000 + self.below(300),
            1 => 0,
            _ => 1 + self.below(60),
        };
        let (path, filled) = (self.letters(length), self.below(500));
        let filling = self.letters(filled);
        let version = if self.below(10) == 0 { "1.0" } else { "1.1" };
        let (before, after) = match self.below(3) {
            0 => (lines, ""),
            _ => ("", lines),
        };
        format!(
            "{method} /{path} HTTP/{version}\r\nHost: a.example\r\n{before}X-Filling: {filling}\r\n\
             Content-Type: text/plain\r\ntracestats: t\r\n{after}"
        )
    }

    /// Sends bytes into which nothing is written.
    pub(super) fn send(&mut self, bytes: Vec<u8>, how: How) {
        self.steps.push(Step::Send {
            bytes,
            how,
            places: Vec::new(),
        });
    }

    /// Sends a request that is due, with what follows in the same bytes: a header is written into it unless the connection is lost.
    pub(super) fn due(&mut self, bytes: Vec<u8>, how: How) {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n");
        let places = match line {
            Some(at) if !self.is_lost => vec![Place(at + 2)],
            _ => Vec::new(),
        };
        self.steps.push(Step::Send { bytes, how, places });
    }

    pub(super) fn answer(&mut self, bytes: impl Into<Vec<u8>>) {
        self.steps.push(Step::Answer(bytes.into()));
    }

    /// A whole answer.
    pub(super) fn ok(&mut self) {
        let size = match self.below(16) {
            0 => 100_000 + self.below(400_000),
            _ => self.below(2_000),
        };
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        bytes.extend(self.noise(size.min(64)));
        bytes.resize(bytes.len() + size.saturating_sub(64), b'.');
        self.answer(bytes);
    }
}
